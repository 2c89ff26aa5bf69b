"""What the model sees is what was sent: an echo of every type over every protocol, or a refusal that names it."""
import datetime as dt
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlship.app import create_app
from mlship.shipping import load, ship

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
TABLE = pd.DataFrame({
    "i8": np.array([1, -2, 3], "int8"), "u64": np.array([1, 2**63 + 1, 3], "uint64"), "i64": [1, 2**62 + 1, -5],
    "f32": np.array([.5, 1.25, 3], "float32"), "f64": [.1, np.nan, 1e300], "b": [True, False, True],
    "s": ["a", "ü", ""], "o": pd.Series(["x", None, "z"], dtype=object),
    "n": pd.array([1, None, 2**53 + 1], dtype="Int64"), "nb": pd.array([True, None, False], dtype="boolean"),
    "c": pd.Categorical(["lo", "hi", "lo"], categories=["lo", "mid", "hi"], ordered=True),
    "t": pd.to_datetime(["2024-02-29 12:00:01.25", "1999-12-31", None], format="ISO8601"),
    "z": pd.to_datetime(["2024-02-29T12:00Z", "1999-12-31T01:02Z", "2000-01-01T00:00Z"]).tz_convert("Europe/Berlin"),
})
TYPES = {str(k): str(v) for k, v in TABLE.dtypes.items()}


def seen(frame):
    "One record a row: what the model got, exactly, with the types of its columns"
    types = {str(k): str(v) for k, v in frame.dtypes.items()}

    def one(v):
        if v is None or v is pd.NA or v is pd.NaT or (isinstance(v, float) and math.isnan(v)):
            return None
        if isinstance(v, pd.Timestamp):
            return v.isoformat()
        if isinstance(v, np.floating):
            return float(v).hex()
        if isinstance(v, float):
            return v.hex()
        return v.item() if isinstance(v, np.generic) else v
    return [{"types": types, "row": {c: one(v) for c, v in zip(frame.columns, row)}}
            for row in zip(*[frame[c] for c in frame.columns])]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(tmp_path_factory.mktemp("home")))
        ship(seen, TABLE, name="table", check=False)
        for kind in ("float64", "float32", "int64", "uint8", "bool"):
            ship(lambda M: M, np.zeros((3, 2), kind), name=f"array-{kind}", check=False)
        names = ["table", *(f"array-{k}" for k in ("float64", "float32", "int64", "uint8", "bool"))]
        yield create_app(*map(load, names)).test_client()


def expected(name, v):
    "How the echo shows a value that was sent"
    if v is None:
        return None
    if name == "f32":
        return float(np.float32(v)).hex()
    if name == "f64":
        return float(v).hex()
    if name in ("t", "z"):
        moment = pd.Timestamp(v)
        return (moment.tz_convert("Europe/Berlin") if name == "z" else moment).isoformat()
    return int(v) if name in ("i8", "u64", "i64", "n") else v


finite = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
row = st.fixed_dictionaries({
    "i8": st.integers(-128, 127), "u64": st.integers(0, 2**64 - 1), "i64": st.integers(-2**63, 2**63 - 1),
    "f32": st.floats(width=32, allow_nan=False, allow_infinity=False), "f64": st.one_of(finite, st.none()),
    "b": st.booleans(), "s": st.text(max_size=5), "o": st.one_of(st.text(max_size=5), st.none()),
    "n": st.one_of(st.integers(-2**63, 2**63 - 1), st.none()), "nb": st.one_of(st.booleans(), st.none()),
    "c": st.sampled_from(["lo", "mid", "hi", "never seen"]),
    "t": st.one_of(moments.map(dt.datetime.isoformat), st.none()),
    "z": moments.map(lambda m: m.isoformat() + "+00:00"),
})
rows = st.lists(row, min_size=1, max_size=4)


def check(sent, got):
    for r, g in zip(sent, got):
        assert g["types"] == TYPES
        assert g["row"] == {k: expected(k, v) for k, v in r.items()}
    assert len(sent) == len(got)


@FUZZ
@given(rows, st.randoms())
def test_every_column_type_arrives_as_it_was_sent(client, sent, random):
    shuffled = [dict(random.sample(list(r.items()), len(r))) for r in sent]
    columns = list(sent[0])
    random.shuffle(columns)
    for path, body in [
        ("/predict", {"inputs": sent}), ("/predict", shuffled), ("/predict", [[r[c] for c in TYPES] for r in sent]),
        ("/v1/models/table:predict", {"instances": sent}), ("/invocations", {"dataframe_records": shuffled}),
        ("/invocations", {"dataframe_split": {"columns": columns, "data": [[r[c] for c in columns] for r in sent]}}),
        ("/invocations", {"inputs": {c: [r[c] for r in sent] for c in columns}}),
    ]:
        r = client.post(path, json=body)
        assert r.status_code == 200, (path, r.json)
        check(sent, r.json["predictions"])


@FUZZ
@given(rows)
def test_tensors_of_every_type(client, sent):
    kinds = {"i8": "INT8", "u64": "UINT64", "i64": "INT64", "f32": "FP32", "f64": "FP64", "b": "BOOL", "n": "INT64",
             "nb": "BOOL"}
    tensors = [{"name": c, "shape": [len(sent)], "datatype": kinds.get(c, "BYTES"), "data": [r[c] for r in sent]}
               for c in reversed(TYPES)]
    r = client.post("/v2/models/table/infer", json={"inputs": tensors, "id": "7"})
    holes = any(x[c] is None for x in sent for c in ("n", "nb"))
    assert r.status_code in ((200, 400) if holes else (200,)), r.json
    if r.status_code == 200:
        check(sent, [json.loads(d) for d in r.json["outputs"][0]["data"]])
        assert r.json["id"] == "7" and r.json["outputs"][0]["shape"] == [len(sent)]


# what does not fit: (column, value that was sent)
WRONG = [
    ("i8", 128), ("i8", -129), ("i8", 1.5), ("i8", "1"), ("i8", True), ("i8", None), ("i8", [1]), ("i8", {"a": 1}),
    ("u64", -1), ("u64", 2**64), ("u64", 1e19), ("i64", 2**63), ("i64", -2**63 - 1), ("i64", 9007199254740993.0),
    ("f32", 1e39), ("f32", "1.5"), ("f32", False), ("f32", None), ("f32", 2**53 + 1), ("f64", 2**53 + 1),
    ("f64", 10**400), ("f64", "NaN"), ("f64", [1.0]), ("b", 1), ("b", "true"), ("b", None), ("s", 1), ("s", None),
    ("s", ["a"]), ("o", 1), ("n", 1.5), ("n", "x"), ("nb", 0), ("c", 1), ("c", None), ("t", "yesterday"),
    ("t", 1700000000), ("t", "2024-13-01"), ("t", "2024-02-30"), ("t", "2024-01-01T00:00+01:00"), ("t", "0001-01-01"),
    ("z", "2024-01-01T00:00"), ("z", None), ("t", "2024-01-01T25:00"), ("t", ""), ("z", True),
]
FITS = json.loads(pd.DataFrame(TABLE.iloc[:1]).to_json(orient="records", date_format="iso"))[0] | {
    "t": "2024-02-29T12:00:01.25", "z": "2024-02-29T12:00:00+00:00"}


@pytest.mark.parametrize("column, value", WRONG, ids=lambda v: str(v)[:24])
def test_what_does_not_fit_is_refused_by_name(client, column, value):
    good, bad = dict(FITS), {**FITS, column: value}
    r = client.post("/predict", data=json.dumps({"inputs": [good, bad]}), content_type="application/json")
    assert r.status_code in (400, 422), (column, value, r.json)
    if r.status_code == 422:
        e = r.json["error"]
        assert e["field"] == f"inputs[1].{column}" and e["code"] == "invalid_input" and e["expected"] and e["got"]
        assert [p["field"] for p in e["problems"]] == [f"inputs[1].{column}"]
    else:
        assert abs(value) > 2**64            # no JSON library of a client can be sure of it: it does not parse
    body = json.dumps({"dataframe_records": [good, bad]})
    r = client.post("/invocations", data=body, content_type="application/json")
    assert r.status_code == 400 and (column in r.json["message"] or abs(value) > 2**64)


@pytest.mark.parametrize("value, kept", [(3.0, 3), (-0.0, 0), (1e2, 100), (127, 127)])
def test_whole_floats_are_whole_numbers(client, value, kept):
    r = client.post("/predict", json={**FITS, "i8": value})
    assert r.json["predictions"][0]["row"]["i8"] == kept


def test_all_problems_at_once_the_first_twenty(client):
    bad = {**FITS, "i8": "x", "b": 3, "t": "never", "extra": 1}
    del bad["s"]
    e = client.post("/predict", json=[bad, FITS, bad]).json["error"]
    fields = [p["field"] for p in e["problems"]]
    assert set(fields) == {f"inputs[{i}].{k}" for i in (0, 2) for k in ("i8", "b", "t", "extra", "s")}
    assert fields == sorted(fields, key=lambda f: f[:9])
    e = client.post("/predict", json=[bad] * 50).json["error"]
    assert len(e["problems"]) == 20 and "more" in e["message"]


def test_extra_fields_are_ignored_and_counted_by_invocations(client):
    r = client.post("/invocations", json={"dataframe_records": [{**FITS, "extra": 1, "other": 2}]})
    assert r.status_code == 200
    assert "table" in client.get("/metrics").text
    counted = [line for line in client.get("/metrics").text.splitlines() if "ignored" in line and "table" in line]
    assert counted and float(counted[0].rpartition(" ")[2]) == 2.0


arrays = {
    "float64": st.one_of(finite, st.integers(-2**53, 2**53)), "int64": st.integers(-2**63, 2**63 - 1),
    "float32": st.floats(width=32, allow_nan=False, allow_infinity=False), "uint8": st.integers(0, 255),
    "bool": st.booleans(),
}
V2 = {"float64": "FP64", "float32": "FP32", "int64": "INT64", "uint8": "UINT8", "bool": "BOOL"}


@FUZZ
@given(st.sampled_from(sorted(arrays)), st.data())
def test_arrays_of_every_type(client, kind, data):
    sent = data.draw(st.lists(st.lists(arrays[kind], min_size=2, max_size=2), min_size=1, max_size=4))
    r = client.post(f"/models/array-{kind}/predict", json=sent)
    assert r.status_code == 200, r.json
    same = lambda got, want: np.array_equal(np.array(got, kind), np.array(want, kind))    # single precision stays so
    assert same(r.json["predictions"], sent) and (kind == "float32" or r.json["predictions"] == sent)
    for d in (sent, [v for x in sent for v in x]):
        t = {"name": "input-0", "shape": [len(sent), 2], "datatype": V2[kind], "data": d}
        r = client.post(f"/v2/models/array-{kind}/infer", json={"inputs": [t]})
        assert r.status_code == 200, r.json
        out = r.json["outputs"][0]
        assert same(out["data"], np.ravel(sent)) and out["datatype"] == V2[kind]
        assert out["shape"] == [len(sent), 2]


@FUZZ
@given(st.sampled_from(sorted(arrays)), st.recursive(st.one_of(st.integers(-300, 300), finite, st.none(), st.booleans(),
                                                               st.text(max_size=3)), st.lists, max_leaves=8))
def test_wrong_shapes_are_never_reshaped(client, kind, sent):
    r = client.post(f"/models/array-{kind}/predict", json={"inputs": sent})
    assert r.status_code in (200, 400, 422)
    if r.status_code == 200:
        want = np.array(sent, kind).tolist() if kind == "float32" else sent   # single precision stays so
        assert r.json["predictions"] == want and np.shape(sent) in [(n, 2) for n in range(1, 9)] + [(0,)]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "[[1, NaN]]", "[[1e400, 1]]", "0x10", "01",
                                  "+1", "[[1,2],]", "{'a': 1}",
                                  '{"inputs": [[1, 2]], "inputs": [[3, 4]]}', "[[1, 2]] []"])
def test_text_that_is_no_json_or_no_number(client, text):
    r = client.post("/models/array-float64/predict", data=text, content_type="application/json")
    assert r.status_code in (400, 422) or ("inputs" in text and r.json["predictions"] == [[3.0, 4.0]])
    assert r.is_json


# what a model may answer, and how it arrives
ANSWERS = {
    "numpy numbers": ([np.float32(.1), np.float64(.1), np.int64(2**53 + 1), np.uint64(2**64 - 1), np.int8(-3),
                       np.float16(.1), np.bool_(False)], [.1, .1, 2**53 + 1, 2**64 - 1, -3, .1, False]),
    "not numbers": ([float("nan"), None, float("inf"), np.nan, pd.NA, pd.NaT], [None] * 6),
    "text": (["ü", "\0", "\u2028", "😀", np.str_("x")], ["ü", "\0", "\u2028", "😀", "x"]),
    "dates": ([dt.date(2024, 2, 29), pd.Timestamp("2024-02-29T01:02:03"), np.datetime64("2024-02-29")],
              ["2024-02-29", "2024-02-29T01:02:03", "2024-02-29"]),
    "nested": ([{"a": np.float32(.1), "b": [np.int64(2**60), None]}, {"a": {"c": (1, 2)}}],
               [{"a": .1, "b": [2**60, None]}, {"a": {"c": [1, 2]}}]),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_answers_arrive_as_they_are(home, what):
    answer, arrives = ANSWERS[what]
    ship(lambda i: answer[i], list(range(len(answer))), name="giver", check=False)
    app = create_app("giver").test_client()
    r = app.post("/predict", json=list(range(len(answer))))
    assert r.status_code == 200 and r.json["predictions"] == arrives
    assert json.loads(r.data, parse_constant=pytest.fail)
    for i, v in enumerate(arrives):                          # alone too: no batch decides a type
        assert app.post("/predict", json=[i]).json["predictions"] == [v]


@pytest.mark.parametrize("array", [np.array([2**53 + 1, -2**63]), np.array([2**64 - 1, 0], "uint64"),
                                   np.array([.1, np.nan], "float32"), np.array([[1, 2], [3, 2**62 + 1]]),
                                   np.array([True, False]), np.array(["a", "ü"]), np.array([.1, 1e300])], ids=str)
def test_arrays_of_answers(home, array):
    ship(lambda X: array[X], np.array([0, 1]), name="giver", check=False)
    got = create_app("giver").test_client().post("/predict", json=[0, 1]).json["predictions"]
    want = [None if isinstance(v, float) and math.isnan(v) else v for v in array.tolist()]
    if array.dtype == np.float32:
        want = [.1, None]
    assert got == want and [type(a) for a in got] == [type(a) for a in want]
