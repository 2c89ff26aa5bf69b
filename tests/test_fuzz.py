"""Anything may come: the answer is never a 5xx, never a wrong number, and always says what was wrong."""
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlship.access import add_key
from mlship.app import create_app
from mlship.message import Request
from mlship.protocols import Service, handle
from mlship.shipping import load, ship

numbers = st.one_of(st.integers(-2**70, 2**70), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(
    [0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 255, 256, 0.5, 1e39, 1e300, 3.0]))
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8), st.sampled_from(["2024-01-31", "x", "1"]))
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["n", "x", "b", "s", "inputs", "instances", "data", "proba", "name", "shape"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
record = st.fixed_dictionaries(
    {"n": numbers, "x": st.one_of(numbers, st.none()), "b": st.booleans(), "s": st.text(max_size=8)}
)
near = st.one_of(record, st.dictionaries(st.sampled_from(["n", "x", "b", "s", "other"]), scalars, max_size=5))
FUZZ = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))

ROWS = [{"n": 1, "x": 1.5, "b": True, "s": "a"}, {"n": 2, "x": None, "b": False, "s": "b"}]


def echo(rows):
    "Gives back what it was asked, as plain values"
    if isinstance(rows, pd.DataFrame):
        return json.loads(rows.to_json(orient="records", double_precision=15))
    return rows


def echo_records(batch):
    return [dict(r) for r in batch]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(tmp_path_factory.mktemp("home")))
        ship(echo_records, ROWS, name="records", check=False)
        ship(lambda M: M, np.zeros((3, 2)), name="array", check=False)
        ship(lambda M: M, np.zeros((3, 2, 2), "uint8"), name="image", check=False)
        ship(lambda t: t, ["a", "b"], name="text", check=False)
        ship(lambda f: len(f), pd.DataFrame(ROWS).astype({"n": "int32"}), name="table", check=False)
        ship(lambda v: v, [2**60, 1], name="whole", check=False)
        yield Service([load(n) for n in ("records", "array", "image", "text", "table", "whole")])


def post(service, path, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    r = handle(service, Request("POST", path, {}, headers, data))
    assert r is not None and r.status < 500, (path, body, r)
    answer = json.loads(r.body)
    if r.status == 200:
        return answer
    if path.startswith("/models"):
        error = answer["error"]
        assert error["code"] and error["message"] and answer["request_id"]
        for p in error.get("problems", []):
            assert p["field"] and p["expected"] and p["got"] and p["message"]
    elif path.startswith("/v"):
        assert isinstance(answer["error"], str) and r.status in (400, 404, 415)
    else:
        assert answer["error_code"] == "BAD_REQUEST" and answer["message"] and r.status in (400, 415)
    return None


def same(sent, got):
    "Is what came back what was sent, but for types that lose nothing (3 and 3.0)?"
    if isinstance(sent, (list, dict)):
        keys = sent if isinstance(sent, dict) else range(len(sent))
        return type(sent) is type(got) and len(sent) == len(got) and all(same(sent[k], got[k]) for k in keys)
    if isinstance(sent, bool) or isinstance(got, bool) or sent is None or isinstance(sent, str):
        return sent is got or (isinstance(sent, str) and sent == got)
    return isinstance(got, (int, float)) and sent == got


@FUZZ
@given(st.lists(near, max_size=4))
def test_records_come_back_as_they_went(service, rows):
    answer = post(service, "/models/records/predict", {"inputs": rows})
    if answer:
        assert same(rows, answer["predictions"])


@FUZZ
@given(st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=4))
def test_arrays_come_back_as_they_went(service, rows):
    answer = post(service, "/models/array/predict", {"inputs": rows})
    if answer:   # a literal beyond 64 bits is read as the nearest double, as 0.1 is
        sent = [[float(v) if isinstance(v, int) and not -2**63 <= v < 2**64 else v for v in row] for row in rows]
        assert same(sent, answer["predictions"])


@FUZZ
@given(st.lists(numbers, max_size=4))
def test_whole_numbers_come_back_as_they_went(service, rows):
    answer = post(service, "/models/whole/predict", {"inputs": rows})
    if answer:
        assert same(rows, answer["predictions"])


@FUZZ
@given(st.sampled_from(["records", "array", "image", "text", "table", "whole"]), values)
def test_any_json_on_every_route(service, name, body):
    for path in (f"/models/{name}/predict", f"/v2/models/{name}/infer", f"/v1/models/{name}:predict", "/invocations"):
        post(service, path, body)
    post(service, f"/models/{name}/predict", {"inputs": body})
    post(service, f"/v1/models/{name}:predict", {"instances": body})
    for key in ("inputs", "instances", "dataframe_records", "dataframe_split"):
        post(service, "/invocations", {key: body})
    post(service, "/invocations", {"dataframe_split": {"columns": ["n", "x"], "data": body}})


datatypes = st.sampled_from(["FP64", "FP32", "INT64", "INT8", "UINT64", "BOOL", "BYTES", "FP8", None])
tensor = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["input-0", "n", "x", "b", "s"]),
        "datatype": datatypes,
        "shape": st.lists(st.integers(-1, 4), max_size=3),
        "data": st.lists(scalars, max_size=6),
    }
)


@FUZZ
@given(st.sampled_from(["records", "array", "image", "text", "table"]), st.lists(tensor, max_size=4), scalars)
def test_any_tensors(service, name, tensors, id):
    post(service, f"/v2/models/{name}/infer", {"inputs": tensors})
    post(service, f"/v2/models/{name}/infer", {"inputs": tensors, "id": id, "outputs": [{"name": "predict"}]})


@FUZZ
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_tensors_in_single_precision_keep_their_value(service, row):
    t = {"name": "input-0", "datatype": "FP32", "shape": [1, 2], "data": row}
    answer = post(service, "/v2/models/array/infer", {"inputs": [t]})
    assert answer["outputs"][0]["data"] == row


@FUZZ
@given(
    st.binary(max_size=60),
    st.sampled_from(["application/json", "text/csv", "", "application/json; charset=latin-1", "\x00"]),
)
def test_any_bytes(service, body, content_type):
    for path in ("/models/table/predict", "/v2/models/array/infer", "/invocations"):
        post(service, path, body, **{"content-type": content_type})


@FUZZ
@given(st.text(st.characters(codec="utf-8"), max_size=30), st.sampled_from(["GET", "POST", "PUT", "HEAD", "BREW"]))
def test_any_path(service, path, method):
    for prefix in ("/", "/v2/models/", "/v1/models/", "/models/"):
        r = handle(service, Request(method, prefix + path))
        assert r is None or r.status < 500


@pytest.mark.parametrize("doors", [False, True])
def test_both_ways_answer_the_same(service, doors, tmp_path):
    "The front without Flask and the app behind it: same status, body and headers for the same thousands of requests"
    import gzip
    import random
    key, options = "nobody's", {}
    if doors:
        key = add_key(tmp_path / "keys", "alice")
        options = {"api_key_file": tmp_path / "keys", "cors": ("https://page.example",), "max_body": 200, "max_rows": 1}
    rng, app = random.Random(0), create_app(*[m for m in service.models.values()], **options)
    front, flask_alone = app.wsgi_app, app.wsgi_app.wsgi_app
    paths = [
        "/predict",
        "/models/array/predict",
        "/v2/models/text/infer",
        "/invocations",
        "/v2",
        "/livez",
        "/models",
        "/readyz",
        "/v1/models/whole:predict",
        "/v2/models/table",
        "/ping",
        "/nowhere",
        "/v2/models/none/infer",
        "/models/array/predict?proba=1",
    ]
    bodies = [
        b"",
        b"{",
        b"[]",
        b'{"inputs": []}',
        json.dumps(ROWS).encode(),
        b'{"inputs": [[1, 2]]}',
        b'{"inputs": [[1, "2"]]}',
        b'{"instances": [1, 2]}',
        b"[NaN]",
        b'{"inputs": [{"name": "input-0", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}',
    ]

    more = [
        {},
        {"HTTP_ORIGIN": "https://page.example", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"},
        {"HTTP_ORIGIN": "https://other.example"},
        {"HTTP_ACCEPT_ENCODING": "gzip, zstd;q=0.5"},
        {"HTTP_ACCEPT": "text/csv"},
        {"HTTP_X_TIMEOUT_MS": "soon"},
        {"HTTP_CONTENT_ENCODING": "gzip"},
    ]
    keys = [{"HTTP_X_API_KEY": key}, {"HTTP_AUTHORIZATION": f"Bearer {key}"}, {"HTTP_X_API_KEY": "wrong"}, {}]
    seen = set()

    def asked(wsgi, method, path, body, content_type, more):
        import io
        path, _, query = path.partition("?")
        said = {}
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "x",
            "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(body),
            "wsgi.url_scheme": "http",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": content_type,
            "HTTP_X_REQUEST_ID": "same",
            "wsgi.errors": io.StringIO(),
            "SERVER_PROTOCOL": "HTTP/1.1",
            **more,
        }
        out = b"".join(wsgi(environ, lambda status, headers, *_: said.update(status=status, headers=headers)))
        headers = sorted((k.lower(), v) for k, v in said["headers"] if k.lower() != "content-length")
        seen.add(said["status"].partition(" ")[0])
        return said["status"].partition(" ")[0], headers, out
    for _ in range(3000):
        headers, body = {**rng.choice(more), **rng.choice(keys)}, rng.choice(bodies)
        if "HTTP_CONTENT_ENCODING" in headers and rng.random() < .8:
            body = gzip.compress(body * rng.choice([1, 1, 300]))
        method = rng.choice(["GET", "POST", "POST", "POST", "HEAD", "PUT", "OPTIONS"])
        request = (method, rng.choice(paths), body, rng.choice(["application/json"] * 4 + ["text/csv", ""]), headers)
        assert asked(front, *request) == asked(flask_alone, *request), request
    assert seen >= {"200", "400", "404", "405", "415", "422"} | ({"204", "401", "413"} if doors else set()), seen


@pytest.mark.slow
def test_schemathesis_finds_nothing(service):
    "Our own OpenAPI document, against ourselves"
    import schemathesis
    app = create_app(*[m for m in service.models.values()])
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    from schemathesis.checks import load_all_checks
    load_all_checks()
    from schemathesis.checks import not_a_server_error

    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def check(case):
            response = case.call()
            case.validate_response(response, checks=[not_a_server_error])
        check()


def test_an_answer_has_no_nan(service):
    assert (
        math.isnan(float("nan"))
        and b"NaN"
        not in handle(
            service,
            Request(
                "POST",
                "/models/records/predict",
                body=json.dumps({"inputs": [{"n": 1, "x": None, "b": True, "s": ""}]}).encode(),
            ),
        ).body
    )
