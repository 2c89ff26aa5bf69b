"""fastai's learners, of every kind, away from their notebook: what learn.predict says, in batches, over HTTP."""
import base64
import io
import pickle

import pandas as pd
import pytest
from deep import made_by, near

from mlship import ship
from mlship.app import create_app
from mlship.core import CannotShip
from mlship.store import Store

pytest.importorskip("fastai")
NAMES = ("wine", "sick", "parity", "facts", "height", "film", "stars")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    truth, home = made_by("make_fastai.py", tmp_path_factory.mktemp("fastai"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(home))
        yield truth, create_app(*NAMES).test_client()


def ask(client, name, rows, **kw):
    return client.post(f"/models/{name}/predict", json={"inputs": rows, **kw})


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_learn_predict(served, name):
    truth, client = served
    rows, said = truth[name]["rows"], truth[name]["said"]
    labels = [label for label, _ in said]
    if name in ("sick", "height"):   # fastai has one number as a list of one
        labels = [label[0] for label in labels]
    together = ask(client, name, rows)
    assert together.status_code == 200, together.json
    assert near(together.json["predictions"], labels), name
    for row, label in zip(rows, labels):   # each alone as in company
        assert near(ask(client, name, [row]).json["predictions"], [label]), name
    if name in ("wine", "parity", "film"):
        answer = ask(client, name, rows, proba=True).json
        assert near(answer["probabilities"], [p for _, p in said])
        assert all(abs(sum(p) - 1) < 1e-5 for p in answer["probabilities"])
        best = [answer["classes"][p.index(max(p))] for p in answer["probabilities"]]
        assert best == answer["predictions"]


def test_a_picture_as_a_file_as_a_form_and_in_json(served):
    truth, client = served
    row = truth["parity"]["rows"][0]
    picture = base64.b64decode(row.partition(",")[2])
    want = truth["parity"]["said"][0][0]
    form = client.post("/models/parity/predict", data={"image": (io.BytesIO(picture), "a.png")})
    alone = client.post("/models/parity/predict", data=picture, content_type="image/png")
    plain = ask(client, "parity", [base64.b64encode(picture).decode()])
    for answer in (form, alone, plain):
        assert answer.status_code == 200 and answer.json["predictions"] == [want], answer.json


def test_what_is_no_picture_is_refused_by_name(served):
    truth, client = served
    good = truth["parity"]["rows"][0]
    picture = base64.b64decode(good.partition(",")[2])
    for bad, why in ((base64.b64encode(picture[:60]).decode(), "cut off or damaged"), ("aGVsbG8=", "is no image"),
                     (7, "no base64"), (None, "is missing")):
        answer = ask(client, "parity", [good, bad])
        assert answer.status_code == 422 and why in answer.json["error"]["message"], answer.json
        assert answer.json["error"]["field"] == "inputs[1]"


def test_rows_that_training_never_had(served):
    truth, client = served
    row = truth["wine"]["rows"][0]
    assert ask(client, "wine", [{**row, "region": "west", "ash": None}]).status_code == 200   # unseen, and missing
    for bad in ({**row, "hue": None}, {**row, "hue": "deep"}, {k: v for k, v in row.items() if k != "hue"}):
        answer = ask(client, "wine", [bad])
        assert answer.status_code == 422 and answer.json["error"]["field"] == "inputs[0].hue", answer.json
    assert ask(client, "film", ["zzz unheard words", ""]).status_code == 200
    assert ask(client, "film", [3]).status_code == 422


def test_a_language_model_is_refused_with_the_way_around(tmp_path, monkeypatch):
    monkeypatch.setenv("MLSHIP_STORE", str(tmp_path))
    from fastai.text.all import AWD_LSTM, TextDataLoaders, language_model_learner
    texts = pd.DataFrame({"text": ["the film was fine and the day was long"] * 40})
    dls = TextDataLoaders.from_df(texts, text_col="text", is_lm=True, bs=4, seq_len=6, num_workers=0)
    learn = language_model_learner(dls, AWD_LSTM, config={"emb_sz": 8, "n_hid": 8, "n_layers": 1, "pad_token": 1,
                                   "bidir": False, "output_p": .1, "hidden_p": .1, "input_p": .1, "embed_p": .1,
                                   "weight_p": .1, "tie_weights": True, "out_bias": True}, pretrained=False)
    with pytest.raises(CannotShip, match="continues a text") as refused:
        ship(learn, ["the film"], name="goes-on")
    assert "learn.predict" in refused.value.fix

    def go_on(texts):   # as it says
        return [learn.predict(t, 3, no_unk=False, no_bar=True) for t in texts]
    said = ship(go_on, ["the film"], name="goes-on").load().predict_rows(["the film was"])
    assert said[0].startswith("the film was")   # what follows is drawn, and may be no word


class Windows(pickle.Unpickler):
    "There, PosixPath is a class without objects."
    def find_class(self, module, name):
        if name == "PosixPath":
            def refuse(cls, *_): raise NotImplementedError("cannot instantiate 'PosixPath' on your system")
            return type("PosixPath", (), {"__new__": refuse})
        return super().find_class(module, name)


def test_labellers_travel_by_value_and_paths_as_text(served):
    for name in ("parity", "facts"):
        data = Store().open(name).read("model/model.pkl")
        assert len(data) < 200_000, len(data)   # no pictures and no weights in it
        learn = Windows(io.BytesIO(data)).load()
        assert sum(t.numel() for t in learn.model.parameters()) == 0
