"""What optional packages do on their own."""

import os
import subprocess
import sys
from pathlib import Path


def test_onnxruntime_tells_nobody_of_a_model(home: Path, song: Path, tmp_path: Path) -> None:
    """It would keep a number of this machine below the user's folder, and send it with what it tells."""
    left_out = {"CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}  # with the first it is silent by itself
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    command = [sys.executable, "-m", "earsight", "predict", home / "model.onnx", song]
    subprocess.run(command, check=True, capture_output=True, env={**environment, "HOME": str(tmp_path)}, timeout=60)
    assert list(tmp_path.rglob("*onnxruntime*")) == []
