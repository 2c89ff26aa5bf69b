"""The soak's short form: everything at once for some seconds, and every answer compared with the model's own."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.linux
def test_soak(tmp_path):
    done = subprocess.run([sys.executable, SOAK, "--seconds", "25", "-o", tmp_path / "soak.json"], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "soak.json").read_text())
    assert (found["number of wrong"], found["tracebacks"], found["exit code"]) == (0, 0, 0), found["wrong"]
    seen = {way.split()[0] for way in found["by way and status"]}
    assert seen >= {"json", "proba", "npy", "csv", "v2", "table", "bad", "page", "health"} and found["promotions"] > 4
    assert max(found["MB of each worker"]["at the end"]) < 1500
