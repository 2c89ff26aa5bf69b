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

from mlship.context import write_context
from mlship.core import MlshipError
from mlship.image import _layers, build
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
    for ref, *options in (("tumour@1",), ("double@1",), ("people@1", "--lean")):
        tag, started = f"mlship-test/{ref.replace('@', ':')}", time.monotonic()
        words = [MLSHIP, "build", ref, "-t", tag, "--engine", ENGINE, *options]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        made[ref.partition("@")[0]] = tag, done, time.monotonic() - started
        print(f"\nmlship build {ref} {' '.join(options)}: {time.monotonic() - started:.1f} s\n{done.stderr}")
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


@pytest.mark.parametrize("name", ["tumour", "double", "people"])
def test_it_answers_as_the_notebook_did(store, images, name):
    "Read-only, without capabilities, as nobody; every kept example, together and one by one; then it is stopped"
    kept = store.open(f"{name}@1").examples
    started = time.monotonic()
    with running(images[name][0]) as (url, container):
        print(f"\n{name}: ready {time.monotonic() - started:.1f} s after docker run")
        rows, answers = kept["rows"], kept["answers"]
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
        asking = threading.Thread(target=lambda: got.append(ask(url, [77.0])), daemon=True)
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


def test_the_platform_names_the_port_and_the_user(images):
    "And the image's own health check finds it there"
    options = ["--user", "4321:0", "-e", "PORT=9123"]
    with running(images["double"][0], options=options, port=9123) as (url, container):
        assert ask(url, [21.0]) == [42.0]
        done = subprocess.run([ENGINE, "exec", container, "python", "-IS", "/opt/mlship/start.py", "is-ready"])
        assert done.returncode == 0
        check = json.loads(engine("inspect", "-f", "{{json .Config.Healthcheck.Test}}", container))
        assert check[-2:] == ["/opt/mlship/start.py", "is-ready"]


def test_vertex_ai(images):
    "Its port goes before others, and it is answered at the paths that it names"
    said = {"AIP_HTTP_PORT": "9123", "PORT": "1", "AIP_PREDICT_ROUTE": "/v1/endpoints/7:predict",
            "AIP_HEALTH_ROUTE": "/v1/endpoints/7"}
    options = [word for name, value in said.items() for word in ("-e", f"{name}={value}")]
    with running(images["double"][0], options=options, port=9123) as (url, _):
        request = urllib.request.Request(f"{url}/v1/endpoints/7:predict", b'{"instances": [21.0], "parameters": {}}',
                                         {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as r:
            assert json.load(r) == {"predictions": [42.0]}
        with urllib.request.urlopen(f"{url}/v1/endpoints/7", timeout=30) as r:
            assert r.status == 200


def test_sagemaker(store, images, tmp_path):
    "Run with the word `serve`; what it unpacked at /opt/ml/model is served, if a key that the image trusts signed it"
    folder = store.open("tumour@2").folder
    options = ["-v", f"{folder}:/opt/ml/model:ro"]
    with running(images["tumour"][0], "serve", options=options) as (url, _):
        with urllib.request.urlopen(f"{url}/models", timeout=30) as r:
            assert [(m["name"], m["version"]) for m in json.load(r)["models"]] == [("tumour", 2)]
        with urllib.request.urlopen(f"{url}/ping", timeout=2) as r:
            assert r.status == 200
    env = {**os.environ, "MLSHIP_HOME": str(tmp_path / "stranger")}
    code = "from mlship import ship; print(ship(lambda x: x, [1.0], name='other', check=False).folder)"
    stranger = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout.strip()
    said = engine("run", "--rm", *SAFE, "-v", f"{stranger}:/opt/ml/model:ro", images["double"][0], "serve", ok=False)
    assert "signed by the unknown key" in said and "Traceback" not in said


def test_a_lean_image_has_no_scikit_learn(images):
    "And is small; what the model would refuse is refused by it too; what has no plan cannot be lean"
    tag, done, _ = images["people"]
    code = "from importlib.util import find_spec as f; print(f('sklearn'), f('pandas'), bool(f('onnxruntime')))"
    found = engine("run", "--rm", "--entrypoint", "python", tag, "-c", code)
    assert found == "None None True"
    with running(tag) as (url, _):
        try:
            ask(url, [{"age": 30.0, "income": None, "city": "Atlantis"}])
            raise AssertionError("a city that the model refuses was answered")
        except urllib.error.HTTPError as e:
            assert e.code == 422 and json.load(e)["error"]["code"] == "model_refused"
    done = subprocess.run([MLSHIP, "build", "tumour@1", "--lean", "--engine", ENGINE], capture_output=True, text=True)
    assert done.returncode == 2 and "tumour@1 cannot be lean: it has no plan" in done.stderr, done.stderr


def test_sizes(store, images):
    "The issue's targets: above the base, 200 MB for a lean image and 450 MB for one with scikit-learn"
    for name, most in (("people", 200e6), ("tumour", 450e6)):
        sizes = {layer.what: layer.size for layer in _layers(ENGINE, images[name][0])}
        assert list(sizes) == ["base", "libraries", "mlship", "the key", "the model"]
        above = sum(sizes.values()) - sizes["base"]
        print(f"\n{name}: {above / 1e6:.0f} MB above the base, {sizes}")
        assert above < most and sizes["the model"] < 1e6 and sizes["mlship"] < 5e6
        assert "libraries" in images[name][1].stderr and "together" in images[name][1].stderr


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
    assert sizes["the model"] < 1e6
    assert took < 20    # aim: 5 s, on a machine that does nothing else


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


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk(store, tmp_path):
    "Said in a line, and nothing half-written is left"
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", place], check=True)
    try:
        with pytest.raises(MlshipError) as e:
            write_context(store.open("tumour@1"), place / "context")
        assert "No space left on device" in e.value.message and not list(place.iterdir())
    finally:
        subprocess.run(["umount", place], check=True)
