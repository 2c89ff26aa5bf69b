"""What the tests of this folder share: models made by a script in a folder that is gone afterwards."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


def made_by(script, place):
    "Run tests/deep/SCRIPT in a folder of its own, delete that folder; what the script wrote down, and MLSHIP_HOME"
    folder, home = place / "notebook", place / "home"
    folder.mkdir()
    home.mkdir()
    shutil.copy(Path(__file__).with_name(script), folder / "make.py")
    done = subprocess.run([sys.executable, "-W", "ignore", "make.py", str(place / "truth.json")], cwd=folder,
                          env={**os.environ, "MLSHIP_HOME": str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    shutil.rmtree(folder)
    return json.loads((place / "truth.json").read_text()), home


def near(a, b, tolerance=1e-5):
    "Are two nested answers equal, numbers within a tolerance?"
    if isinstance(b, list):
        return isinstance(a, list) and len(a) == len(b) and all(near(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(near(a[k], b[k], tolerance) for k in b)
    if isinstance(b, float) or isinstance(a, float):
        return abs(a - b) <= tolerance * max(1, abs(b))
    return a == b
