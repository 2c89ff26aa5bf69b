"""A bundle away from where it was made: other versions, a newer format, no key; and ships that die beside others."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlship.keys import sign
from mlship.shipping import load, ship
from mlship.store import Store

MLSHIP = str(Path(sys.executable).parent / ("mlship.exe" if os.name == "nt" else "mlship"))


def rewritten(bundle, change):
    "The manifest changed, and signed again with our own key"
    manifest = json.loads((bundle.folder / "bundle.json").read_text(encoding="utf-8"))
    change(manifest)
    data = json.dumps(manifest).encode()
    (bundle.folder / "bundle.json").write_bytes(data)
    (bundle.folder / "signature.json").write_text(json.dumps(sign(data)))


@pytest.fixture
def line(home):
    from sklearn.linear_model import LinearRegression
    return ship(LinearRegression().fit([[0.0], [1.0]], [0, 1]), np.array([[0.0], [1.0]]), name="line", check=False)


def test_serving_with_other_versions_says_so_and_serves(line):
    rewritten(line, lambda m: m["requirements"].update(direct=["scikit-learn==1.0.1"]))
    process = subprocess.Popen([MLSHIP, "serve", "line", "--port", "0"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("http://")
    process.terminate()
    err = process.communicate(timeout=20)[1]
    assert "made with scikit-learn 1.0.1, here is" in err and "answers may differ" in err


@pytest.mark.parametrize("words", [["serve", "line", "--port", "0"], ["show", "line"],
                                   ["predict", "line", "x.csv", "-o", "y.csv"]], ids=lambda w: w[0])
def test_a_newer_format_is_refused_in_two_lines(line, tmp_path, words):
    rewritten(line, lambda m: m.update(format=99))
    (tmp_path / "x.csv").write_text("input-0\n1\n")
    done = subprocess.run([MLSHIP, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "newer than this mlship reads" in done.stderr and "Traceback" not in done.stderr
    assert "mlship-jupyter" in done.stderr and len(done.stderr.splitlines()) == 2
    listed = subprocess.run([MLSHIP, "list"], capture_output=True, text=True, timeout=60)
    assert listed.returncode == 0 and "newer than this mlship reads" in " ".join(listed.stdout.split())


@pytest.mark.skipif(os.name == "nt", reason="the command is for a POSIX shell")
def test_the_advice_for_an_unknown_key_works_when_pasted(home, tmp_path, monkeypatch):
    b = ship(lambda x: 2 * x, [1, 2], name="double", check=False)
    copy = tmp_path / "a folder with a blank"
    shutil.copytree(b.folder, copy)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("MLSHIP_HOME", str(other))
    done = subprocess.run([MLSHIP, "serve", str(copy), "--port", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and not done.stdout
    command = done.stderr[done.stderr.index("mlship key add"):].splitlines()[0]
    path = f"{Path(MLSHIP).parent}:{os.environ['PATH']}"
    pasted = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert pasted.returncode == 0, pasted.stderr
    process = subprocess.Popen([MLSHIP, "serve", str(copy), "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("http://")
    process.terminate()
    process.wait(20)
    assert load(str(copy)).predict([3]) == [6]


def test_damage_is_told_by_serve_before_it_listens(line):
    path = line.folder / "model" / "model.pkl"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    done = subprocess.run([MLSHIP, "serve", "line", "--port", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 5 and not done.stdout and "model/model.pkl" in done.stderr
    assert "Traceback" not in done.stderr


SHIP_MANY = """
import sys
from mlship import ship
factor = float(sys.argv[1])
def times(X): return [factor * x for x in X]
print("go", flush=True)
for _ in range(int(sys.argv[2])): ship(times, [1.0], name="times", check=False)
"""


@pytest.mark.faults
@pytest.mark.linux
def test_ships_that_die_beside_ships_that_live(home):
    "Eight interpreters ship the same name; four are killed at some moment; the rest lose nothing"
    start = [subprocess.Popen([sys.executable, "-c", SHIP_MANY, str(k), "12" if k % 2 else "500"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) for k in range(1, 9)]
    for p in start:
        p.stdout.readline()
    time.sleep(.1)
    for k, p in enumerate(start, 1):
        if k % 2 == 0:
            time.sleep(.013 * k)
            p.kill()
    for k, p in enumerate(start, 1):
        err = p.communicate(timeout=120)[1]
        assert p.returncode == (0 if k % 2 else -signal.SIGKILL), err
    store, made = Store(), {}
    for v in store.versions("times"):
        b = store.open(f"times@{v}").verify()
        factor = load(b.ref).predict([1.0])[0]
        made[factor] = made.get(factor, 0) + 1
    assert {k: made.get(float(k)) for k in (1, 3, 5, 7)} == dict.fromkeys((1, 3, 5, 7), 12)
    assert store.versions("times") == list(range(1, sum(made.values()) + 1))       # no number was left out
    store.gc()
    assert not list((store.folder / ".staging").iterdir()) and store.gc() == []


@pytest.mark.faults
@pytest.mark.linux
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="mounts a small disk, as root")
def test_a_disk_that_is_really_full(home):
    disk = home / "store"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no mounts here")
    try:
        fits = ship(lambda X: [x + 1 for x in X], [1.0], name="small", check=False)
        done = subprocess.run([sys.executable, "-c", """
import numpy as np
from mlship import ship
noise = np.random.default_rng(0).random(100_000)
ship(lambda X: [x + noise[0] for x in X], [1.0], name="small", check=False)
"""], capture_output=True, text=True, timeout=60)
        last = done.stderr.strip().splitlines()[-2:]
        assert done.returncode != 0 and "could not be written" in " ".join(last) and "gc" in " ".join(last), done.stderr
        assert Store().versions("small") == [1] and load(fits.ref).predict([1.0]) == [2.0]
        assert ship(lambda X: [x + 3 for x in X], [1.0], name="small", check=False).version == 2
    finally:
        subprocess.run(["umount", str(disk)], check=True)
