"""One contract for every kind of model: made in a script, asked after the script is gone, the same answers."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlship.app import create_app
from mlship.outputs import answers, differs, to_list
from mlship.shipping import load
from mlship.store import Store

HELPER = "factor = 10\ndef times(x): return factor * x\nclass Shift:\n    def __init__(self, by): self.by = by\n" \
         "    def __call__(self, X): return [x + self.by for x in X]\n"
LOAD = '''
import json, sys, warnings
from mlship import load
from mlship.outputs import answers, to_list
truth, out = json.load(open(sys.argv[1])), {}
for name, t in truth.items():
    m = load(name)
    out[name] = {"answers": to_list(answers(m.predict_rows(t["rows"]), len(t["rows"])))}
assert not any(k.split(".")[0] == "helper" for k in sys.modules), "the helper leaked into the process"
json.dump(out, open(sys.argv[2], "w"))
'''


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    "All the models, shipped by a script in a folder that is gone afterwards; the library's own answers"
    place = tmp_path_factory.mktemp("models")
    folder, home = place / "notebook", place / "home"
    folder.mkdir()
    home.mkdir()
    (folder / "helper.py").write_text(HELPER)
    shutil.copy(Path(__file__).with_name("models.py"), folder / "make.py")
    env = {**os.environ, "MLSHIP_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "make.py", str(place / "truth.json")], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for f in list(folder.glob("**/*.py")):
        f.unlink()
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(place / "truth.json"), str(place / "loaded.json")],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    old = os.environ["MLSHIP_HOME"]
    os.environ["MLSHIP_HOME"] = str(home)
    yield json.loads((place / "truth.json").read_text()), json.loads((place / "loaded.json").read_text())
    os.environ["MLSHIP_HOME"] = old


NAMES = (
    "lr lr-names rf hgb svc knn mlp kmeans pca two-outputs float32 text-list text-series mixed simple grid lambda-step "
    "own-class batch row one-value arguments columns images closure helper helper-object odd-answers before"
).split()


def test_all_models_are_in_the_table(truth):
    assert set(NAMES) == set(truth[0])


@pytest.mark.parametrize("name", NAMES)
def test_another_process_gives_the_same_answers(truth, name):
    want, got = truth[0][name], truth[1][name]
    assert not differs(got["answers"], want["answers"], 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_server_gives_the_same_answers(truth, name):
    want = truth[0][name]
    client = create_app(name).test_client()
    proba = "?proba=1" if "probabilities" in want else ""
    r = client.post(f"/predict{proba}", json={"inputs": want["rows"]})
    assert r.status_code == 200, r.json
    tolerance = 1e-6 if load(name).plan else 1e-12
    assert not differs(r.json["predictions"], want["answers"], tolerance)
    if proba:
        assert not differs(r.json["probabilities"], want["probabilities"], tolerance)
    one = client.post("/predict", json={"inputs": want["rows"][-1:]})
    assert not differs(one.json["predictions"], want["answers"][-1:], tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_its_own_examples_are_answered_as_they_were(truth, name):
    model = load(name)
    kept = model.bundle.examples
    assert not differs(to_list(answers(model.predict_rows(kept["rows"]), len(kept["rows"]))), kept["answers"], 1e-12)


def test_two_versions_of_one_helper_live_side_by_side(home, tmp_path, monkeypatch):
    from mlship.shipping import ship
    monkeypatch.syspath_prepend(tmp_path)
    for factor in (2, 3):
        (tmp_path / "sidehelper.py").write_text(f"def scaled(x): return {factor} * x\n")
        sys.modules.pop("sidehelper", None)
        __import__("importlib").invalidate_caches()
        import sidehelper
        assert sidehelper.scaled(1) == factor

        def through(x):
            from sidehelper import scaled
            return scaled(x)
        ship(through, [1.0], name="side", check=False)
        for cached in tmp_path.glob("__pycache__/*"):
            cached.unlink()
    first, second = load("side@1"), load("side@2")
    assert [first.predict([1.0]), second.predict([1.0]), first.predict([1.0])] == [[2.0], [3.0], [2.0]]
    assert Store().versions("side") == [1, 2]


def test_local_packages_are_carried_or_refused_by_name(home, tmp_path, monkeypatch):
    "An editable install and a folder on the path are local; compiled code in one cannot travel"
    from mlship.core import CannotShip
    from mlship.shipping import ship
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "localpackage"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from .inner.rates import rate\n")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "rates.py").write_text(
        "import json\nfrom pathlib import Path\n"
        "def rate(x): return x * json.loads((Path(__file__).parent / 'rates.json').read_text())['rate']\n")
    (package / "inner" / "rates.json").write_text('{"rate": 1.5}')
    import localpackage

    def price(x):
        return localpackage.rate(x)
    b = ship(price, [2.0], name="price")          # checked, in a process that has no such package
    assert {"code/localpackage/__init__.py", "code/localpackage/inner/rates.json"} <= set(b.manifest["files"])
    (package / "fast.so").write_bytes(b"\x7fELF")
    with pytest.raises(CannotShip) as e:
        ship(price, [2.0], name="price", check=False)
    assert "localpackage" in e.value.message and "fast.so" in e.value.message and Store().versions("price") == [1]
    shutil.rmtree(package)
    assert load("price").predict([2.0]) == [3.0]
