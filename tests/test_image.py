"""The build context: complete, without secrets, and its wheel works where no source tree is."""
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlship.cli import main
from mlship.context import write_context
from mlship.core import MlshipError, Untrusted
from mlship.keys import own_key, revoke
from mlship.shipping import ship
from mlship.store import Store


@pytest.fixture
def context(home, tmp_path):
    bundle = ship(lambda X: [2 * x for x in X], [1.0, 2.0], name="double", title='A "quoted" $title', check=False)
    return bundle, write_context(bundle, tmp_path / "context")


def test_what_travels(context, home):
    bundle, folder = context
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {"Dockerfile", ".dockerignore", "requirements.txt", "constraints.txt", "README.txt", "start.py",
            "model/HANDOVER.md", f"keys/{own_key().id}.pub"} <= there
    assert {f"model/bundle/{f}" for f in (*bundle.manifest["files"], "bundle.json", "signature.json")} <= there
    private = (home / "keys" / "own.pem").read_text()
    assert not [p for p in folder.rglob("*") if p.is_file() and private.encode() in p.read_bytes()]
    first, *asked = (folder / "requirements.txt").read_text().splitlines()
    pins = (folder / "constraints.txt").read_text().splitlines()
    assert first == "--constraint constraints.txt" and "granian>=2.5" in asked
    assert all("==" in p or " @ " in p for p in pins) and not any(p.startswith("mlship") for p in asked + pins)


def test_a_new_version_changes_only_the_last_layers(context, tmp_path):
    _, first = context
    second = write_context(
        ship(lambda X: [3 * x for x in X], [1.0, 2.0], name="double", check=False), tmp_path / "second"
    )
    wheel = next(first.glob("*.whl")).name
    assert (first / "requirements.txt").read_bytes() == (second / "requirements.txt").read_bytes()
    assert (first / wheel).read_bytes() == (second / wheel).read_bytes()
    lines = (first / "Dockerfile").read_text().splitlines()
    assert (first / "constraints.txt").read_bytes() == (second / "constraints.txt").read_bytes()
    assert [line for line in lines if line[:4] in ("COPY", "USER", "RUN ")][-2:] == [
        "USER 10001:10001", "COPY model/ /opt/mlship/model/"]


@pytest.mark.slow
def test_the_wheel_serves_where_no_source_tree_is(context, tmp_path):
    "Installed by itself, beside this environment's libraries, it loads the bundle with the key of the context"
    bundle, folder = context
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                               capture_output=True, text=True, check=True).stdout.strip())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            "--target",
            str(site),
            str(next(folder.glob("*.whl"))),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    libraries = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    (site / "libraries.pth").write_text("\n".join(libraries))
    home = tmp_path / "image home" / "keys" / "trusted"
    home.mkdir(parents=True)
    for key in (folder / "keys").iterdir():
        (home / key.name).write_bytes(key.read_bytes())
    code = (
        "import json, sys, mlship, mlship.shipping, mlship.card as c\nm ="
        f" mlship.load({str(folder / 'model' / 'bundle')!r})\nprint(json.dumps([m.predict([21.0]), mlship.__file__,"
        " len(c.render('card/card.html', card=m.bundle.card()))]))"
    )
    env = {**os.environ, "MLSHIP_HOME": str(home.parent.parent)}
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    answer, where, card = json.loads(done.stdout)
    assert answer == [42.0] and Path(where).is_relative_to(place) and card > 1000


def test_what_cannot_be_an_image(context, tmp_path):
    bundle, folder = context
    with pytest.raises(MlshipError) as e:
        write_context(bundle, folder)
    assert "not empty" in e.value.message
    (tmp_path / "a file").write_text("")
    with pytest.raises(MlshipError):
        write_context(bundle, tmp_path / "a file" / "context")
    revoke(own_key().id)
    with pytest.raises(Untrusted):
        write_context(Store().open("double"), tmp_path / "another")
    assert not (tmp_path / "another").exists() and not list(tmp_path.glob(".*.tmp"))


def test_no_engine(context, tmp_path, monkeypatch):
    "Said in two lines, with what to install and the way without one"
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(main, ["build", "double"])
    assert done.exit_code == 1 and "there is no container engine here" in done.output
    assert "install docker or podman" in done.output and "--context DIR" in done.output


def test_an_engine_that_does_not_answer(context, tmp_path, monkeypatch):
    "Its own last words are the reason"
    if os.name == "nt":
        pytest.skip("a shell script stands in for the engine")
    engine = tmp_path / "docker"
    engine.write_text("#!/bin/sh\necho permission denied while connecting to the Docker API >&2\nexit 1\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = CliRunner().invoke(main, ["build", "double", "--engine", "docker"])
    assert done.exit_code == 1 and "permission denied" in done.output and "let your user reach it" in done.output


def test_a_bundle_that_a_stranger_signed(context, home, tmp_path, monkeypatch):
    "Neither built nor deployed, and whose key it is is said"
    bundle, _ = context
    monkeypatch.setenv("MLSHIP_HOME", str(tmp_path / "other home"))
    for words in (["build", str(bundle.folder), "--context", str(tmp_path / "c")],
                  ["deploy", "compose", str(bundle.folder), "-o", str(tmp_path / "d")]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 4 and "signed by the unknown key" in done.output and "mlship key add" in done.output
    assert not (tmp_path / "c").exists() and not (tmp_path / "d").exists()


def test_handover(context):
    "The page in the image is the one that `mlship show` prints"
    _, folder = context
    done = CliRunner().invoke(main, ["show", "double", "--handover"])
    assert done.exit_code == 0 and done.output == (folder / "model/HANDOVER.md").read_text(encoding="utf-8")
    for heading in ("What it takes", "What it gives", "How good it is, and on what", "Its limits", "Run it", "Watch it",
                    "Update it, and go back", "Retrain it", "Whom to ask"):
        assert f"\n## {heading}\n" in done.output
