"""An environment of its own with earsight and what it can't do without: no torch, nothing of any extra."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def needed(extra: str = "") -> list[metadata.Distribution]:
    """The distributions that a plain installation brings, or one with an extra; earsight itself first."""
    found: dict[str, metadata.Distribution] = {}
    left = ["earsight"]
    while left:
        one = re.sub(r"[-_.]+", "-", left.pop(0)).lower()
        if one in found:
            continue
        found[one] = metadata.distribution(one)
        for line in found[one].requires or []:
            requirement = Requirement(line)
            asked = extra if one == "earsight" else ""
            if requirement.marker is None or requirement.marker.evaluate({"extra": asked}):
                left.append(requirement.name)
    return list(found.values())


def make_environment(place: Path, extra: str = "") -> Path:
    """An environment at ``place`` into whose packages the files of these distributions are linked; its python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    python = place / "bin" / "python"
    packages = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    linked: set[str] = set()
    for distribution in needed(extra):
        root = Path(str(distribution.locate_file("")))
        for file in distribution.files or []:
            top = file.parts[0]
            if top not in {"..", "/"} and top not in linked and (root / top).exists():
                (packages / top).symlink_to(root / top)
                linked.add(top)
    (packages / "earsight.pth").write_text(f"{ROOT / 'src'}\n")
    return python
