"""transformers away from their notebook: served, referenced on the hub, loaded from strangers, changed."""
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from deep import made_by, near
from served import Served

from mlship import ship
from mlship.app import create_app
from mlship.core import CannotShip, Damaged, MissingExtra, MlshipError
from mlship.model import adapter
from mlship.store import Store

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("transformers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(place / "hf"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        truth, home = made_by("make_transformers.py", place)
        patch.setenv("MLSHIP_HOME", str(home))
        near_names = [n for n in truth if n != "far"]   # this process may have read HF_HOME before it was set
        yield truth, create_app(*near_names).test_client(), place


def ask(client, name, rows, **kw):
    return client.post(f"/models/{name}/predict", json={"inputs": rows, **kw})


def test_answers_are_the_notebooks(made):
    truth, client, _ = made
    for name in set(truth) - {"far"}:
        t = truth[name]
        answer = ask(client, name, t["rows"])
        assert answer.status_code == 200, (name, answer.json)
        assert near(answer.json["predictions"], t["said"], 1e-4), name
        assert near(ask(client, name, t["rows"][1:2]).json["predictions"], t["said"][1:2], 1e-4), name


def test_a_classifier_has_probabilities(made):
    truth, client, _ = made
    film = Store().open("film")
    assert film.signature.classes == ("no", "yes")
    p = film.load().predict_proba(truth["film"]["rows"])
    assert near([max(row) for row in p.tolist()], truth["film"]["top"], 1e-5)


def test_no_pickle_and_a_stranger_may_sign(made):
    truth, _, _ = made
    for name, t in truth.items():
        assert not [f for f in t["files"] if not f.endswith((".json", ".txt", ".model", ".safetensors"))], t["files"]
    assert not [f for f in truth["far"]["files"] if f.endswith(".safetensors")]
    for trust in ("unknown", "unsigned"):
        stranger = replace(Store().open("film"), trust=trust)
        assert stranger.load().predict(truth["film"]["rows"]) == truth["film"]["said"]


def test_wrong_rows_are_refused_by_name(made):
    _, client, _ = made
    for name, rows, where in (("film", [7], "inputs[0]"), ("film", [None], "inputs[0]"),
                              ("look", ["no picture"], "inputs[0]")):
        answer = ask(client, name, rows)
        assert answer.status_code == 422 and answer.json["error"]["field"] == where, answer.json


def test_rows_that_the_model_cannot_take_are_refused(made):
    for name, row in (("film", "good " * 600), ("film", ""), ("mask", "a film without one")):
        answer = ask(made[1], name, [row])
        assert answer.status_code == 422 and answer.json["error"]["code"] == "model_refused", answer.json


def test_a_model_that_no_pipeline_runs_is_refused_with_the_way_around(tmp_path, monkeypatch):
    import tokenizers
    import transformers as tf
    monkeypatch.setenv("MLSHIP_STORE", str(tmp_path))
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 2}, unk_token="[UNK]"))
    tok = tf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")
    net = tf.T5ForConditionalGeneration(tf.T5Config(vocab_size=3, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2,
                                                    decoder_start_token_id=0, eos_token_id=2)).eval()
    with pytest.raises(CannotShip, match="T5ForConditionalGeneration") as refused:
        ship((net, tok), ["good"], name="summary")
    assert "net.generate" in refused.value.fix

    def answer(texts):   # as it says
        return [tok.decode(net.generate(**tok(t, return_tensors="pt"), max_new_tokens=3)[0]) for t in texts]
    assert ship(answer, ["good"], name="summary").load().predict_rows(["good", "bad"]) == answer(["good", "bad"])


def test_a_file_that_could_run_is_refused(made):
    bundle, kind = Store().open("film"), adapter("transformers")
    read = lambda f: bundle.read(f"model/{f}")   # noqa: E731
    evil = lambda f: b'{"auto_map": {"AutoModel": "x.Net"}}' if f == "config.json" else read(f)   # noqa: E731
    with pytest.raises(Damaged, match="auto_map"):
        kind.load(evil, {}, ".")
    named = lambda f: (read(f).replace(b"model.safetensors", b"pytorch_model.bin")   # noqa: E731
                       if f == "transformers.json" else b"{}")
    with pytest.raises(Damaged, match="no safetensors"):
        kind.load(named, {}, ".")


def test_a_library_that_is_missing_names_its_pip_command(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises((MissingExtra, MlshipError), match=r"mlship-jupyter\[transformers\]"):
        Store().open("film").load()


def test_a_changed_byte_is_refused(made):
    bundle = Store().open("mask")
    at = bundle.folder / "model" / "model.safetensors"
    at.chmod(0o644)
    data = bytearray(at.read_bytes())
    data[-3] ^= 1
    at.write_bytes(data)
    with pytest.raises(Damaged, match="model.safetensors"):
        bundle.load()


def load_far(**env):
    code = "from mlship import load; print(load('far').predict(['bad']))"
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], env={**os.environ, **env},
                          capture_output=True, text=True, timeout=120)


def test_the_hub_is_asked_and_its_hashes_count(made, tmp_path):
    truth, _, place = made
    server = Served("far", "--workers", "1")
    try:
        assert server.ask(*truth["far"]["rows"]) == truth["far"]["said"]
    finally:
        server.end()
    away = load_far(HF_HOME=str(tmp_path))
    assert away.returncode and "cannot be fetched" in away.stderr and "HF_HUB_OFFLINE" in away.stderr, away.stderr
    weights = next(Path(place / "hf").rglob("snapshots/*/model.safetensors")).resolve()
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    changed = load_far()
    assert changed.returncode and "sha256 differs" in changed.stderr, changed.stderr
