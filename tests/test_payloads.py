"""Rows as CSV, Parquet, Arrow, .npy and binary tensors get the JSON's answers, and no bomb goes off."""

import gzip
import io
import json
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlship.encoding import zstd
from mlship.message import Request
from mlship.protocols import Service, handle
from mlship.shipping import load, ship
from mlship.tables import ARROW, CSV, NPY, PARQUET

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
people = pd.DataFrame(
    {
        "age": [31.5, np.nan, 7.0, 40.0],
        "city": ["Köln", "Lima, PE", '"q"', "007"],
        "n": [1, 2**60 + 1, -3, 0],
        "member": [True, False, True, True],
        "since": pd.to_datetime(["2024-01-31", "2020-02-29 12:30", "1999-12-31", "2001-01-01"], format="ISO8601"),
        "size": pd.Categorical(["s", "m", "s", "l"]),
    }
)


def echo(frame):
    "What the model was called with, as JSON would say it"
    return json.loads(
        frame.assign(since=frame["since"].dt.strftime("%F %T"), size=frame["size"].astype(str)).to_json(
            orient="records"
        )
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(tmp_path_factory.mktemp("home")))
        ship(echo, people, name="people", check=False)
        ship(lambda M: M.sum(axis=1), np.ones((3, 4)), name="grid", check=False)
        ship(lambda M: M.sum(axis=(1, 2)), np.ones((3, 2, 2), "uint8"), name="image", check=False)
        ship(lambda words: [w.upper() for w in words], ["a", "ü"], name="text", check=False)
        yield Service([load(n) for n in ("people", "grid", "image", "text")], max_body=2**20, max_rows=1000)


def ask(service, name, body, kind="application/json", path="/models/{}/predict", **headers):
    headers = {"content-type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}
    r = handle(service, Request("POST", path.format(name), {}, headers, body))
    return r.status, json.loads(r.body) if r.content_type == "application/json" else r.body


def arrow(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as w:
        w.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet(table, **options):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def npy(a, **options):
    out = io.BytesIO()
    np.save(out, a, **options)
    return out.getvalue()


table = pa.Table.from_pandas(people, preserve_index=False)
FORMATS = {
    "csv": (CSV, people.to_csv(index=False).encode()),
    "csv from Excel": (CSV, people.to_csv(index=False, lineterminator="\r\n").encode("utf-8-sig")),
    "arrow": (ARROW, arrow(table)),
    "arrow in batches": (ARROW, arrow(pa.concat_tables([table.slice(0, 1), table.slice(1)]))),
    "arrow, other order": (ARROW, arrow(table.select(table.column_names[::-1]))),
    "parquet": (PARQUET, parquet(table)),
    "parquet, zstd, small groups": (PARQUET, parquet(table, compression="zstd", row_group_size=1)),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [None, "gzip", "deflate", "zstd"])
def test_a_mixed_table_arrives_as_json_would(service, name, packed):
    rows = [
        {k: None if v != v else v for k, v in r.items()}
        for r in people.assign(since=people["since"].astype(str)).to_dict("records")
    ]
    status, want = ask(service, "people", json.dumps(rows).encode())
    assert status == 200, want
    kind, body = FORMATS[name]
    pack = {None: bytes, "gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[packed]
    assert ask(service, "people", pack(body), kind, **({"content_encoding": packed} if packed else {})) == (200, want)
    assert want["predictions"][1]["n"] == 2**60 + 1 and want["predictions"][3]["city"] == "007"


@pytest.mark.parametrize("kind", [CSV, PARQUET])
def test_mlflow_takes_tables_too_and_ignores_strangers(service, kind):
    wide = people.assign(id=range(4))
    body = wide.to_csv(index=False).encode() if kind == CSV else parquet(pa.Table.from_pandas(wide))
    status, a = ask(service, "people", body, kind, path="/invocations")
    assert status == 200 and len(a["predictions"]) == 4
    status, a = ask(service, "people", body, kind)
    assert status == 422 and "id" in a["error"]["message"]


def test_images_and_text_as_npy(service):
    images = np.arange(8, dtype="uint8").reshape(2, 2, 2)
    assert ask(service, "image", npy(images), NPY)[1]["predictions"] == [6, 22]
    assert ask(service, "image", npy(np.asfortranarray(images)), NPY)[1]["predictions"] == [6, 22]
    assert ask(service, "image", npy(images.astype(">i8")), NPY)[1]["predictions"] == [6, 22]
    assert ask(service, "image", npy(images.astype(int) + 255), NPY)[0] == 422
    assert ask(service, "text", npy(np.array(["ab", "ü"])), NPY)[1]["predictions"] == ["AB", "Ü"]
    assert ask(service, "grid", npy(np.array([["1", "2", "3", "4"]])), NPY)[0] == 422
    assert ask(service, "grid", npy(np.zeros((1, 4), "M8[s]")), NPY)[0] == 422


@pytest.mark.parametrize(
    "accept, read",
    [
        (CSV, lambda b: pd.read_csv(io.BytesIO(b))["prediction"].tolist()),
        (ARROW, lambda b: pa.ipc.open_stream(b).read_all()["prediction"].to_pylist()),
        (PARQUET, lambda b: pq.read_table(pa.BufferReader(b))["prediction"].to_pylist()),
        (NPY, lambda b: np.load(io.BytesIO(b), allow_pickle=False).tolist()),
    ],
)
def test_answers_in_the_format_that_was_asked_for(service, accept, read):
    X = np.random.default_rng(0).normal(size=(500, 4))
    for encoding, unpack in (None, bytes), ("gzip", gzip.decompress), ("zstd", zstd.decompress):
        r = handle(
            service,
            Request(
                "POST",
                "/models/grid/predict",
                {},
                {"content-type": NPY, "accept": accept, "accept-encoding": encoding or ""},
                npy(np.tile(X, (2, 1))),
            ),
        )
        assert r.status == 200 and r.content_type == accept
        assert read(unpack(r.body) if "Content-Encoding" in r.headers else r.body) == X.sum(axis=1).tolist() * 2
    r = handle(
        service, Request("POST", "/models/grid/predict", {}, {"content-type": NPY, "accept": accept}, npy(X[:, :3]))
    )
    assert r.status == 422 and r.content_type == "application/json"


def views(rows):
    "A few bytes that stand for many values"
    return pa.Table.from_arrays([pa.array(["x" * 20_000] * rows, pa.string_view())], ["city"])


BOMBS = {
    "gzip": ("application/json", gzip.compress(b" " * 50_000_000), "gzip", 413),
    "zstd": ("application/json", zstd.compress(b" " * 50_000_000), "zstd", 413),
    "gzip in gzip": ("application/json", gzip.compress(gzip.compress(b" " * 50_000_000)), "gzip, gzip", 413),
    "npy header": (NPY, npy(np.ones((3, 4))).replace(b"(3, 4), } ", b"(30000000000, 4), }", 1), None, 400),
    "npy pickle": (NPY, npy(np.array([{}], dtype=object), allow_pickle=True), None, 400),
    "rows of nothing": (ARROW, arrow(pa.table({"age": pa.nulls(10**9)})), None, 422),
    "compressed arrow": (ARROW, arrow(pa.table({"age": np.zeros(10**6)}), compression="zstd"), None, 422),
    "lists of nothing": (
        ARROW,
        arrow(pa.table({"age": pa.FixedSizeListArray.from_arrays(pa.nulls(10**8), 10**8)})),
        None,
        422,
    ),
    "views": (ARROW, arrow(views(10)), None, 422),
    "structs": (ARROW, arrow(pa.table({"age": [{"a": 1}]})), None, 422),
    "parquet rows": (PARQUET, parquet(pa.table({"age": np.zeros(10**6)})), None, 422),
    "csv rows": (CSV, b"a,b,c,d\n" + b"1,1,1,1\n" * 2000, None, 422),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(service, name):
    kind, body, encoding, want = BOMBS[name]
    assert len(body) < 2**20
    status, a = ask(
        service,
        "grid" if kind in (NPY, CSV) else "people",
        body,
        kind,
        **({"content_encoding": encoding} if encoding else {}),
    )
    assert status == want, a


@FUZZ
@given(st.sampled_from(list(FORMATS)), st.data())
def test_damaged_bodies_are_refused_or_answered_never_a_500(service, name, data):
    kind, body = FORMATS[name]
    body = bytearray(body)
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(body[: data.draw(st.sampled_from([len(body), len(body) // 2, len(body) - 1]))])
    status, a = ask(service, "people", body, kind)
    assert status in (200, 400, 413, 422) and (status == 200 or a["error"]["message"]), (status, a)


@FUZZ
@given(
    st.binary(max_size=300),
    st.sampled_from([CSV, ARROW, PARQUET, NPY, "application/octet-stream", "text/plain"]),
    st.sampled_from(["", "gzip", "zstd", "deflate", "br"]),
    st.sampled_from(["people", "grid", "image", "text"]),
)
def test_any_bytes(service, body, kind, encoding, name):
    assert ask(service, name, body, kind, content_encoding=encoding)[0] in (200, 400, 413, 415, 422)
    path = "/v2/models/{}/infer"
    assert ask(service, name, body, kind, path=path, content_encoding=encoding, inference_header_content_length="10")[
        0
    ] in (400, 413, 415)


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["BOOL", "INT32", "FP32", "FP64", "BYTES", "UINT8"]),
            st.lists(st.integers(0, 4), max_size=3),
            st.one_of(st.integers(-1, 40), st.none(), st.text(max_size=2)),
            st.booleans(),
        ),
        max_size=3,
    ),
    st.binary(max_size=64),
    st.booleans(),
    st.sampled_from(["grid", "image", "text"]),
)
def test_any_binary_tensors(service, tensors, tail, out, name):
    head = json.dumps(
        {
            "parameters": {"binary_data_output": out},
            "inputs": [
                {
                    "name": "input-0" if first else "x",
                    "shape": shape,
                    "datatype": kind,
                    "parameters": {"binary_data_size": size},
                }
                for kind, shape, size, first in tensors
            ],
        }
    ).encode()
    status, a = ask(
        service,
        name,
        head + tail,
        "application/octet-stream",
        path="/v2/models/{}/infer",
        inference_header_content_length=str(len(head)),
    )
    assert status in (200, 400), a


def test_every_datatype_as_a_binary_tensor(service):
    for kind, dtype in [
        ("BOOL", "?"),
        ("INT8", "<i1"),
        ("UINT16", "<u2"),
        ("INT64", "<i8"),
        ("FP16", "<f2"),
        ("FP32", "<f4"),
        ("FP64", "<f8"),
    ]:
        X = np.array([[1, 0, 1, 1], [0, 0, 0, 1]], dtype)
        head = json.dumps(
            {
                "inputs": [
                    {"name": "input-0", "shape": [2, 4], "datatype": kind, "parameters": {"binary_data_size": X.nbytes}}
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        status, a = ask(
            service,
            "grid",
            head + X.tobytes(),
            "application/octet-stream",
            path="/v2/models/{}/infer",
            inference_header_content_length=str(len(head)),
        )
        if kind == "BOOL":  # booleans are no numbers, here as in JSON
            assert status == 400 and "number" in a["error"]
        else:
            assert status == 200 and np.frombuffer(a[-16:], "<f8").tolist() == [3, 1]
