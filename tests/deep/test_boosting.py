"""XGBoost and LightGBM away from their notebook: the estimators' answers, by plan and by model, without a pickle."""
import json

import pytest
from deep import made_by, near

from mlship.app import create_app
from mlship.shipping import load
from mlship.store import Store

pytest.importorskip("xgboost")
pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    truth, home = made_by("make_boosting.py", tmp_path_factory.mktemp("boosting"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(home))
        yield truth, create_app(*truth).test_client()


def test_answers_are_the_estimators_own(made):
    truth, client = made
    for name, t in truth.items():
        answer = client.post(f"/models/{name}/predict", json={"inputs": t["rows"], "proba": "proba" in t})
        assert answer.status_code == 200, answer.json
        assert near(answer.json["predictions"], t["said"], 2e-6), name
        if "proba" in t:
            assert near(answer.json["probabilities"], t["proba"], 1e-6), name
        native = load(name)
        native.plan = None   # and the model itself
        assert near(json.loads(json.dumps(native.predict_rows(t["rows"]).tolist())), t["said"], 2e-6), name


def test_what_has_a_plan_and_what_has_none_and_why(made):
    for name, t in made[0].items():
        assert t["plan"] == t["wanted"], (name, t["why"])
    assert "gblinear" in made[0]["x-linear"]["why"] and "zero_as_missing" in made[0]["l-zeros"]["why"]


def test_no_pickle_so_anybody_may_have_signed_it(made):
    truth, _ = made
    for name, t in truth.items():
        bundle = Store().open(name)
        files = {f for f in bundle.manifest["files"] if f.startswith("model/")}
        assert files == ({"model/model.pkl"} if t["runs code"] else {"model/booster"}), (name, files)
        if not t["runs code"]:
            object.__setattr__(bundle, "trust", "unknown")
            assert bundle.load().predict_rows(t["rows"]) is not None


def test_a_changed_byte_and_bad_rows_are_refused(made):
    truth, client = made
    row = truth["x-holes"]["rows"][0]
    assert client.post("/models/x-holes/predict", json={"inputs": [{**row, "mean area": "large"}]}).status_code == 422
    assert client.post("/models/x-flowers/predict", json={"inputs": [[1, 2, 3]]}).status_code == 422
    bundle = Store().open("l-zeros")
    at = bundle.folder / "model" / "booster"
    at.chmod(0o644)
    data = bytearray(at.read_bytes())
    data[len(data) // 2] ^= 1
    at.write_bytes(data)
    from mlship.core import Damaged
    with pytest.raises(Damaged, match="model/booster"):
        bundle.load()
