"""Keras and TensorFlow away from their notebook: the same answers; what needs trust and what does not."""
import subprocess

import numpy as np
import pytest
from deep import made_by, near
from served import MLSHIP

from mlship.app import create_app
from mlship.core import CannotShip, Damaged, Untrusted
from mlship.model_files import open_model
from mlship.shipping import load
from mlship.store import Store

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    truth, home = made_by("make_keras.py", tmp_path_factory.mktemp("keras"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(home))
        yield truth, create_app(*truth).test_client()


def test_answers_are_the_notebooks(made):
    truth, client = made
    for name, t in truth.items():
        for rows, said in ((t["rows"], t["said"]), (t["rows"][1:2], t["said"][1:2])):
            answer = client.post(f"/models/{name}/predict", json={"inputs": rows})
            assert answer.status_code == 200, (name, answer.json)
            assert near(answer.json["predictions"], said), name


def test_only_what_runs_code_needs_trust(made):
    for name, t in made[0].items():
        bundle = Store().open(name)
        object.__setattr__(bundle, "trust", "unknown")
        if name in ("own", "saved", "words"):
            with pytest.raises(Untrusted):
                bundle.refuse_untrusted()
        else:
            assert t["files"] == ["model/keras.json", "model/model.keras"]
            assert bundle.load().predict_rows(t["rows"]) is not None


def test_wrong_rows_are_refused_by_name(made):
    _, client = made
    for name, rows, field in (("plain", [[1, 2, 3]], "inputs[0]"), ("plain", [[1, 2, 3, "x"]], "inputs[0][3]"),
                              ("two", [{"a": [1, 2]}], "inputs[0].b"), ("words", [7], "inputs[0]")):
        answer = client.post(f"/models/{name}/predict", json={"inputs": rows})
        assert answer.status_code == 422 and answer.json["error"]["field"] == field, (name, answer.json)


def test_a_keras_file_and_a_saved_model_from_the_command_line(made, tmp_path, monkeypatch):
    import keras
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.save(tmp_path / "line.keras")
    model.export(tmp_path / "folder", verbose=False)
    (tmp_path / "torn.keras").write_bytes((tmp_path / "line.keras").read_bytes()[:-300])
    (tmp_path / "x.json").write_text("[[1.0, 2.0], [3.0, 4.0]]")
    monkeypatch.setenv("MLSHIP_HOME", str(tmp_path / "home"))
    for words in (["line.keras"], ["folder", "--trust", "--example", "x.json", "--name", "folder"]):
        done = subprocess.run([MLSHIP, "ship", *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    want = model(keras.ops.array([[1.0, 2.0]])).numpy()
    for name in ("line", "folder"):
        assert near(load(name).predict_rows([[1.0, 2.0]]).tolist(), want.tolist())
    done = subprocess.run([MLSHIP, "ship", "torn.keras"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "torn.keras" in done.stderr and "Traceback" not in done.stderr, done


def test_files_that_are_opened_for_those_who_trust_them(tmp_path):
    import keras
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss=lambda y, p: p - y)   # nobody has this loss, and scoring needs none
    X = np.array([[1.0, 2.0]])
    for ending, *trust in (("keras",), ("h5", True)):
        model.save(tmp_path / f"line.{ending}")
        assert np.allclose(open_model(tmp_path / f"line.{ending}", *trust)(X), model(X))
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "lambda.keras")
    model.export(tmp_path / "folder", verbose=False)
    for name in ("line.h5", "lambda.keras", "folder"):
        with pytest.raises(Untrusted) as refused:
            open_model(tmp_path / name)
        assert "--trust" in refused.value.fix
    model.save_weights(tmp_path / "bare.weights.h5")
    with pytest.raises(CannotShip, match="holds weights"):
        open_model(tmp_path / "bare.weights.h5", True)
    (tmp_path / "torn.h5").write_bytes((tmp_path / "line.h5").read_bytes()[:-300])
    with pytest.raises(Damaged, match="torn.h5"):
        open_model(tmp_path / "torn.h5", True)


def test_a_changed_byte_is_refused(made):
    bundle = Store().open("plain")
    at = bundle.folder / "model" / "model.keras"
    at.chmod(0o644)
    data = bytearray(at.read_bytes())
    data[len(data) // 2] ^= 1
    at.write_bytes(data)
    with pytest.raises(Damaged, match="model.keras"):
        bundle.load()
