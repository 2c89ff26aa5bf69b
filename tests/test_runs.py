"""`mlship run`: grids of real notebooks in real kernels, killed in the middle, resumed; what was recorded stays."""
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from served import lives

from mlship.runs import RunStore, runs

MLSHIP = str(Path(sys.executable).parent / "mlship")
pytestmark = pytest.mark.e2e

PARAMETERS = """from typing import Literal
lr = 0.1
how: Literal["up", "down"] = "up"
path: None | str = None
sample: float = 1.0"""
TRAIN = """import os, time
from mlship import record
open(os.path.join(os.environ["MLSHIP_HOME"], f"kernel-{os.getpid()}"), "w").close()
if how == "down": time.sleep(60)
big = bytearray(200 * 2**20)
record(accuracy=1 - lr * sample, path=path)"""


@pytest.fixture
def book(home, tmp_path):
    cells = [{"cell_type": "code", "id": f"c{i}", "execution_count": None, "outputs": [], "source": s,
              "metadata": {"tags": ["parameters"]} if i == 0 else {}} for i, s in enumerate([PARAMETERS, TRAIN])]
    path = tmp_path / "train.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def mlship(*words, code=0):
    done = subprocess.run([MLSHIP, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_a_grid_is_run_kept_and_compared(book):
    said = mlship("run", str(book), "-p", "lr", "0.1", "-p", "lr", "0.01", "--sample", "0.5", "-p", "path", "7",
                  "--jobs", "2")
    assert "0.95" in said and "0.995" in said and "lr=0.01 ███" in said
    kept = runs(book)
    assert {r.metrics["accuracy"] for r in kept} == {0.95, 0.995} and {r.metrics["path"] for r in kept} == {"7"}
    assert all(r.memory > 200 * 2**20 and r.seconds > .1 and "injected-parameters" in r.notebook.read_text()
               for r in kept)
    assert mlship("runs", str(book)).count("MB") == 2
    assert "did you mean 'lr'" in mlship("run", str(book), "-p", "l", "1", code=2)
    assert "'up', 'down'" in mlship("run", str(book), "-p", "how", "left", code=2)


def alive(pids):
    return [p.pid for p in psutil.process_iter() if p.pid in pids and lives(p)]


@pytest.mark.linux
@pytest.mark.faults
@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C"])
def test_stopped_in_the_middle_it_leaves_nothing_running_and_resumes(book, home, how):
    process = subprocess.Popen([MLSHIP, "run", str(book), "-p", "how", "up", "-p", "how", "down"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    until = time.monotonic() + 60
    while len(kernels := [int(p.name[7:]) for p in home.glob("kernel-*")]) < 2:   # the second one sleeps for a minute
        assert time.monotonic() < until
        time.sleep(.1)
    process.send_signal(signal.SIGKILL if how == "kill -9" else signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == (-9 if how == "kill -9" else 130) and b"Traceback" not in out, out
    until = time.monotonic() + 20
    while alive(kernels):
        assert time.monotonic() < until, "a kernel went on without anybody"
        time.sleep(.2)
    first, second = RunStore(book).all()
    assert (first.state, first.metrics["accuracy"]) == ("done", 0.9)
    while (second := RunStore(book).all()[1]).now != "broken off":
        assert time.monotonic() < until, second
        time.sleep(.2)
    source = json.loads(book.read_text())
    source["metadata"]["edited"] = True   # not its code
    book.write_text(json.dumps(source))
    assert RunStore(book).left(RunStore(book).planned()) == [{"how": "down"}]
    quick = subprocess.run([MLSHIP, "run", "--resume", "--timeout", "1", "--json"], capture_output=True, text=True)
    again = json.loads(quick.stdout)
    assert [(r["parameters"], r["state"]) for r in again] == [({"how": "down"}, "failed")] and quick.returncode == 1
    assert "took too long" in again[0]["error"] and len(RunStore(book).all()) == 3


def test_a_run_whose_kernel_dies_is_told_and_the_others_go_on(book):
    cells = json.loads(book.read_text())
    cells["cells"][1]["source"] = "import os\nif lr > 1: os._exit(9)"
    book.write_text(json.dumps(cells))
    said = mlship("run", str(book), "-p", "lr", "2", "-p", "lr", "0.1", code=1)
    assert "1 of 2 runs failed" in said and "did not run to its end" in said
    assert [r.state for r in runs(book)] == ["failed", "done"]


DIGITS = """import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from mlship import record
X, y = load_digits(return_X_y=True)
order = np.random.default_rng(seed).permutation(1200)[:int(1200 * sample)]
model = LogisticRegression(max_iter=2000).fit(X[:1200][order] / 16, y[:1200][order])
record(accuracy=model.score(X[1200:] / 16, y[1200:]))"""


def test_small_parts_say_what_all_the_data_gives(book):
    "On digits, where all the data can be run too: the truth lies in the interval, and what was run is not run again"
    sources = ["sample = 1.0\nseed = 0", DIGITS]
    cells = [{"cell_type": "code", "id": f"c{i}", "execution_count": None, "outputs": [], "source": s,
              "metadata": {"tags": ["parameters"]} if i == 0 else {}} for i, s in enumerate(sources)]
    book.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    words = ["scale", str(book), "--fractions", "0.05,0.1,0.2,0.4", "--repeats", "2", "--jobs", "2"]
    said = mlship(*words)
    assert "All the data is expected to give accuracy" in said and "100 %" in said and "├" in said
    plain = json.loads(mlship(*words, "--json").partition("\n")[0])   # nothing is left to run
    assert len(RunStore(book).all()) == 8 == len(plain["runs"])
    mlship("run", str(book), "--sample", "1.0", "-p", "seed", "0")
    truth = RunStore(book).all()[-1]
    middle, low, high = plain["expected"]
    assert low <= truth.metrics["accuracy"] <= high and high - low < .1, (truth.metrics, plain["expected"])
    middle, low, high = plain["seconds"]   # whose truth is another each time: nbs has it on times that were written
    assert plain["gain"][0] > 0 and 0 < low <= middle <= high
    book.write_text(book.read_text().replace("import numpy", "1 / 0; import numpy"))
    assert "three parts of the data are needed; run 10: " in mlship("scale", str(book), code=2)
