"""Whose code may run: nothing of a bundle runs before its bytes and its signature were checked."""
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlship.bundle import open_bundle
from mlship.core import Damaged, MlshipError, Untrusted
from mlship.keys import own_key, revoke, sign
from mlship.shipping import load, ship
from mlship.store import Store

MLSHIP = [sys.executable, "-m", "mlship.cli"] if os.name == "nt" else [str(Path(sys.executable).parent / "mlship")]


class Marker:
    "Unpickling it leaves a file: the proof that code ran"
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))

    def __call__(self, x):
        return x


@pytest.fixture
def bundle_and_marker(home, tmp_path):
    marker = tmp_path / "code-ran"
    b = ship(Marker(str(marker)), [1, 2], name="marked", check=False)
    marker.unlink(missing_ok=True)
    return b, marker


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_every_changed_byte_is_refused_before_code_runs(bundle_and_marker):
    b, marker = bundle_and_marker
    files = sorted(p.relative_to(b.folder).as_posix() for p in b.folder.rglob("*") if p.is_file())
    assert {"bundle.json", "signature.json", "model/model.pkl", "examples.json", "profile.json"} <= set(files)
    for name in files:
        path = b.folder / name
        whole = path.read_bytes()
        for at in {0, len(whole) // 2, len(whole) - 1}:
            flip(path, at)
            with pytest.raises((Damaged, Untrusted)) as e:
                load(b.ref)
            if name not in ("bundle.json", "signature.json"):
                assert name in e.value.message
            assert not marker.exists()
            path.write_bytes(whole)
        path.write_bytes(whole[:-1])
        with pytest.raises((Damaged, Untrusted)):
            load(b.ref)
        path.write_bytes(whole)
    assert not marker.exists()


def test_an_unknown_key_and_the_command_that_trusts_it(bundle_and_marker, tmp_path, monkeypatch):
    b, marker = bundle_and_marker
    other = tmp_path / "another home"
    other.mkdir()
    monkeypatch.setenv("MLSHIP_HOME", str(other))
    rows = tmp_path / "rows.jsonl"
    rows.write_text("1\n")
    serve, predict = ["serve", str(b.folder), "--port", "0"], ["predict", str(b.folder), str(rows), "-o", "out.jsonl"]
    for command in (serve, predict):
        done = subprocess.run([*MLSHIP, *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 4 and "unknown key" in done.stderr and "Traceback" not in done.stderr
    assert not marker.exists()
    advice = done.stderr.partition("mlship key add")[2].strip()
    words = shlex.split("key add " + advice)
    trusted = subprocess.run([*MLSHIP, *words], capture_output=True, text=True, timeout=60)
    assert trusted.returncode == 0, trusted.stderr
    load(str(b.folder))
    assert marker.exists()


def test_a_revoked_key_loads_nothing(bundle_and_marker):
    b, marker = bundle_and_marker
    revoke(own_key().id)
    with pytest.raises(Untrusted) as e:
        load(b.ref)
    assert "revoked" in e.value.message and not marker.exists()


def rewritten(b, change):
    "The manifest changed and signed again with our own key: what a careless (or trusted) tool could make"
    manifest = json.loads((b.folder / "bundle.json").read_text(encoding="utf-8"))
    change(manifest)
    data = json.dumps(manifest).encode()
    (b.folder / "bundle.json").write_bytes(data)
    (b.folder / "signature.json").write_text(json.dumps(sign(data)))


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "a/../../b", "C:\\x", "model/../../x"])
def test_paths_out_of_the_bundle(bundle_and_marker, path):
    b, marker = bundle_and_marker
    rewritten(b, lambda m: m["files"].update({path: {"sha256": "0" * 64, "size": 1}}))
    with pytest.raises(Damaged) as e:
        load(b.ref)
    assert "outside" in e.value.message and not marker.exists()


@pytest.mark.linux
def test_links_out_of_the_bundle(bundle_and_marker, tmp_path):
    b, marker = bundle_and_marker
    copy = tmp_path / "elsewhere.pkl"
    shutil.move(b.folder / "model" / "model.pkl", copy)
    (b.folder / "model" / "model.pkl").symlink_to(copy)
    with pytest.raises(Damaged) as e:
        load(b.ref)
    assert "link" in e.value.message and not marker.exists()
    shutil.rmtree(b.folder / "model")
    (tmp_path / "model").mkdir()
    shutil.move(copy, tmp_path / "model" / "model.pkl")
    (b.folder / "model").symlink_to(tmp_path / "model")
    with pytest.raises(Damaged):
        load(b.ref)
    assert not marker.exists()


def test_a_file_that_nobody_signed(bundle_and_marker):
    b, marker = bundle_and_marker
    (b.folder / "code").mkdir(exist_ok=True)
    (b.folder / "code" / "numpy.py").write_text("raise SystemExit('stolen')")
    with pytest.raises(Damaged) as e:
        load(b.ref)
    assert "code/numpy.py" in e.value.message and not marker.exists()


def test_other_versions_are_said_plainly(home):
    from sklearn.linear_model import LinearRegression
    b = ship(LinearRegression().fit([[0.0], [1.0]], [0, 1]), [[0.0], [1.0]], name="line", check=False)

    def older(m):
        m["requirements"]["direct"] = ["scikit-learn==0.1", "numpy==0.1"]
        m["made_with"]["python"] = "3.4.0"
    rewritten(b, older)
    with pytest.warns(UserWarning, match="made with scikit-learn 0.1, here is"):
        load(b.ref)
    done = subprocess.run([*MLSHIP, "show", "line"], capture_output=True, text=True, timeout=60)
    assert "made with scikit-learn 0.1" in done.stdout and "made with Python 3.4.0" in done.stdout


def test_a_newer_format_is_refused(bundle_and_marker):
    b, marker = bundle_and_marker
    rewritten(b, lambda m: m.update(format=2))
    with pytest.raises(MlshipError) as e:
        open_bundle(b.folder)
    assert "newer than this mlship reads" in e.value.message and "mlship-jupyter" in e.value.fix
    assert Store().versions("marked") == [1] and not marker.exists()
