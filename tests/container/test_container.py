"""Images of ours, really built and really run: `make container` (prove.sh) finds or starts an engine for it.

What a container answers is compared with the examples that the bundle keeps of the model in its notebook.
"""
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlship.core import MlshipError
from mlship.image import build
from mlship.outputs import differs
from mlship.store import Store

ENGINE = os.environ.get("MLSHIP_TEST_ENGINE")
MLSHIP = str(Path(sys.executable).parent / "mlship")
SAFE = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--memory", "1g"]
pytestmark = [pytest.mark.slow, pytest.mark.linux,
              pytest.mark.skipif(not ENGINE, reason="images are built and run by `make container`")]


def engine(*words, ok=True):
    "What the engine prints"
    done = subprocess.run([ENGINE, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or not ok, done.stderr
    return (done.stdout + done.stderr).strip() if not ok else done.stdout.strip()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    "The models, shipped by a script that is gone afterwards"
    place = tmp_path_factory.mktemp("shipped")
    script = place / "script.py"
    script.write_bytes((Path(__file__).parent / "models.py").read_bytes())
    env = {**os.environ, "MLSHIP_HOME": str(place / "home")}
    done = subprocess.run([sys.executable, str(script)], cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    script.unlink()
    before, os.environ["MLSHIP_HOME"] = os.environ["MLSHIP_HOME"], str(place / "home")
    yield Store()
    os.environ["MLSHIP_HOME"] = before


@pytest.fixture(scope="module")
def images(store):
    "Built by the command, as a user does: name -> (tag, what it printed, seconds)"
    made = {}
    for ref in ("tumour@1", "double@1"):
        tag, started = f"mlship-test/{ref.replace('@', ':')}", time.monotonic()
        done = subprocess.run([MLSHIP, "build", ref, "-t", tag, "--engine", ENGINE], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        made[ref.partition("@")[0]] = tag, done, time.monotonic() - started
        print(f"\nmlship build {ref}: {made['tumour'][2] if ref[0] == 't' else made['double'][2]:.1f} s\n{done.stderr}")
    yield made
    for tag, _, _ in made.values():
        engine("rmi", "-f", tag, ok=False)


def state(container, of):
    return engine("inspect", "-f", "{{.State.%s}}" % of, container)


@contextmanager
def running(tag, *words, options=(), port=8080):
    "A container that is ready; gives its address and its id. It is stopped, and must end with 0."
    container = engine("run", "-d", "-p", f"127.0.0.1::{port}", *SAFE, *options, tag, *words)
    try:
        url = "http://127.0.0.1:" + engine("port", container, f"{port}/tcp").splitlines()[0].rpartition(":")[2]
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < until and state(container, "Running") == "true", \
                    engine("logs", container, ok=False)
                time.sleep(.1)
        yield url, container
        if state(container, "Running") == "true":
            engine("stop", "-t", "20", container)
        assert state(container, "ExitCode") == "0", engine("logs", container, ok=False)
    finally:
        engine("rm", "-f", container, ok=False)


def ask(url, rows):
    request = urllib.request.Request(f"{url}/predict", json.dumps({"inputs": rows}).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as r:
        return json.load(r)["predictions"]


@pytest.mark.parametrize("name", ["tumour", "double"])
def test_it_answers_as_the_notebook_did(store, images, name):
    "Read-only, without capabilities, as nobody; every kept example, together and one by one; then it is stopped"
    kept = store.open(f"{name}@1").examples
    started = time.monotonic()
    with running(images[name][0]) as (url, container):
        print(f"\n{name}: ready {time.monotonic() - started:.1f} s after docker run")
        rows, answers = kept["rows"], kept["predictions"]
        assert len(rows) >= 3 and not differs(ask(url, rows), answers)
        assert not [row for row, answer in zip(rows[:30], answers) if differs(ask(url, [row]), [answer])]
        try:
            ask(url, [{"no": "such field"}])
            raise AssertionError("a bad row was answered")
        except urllib.error.HTTPError as e:
            assert e.code == 422
        assert engine("exec", container, "id", "-u") == "10001"
        look = "touch /opt/mlship/x /tmp/x; tr '\\0' ' ' </proc/1/cmdline"
        said = engine("exec", container, "sh", "-c", look, ok=False)
        assert "Read-only file system" in said and "start.py serve" in said and "/tmp/x" not in said, said


def test_it_ends_well(images):
    "A running request is answered before the end, and a stop during the start is no loss"
    tag = images["double"][0]
    with running(tag) as (url, container):
        got = []
        asking = threading.Thread(target=lambda: got.append(ask(url, [77.0])))
        asking.start()
        time.sleep(.5)
        engine("stop", "-t", "20", container)
        asking.join(20)
        assert got == [[154.0]]
    for wait in (.4, .8, 1.2):
        container = engine("run", "-d", *SAFE, tag)
        time.sleep(wait)
        started = time.monotonic()
        engine("stop", "-t", "20", container)
        assert state(container, "ExitCode") == "0" and time.monotonic() - started < 10, wait
        engine("rm", container)


@pytest.mark.parametrize("variable, words", [("PORT", []), ("AIP_HTTP_PORT", ["serve"])], ids=["PORT", "Vertex AI"])
def test_the_platform_names_the_port_and_the_user(images, variable, words):
    "And the image's own health check finds it there; `serve` as a word is what SageMaker gives"
    options = ["-e", f"{variable}=9123", "--user", "4321:0", "-e", "PORT=9123"]
    with running(images["double"][0], *words, options=options, port=9123) as (url, container):
        assert ask(url, [21.0]) == [42.0]
        done = subprocess.run([ENGINE, "exec", container, "python", "-IS", "/opt/mlship/start.py", "is-ready"])
        assert done.returncode == 0
        check = json.loads(engine("inspect", "-f", "{{json .Config.Healthcheck.Test}}", container))
        assert check[-2:] == ["/opt/mlship/start.py", "is-ready"]


@pytest.mark.skipif(ENGINE == "podman", reason="podman checks health by systemd's timers, which may not be there")
def test_the_engine_sees_its_health(images):
    with running(images["double"][0]) as (_, container):
        until = time.monotonic() + 40
        while state(container, "Health.Status") == "starting" and time.monotonic() < until:
            time.sleep(.5)
        assert state(container, "Health.Status") == "healthy"


def test_what_it_says_when_it_cannot_serve(images):
    tag = images["double"][0]

    def refused(*options):
        return engine("run", "--rm", "--read-only", "--cap-drop", "ALL", *options, tag, ok=False)
    assert "--tmpfs /tmp" in refused()
    assert "PORT is 'http', which is no port" in refused("--tmpfs", "/tmp", "-e", "PORT=http")
    assert "unknown key" in refused("--tmpfs", "/tmp", "-e", "MLSHIP_HOME=/tmp/other")
    for said in (refused(), refused("-e", "PORT=http"), refused("--tmpfs", "/tmp", "-e", "MLSHIP_HOME=/tmp/other")):
        assert "Traceback" not in said


def test_labels_and_secrets(store, images):
    tag = images["double"][0]
    labels = json.loads(engine("image", "inspect", "-f", "{{json .Config.Labels}}", tag))
    bundle = store.open("double@1")
    assert labels["org.opencontainers.image.title"] == "double" and labels["org.opencontainers.image.version"] == "1"
    assert labels["org.opencontainers.image.description"] == 'The "double", for $5'
    assert labels["io.mlship.signature"] == bundle.signed_by.id
    found = engine("run", "--rm", "--entrypoint", "sh", tag, "-c",
                   "find / -xdev -name 'own.pem' -o -xdev -name '*.whl' -not -path '*/ensurepip/*' 2>/dev/null; "
                   "find /opt -writable ! -type l 2>/dev/null; true")
    assert found == "", found


def layers(tag):
    return json.loads(engine("image", "inspect", "-f", "{{json .RootFS.Layers}}", tag))


def test_a_new_version_is_one_small_layer(store, images):
    started = time.monotonic()
    made = build(store.open("tumour@2"), "mlship-test/tumour:2", engine=ENGINE)
    took = time.monotonic() - started
    old, new = layers(images["tumour"][0]), layers("mlship-test/tumour:2")
    engine("rmi", "-f", "mlship-test/tumour:2", ok=False)
    sizes = {layer.what: layer.size for layer in made.layers}
    print(f"\na new version of the model: {took:.1f} s, {sizes}")
    assert len(old) == len(new) and old[:-1] == new[:-1] and old[-1] != new[-1]
    assert list(sizes) == ["base", "libraries", "mlship", "the key", "the model"]
    assert sum(sizes.values()) - sizes["base"] < 450e6 and sizes["the model"] < 1e6 and sizes["mlship"] < 5e6
    assert took < 20


def refusal(bundle, **options):
    with pytest.raises(MlshipError) as e:
        build(bundle, "mlship-test/refused:1", engine=ENGINE, **options)
    print(f"\n{e.value}")
    assert len(e.value.message) < 2000
    return e.value


def test_a_requirement_that_cannot_be_installed(store, images):
    e = refusal(store.open("impossible@1"))
    assert "No matching distribution found for scikit-learn==99.0" in e.message and "ship again" in e.fix


def test_a_base_without_python_or_that_is_not_there(store, images, tmp_path):
    (tmp_path / "a file").write_text("")
    with tarfile.open(tmp_path / "empty.tar", "w") as tar:
        tar.add(tmp_path / "a file", "a file")
    engine("import", str(tmp_path / "empty.tar"), "mlship-test/empty:1")
    try:
        assert "has no python" in refusal(store.open("double@1"), base="mlship-test/empty:1").fix
    finally:
        engine("rmi", "-f", "mlship-test/empty:1", ok=False)
    assert "base image" in refusal(store.open("double@1"), base="127.0.0.1:1/nobody:1").fix
