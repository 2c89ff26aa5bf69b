"""torch modules away from their notebook, served for real; what is wrong with what comes; what is wrong with files."""
import os
import subprocess

import pytest
from deep import made_by, near
from served import MLSHIP, Served

from mlship.app import create_app
from mlship.core import Damaged
from mlship.store import Store

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    truth, home = made_by("make_torch.py", tmp_path_factory.mktemp("torch"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(home))
        yield truth, create_app(*truth).test_client()


def ask(client, name, rows):
    return client.post(f"/models/{name}/predict", json={"inputs": rows})


def test_answers_are_the_notebooks(made):
    truth, client = made
    for name, t in truth.items():
        answer = ask(client, name, t["rows"])
        assert answer.status_code == 200, (name, answer.json)
        assert near(answer.json["predictions"], t["said"], 2e-2 if name == "half" else 1e-5), name
        one = ask(client, name, t["rows"][2:3])   # alone as in company: it is in evaluation mode
        assert near(one.json["predictions"], t["said"][2:3], 2e-2 if name == "half" else 1e-5), name


def test_an_exported_program_serves_where_it_is_equal_and_faster(made):
    truth, _ = made
    bundle = Store().open("slow")
    assert truth["slow"]["plan"] == "torch.export" and "model/program" in bundle.manifest["files"]
    assert type(bundle.load().model).__name__ == "GraphModule"
    for name, t in truth.items():
        assert t["plan"] in ("torch.export", "none"), (name, t["plan"])


def test_a_program_that_does_not_load_leaves_the_module(made, monkeypatch):
    monkeypatch.setattr(torch.export, "load", lambda *_: 1 / 0)   # as where torch is another one
    t, model = made[0]["slow"], Store().open("slow").load()
    assert type(model.model).__name__ == "Slow" and near(model.predict_rows(t["rows"]).tolist(), t["said"])


def test_weights_are_in_safetensors_and_the_pickle_has_none(made):
    for name in made[0]:
        bundle = Store().open(name)
        files = {f: e["size"] for f, e in bundle.manifest["files"].items() if f.startswith("model/")}
        assert files["model/model.pkl"] < 20_000, files
        assert ("model/model.pt" if name in ("script", "traced") else "model/model.safetensors") in files


def test_wrong_types_and_shapes_are_refused_by_name(made):
    truth, client = made
    for name, rows, field in (("net", [[0.0] * 63], "inputs[0]"), ("net", [["x"] * 64], "inputs[0][0]"),
                              ("net", [[None] * 64], "inputs[0][0]"), ("traced", [[[1.0]]], "inputs[0]"),
                              ("words", [{"words": [1.5] * 6, "weight": 1}], "inputs[0].words[0]"),
                              ("words", [{"words": [1] * 6}], "inputs[0].weight"),
                              ("pair", [{"left": [1.0] * 4}], "inputs[0].right"),
                              ("whole", [{"a": [1.0] * 3, "b": 1}], "inputs[0].a")):
        answer = ask(client, name, rows)
        assert answer.status_code == 422 and answer.json["error"]["field"] == field, (name, answer.json)
    outside = ask(client, "words", [{"words": [99] * 6, "weight": 1.0}])   # no such row in the embedding
    assert outside.status_code in (422, 500) and "Traceback" not in outside.text


def test_a_changed_byte_in_the_weights_is_refused(made):
    bundle = Store().open("double")
    at = bundle.folder / "model" / "model.safetensors"
    at.chmod(0o644)
    data = bytearray(at.read_bytes())
    data[-3] ^= 1
    at.write_bytes(data)
    with pytest.raises(Damaged, match="model.safetensors"):
        bundle.load()


def test_served_by_workers_that_share_the_cores(made):
    t = made[0]["net"]
    server = Served("net", "--workers", "2", "--device", "auto")
    try:
        assert near(server.ask(*t["rows"]), t["said"])
    finally:
        server.end()


def test_a_device_that_is_not_there_says_so(made):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = subprocess.run([MLSHIP, "serve", "net", "--device", "cuda"], capture_output=True,
                          text=True, env=os.environ, timeout=120)
    assert done.returncode and "no device 'cuda'" in done.stderr and "Traceback" not in done.stderr, done
