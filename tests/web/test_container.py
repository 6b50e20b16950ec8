"""The recipe of a container in docs/deploy.md, as near as one comes without one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.web.test_server import ask, begin

RECIPE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text().split("```dockerfile\n")[1].split("```")[0]


def test_the_recipe_of_a_container_starts_is_healthy_and_ends(home: Path, tmp_path: Path) -> None:
    commands = {line.split("[")[0]: json.loads(line[line.index("[") :]) for line in RECIPE.splitlines() if '["' in line}
    program, serve, model, *options = commands["CMD "]
    assert (program, serve, model) == ("earsight", "serve", "/model.onnx")
    bare = {name: os.environ[name] for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    process, address = begin(home / "model.onnx", *options, env={**bare, "TMPDIR": str(tmp_path)})
    port = address.rpartition(":")[2]
    check = [part.replace(":8000", f":{port}") for part in commands["HEALTHCHECK CMD "]]
    assert check[0] == "python"
    assert subprocess.run([sys.executable, *check[1:]], timeout=30).returncode == 0
    assert ask(f"http://127.0.0.1:{port}/health", Host="ears.example:8000")[0] == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM
    assert subprocess.run([sys.executable, *check[1:]], capture_output=True, timeout=30).returncode == 1
    assert list(tmp_path.iterdir()) == []
