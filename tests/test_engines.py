"""Elasticsearch and OpenSearch through their own clients: against the stand-in in engines.py, and against ES_URL and
OPENSEARCH_URL (elasticsearch://…, opensearch://…, without an index) where they are set."""
import os
import uuid

import numpy as np
import pandas as pd
import pytest

from engines import Engine
from mlship import Index
from mlship.core import BadInput, NotFound, UsageError

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 8)).astype("float32")
TABLE = pd.DataFrame({"colour": rng.choice(["red", "blue", None], 300), "price": np.arange(300), "new": X[:, 0] > 0,
                      "tags": [["a", "b"] if i % 3 else ["c"] for i in range(300)]})
CLIENTS = {"elasticsearch": "elasticsearch", "opensearch": "opensearchpy"}


@pytest.fixture(params=["elasticsearch", "opensearch", "ES_URL", "OPENSEARCH_URL"])
def engine(request):
    if request.param.endswith("_URL"):
        if not os.environ.get(request.param):
            pytest.skip(f"{request.param} is not set: nothing is asked but the stand-in")
        kind = "elasticsearch" if request.param == "ES_URL" else "opensearch"
        made = type("Real", (), {"url": os.environ[request.param].rstrip("/"), "kind": kind, "requests": None})()
    else:
        pytest.importorskip(CLIENTS[request.param])
        made = Engine(request.param)
    yield made
    if made.requests is not None:
        made.end()


@pytest.fixture
def index(engine):
    made = Index.connect(f"{engine.url}/mlship-{uuid.uuid4().hex[:8]}")
    yield made
    if made.meta is not None:
        made.drop()


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_it_answers_as_our_own_index_does(engine, index, metric):
    seen = []
    index.build(X, payload=TABLE, metric=metric, progress=lambda *a: seen.append(a))
    ours = Index.build(X, payload=TABLE, metric=metric)
    assert len(index) == 300 and seen == [(300, 300)]
    for given in (None, {"colour": "red"}, {"colour": {"not": ["red", None]}}, {"price": {"min": 50, "max": 90}},
                  {"new": True, "tags": "c"}, {"colour": None}):
        a, b = index.search(X[:5] + .1, 12, given), ours.search(X[:5] + .1, 12, given)
        assert a.ids.tolist() == b.ids.tolist(), given
        assert np.allclose(a.scores, b.scores, atol=1e-4)
        assert a.to_list()[0][0]["payload"] == b.to_list()[0][0]["payload"]
        assert index.search(X[0], 12, given, exact=True).ids.tolist() == ours.search(X[0], 12, given).ids.tolist()
    few = index.search(X[0], 10, {"price": {"max": 3}})
    assert sorted(few.ids[0].tolist()) == [-1] * 6 + [0, 1, 2, 3] and len(few.to_list()[0]) == 4
    again = Index.connect(f"{engine.url}/{index.name}")
    assert (again.dim, again.metric) == (8, metric) and again.search(X[7], 1).ids == ours.search(X[7], 1).ids


def test_changes(index):
    index.build(X[:100], ids=[f"d{i}" for i in range(100)], payload=TABLE[:100])
    index.upsert(X[200:202], ["d5", "new"], TABLE[200:202])
    index.delete(["d7"])
    assert len(index) == 100 and index.search(X[200], 1).ids.tolist() == [["d5"]]
    assert "d7" not in index.search(X[7], 100).ids[0].tolist()
    new, d5 = index.get(["new", "d5"])
    assert (new["id"], new["payload"]["price"]) == ("new", 201) and np.allclose(new["vector"], X[201], atol=1e-6)
    assert d5["payload"]["tags"] == TABLE.tags[200] and index.get("d1")[0]["id"] == "d1"
    for change, error, words in [
        (lambda: index.add(X[:2], ["x", "d1"], TABLE[:2]), BadInput, r"ids\[1\]: is in the index already"),
        (lambda: index.delete(["d1", "gone"]), NotFound, "'gone'"),
        (lambda: index.get(["d1", "gone"]), NotFound, "'gone'"),
        (lambda: index.upsert(X[:2], ["a", "a"]), BadInput, "twice"),
        (lambda: index.upsert(X[:1, :3], ["a"]), BadInput, "wrong dimension"),
        (lambda: index.upsert(X[:1] * np.nan, ["a"]), BadInput, "no finite"),
        (lambda: index.upsert(X[:1], [5]), BadInput, "is no id"),
        (lambda: index.upsert(X[:1], ["a"], [{"size": 1}]), BadInput, "payload.size"),
        (lambda: index.search(X[0], 101), BadInput, "k: is more than the index has"),
        (lambda: index.search(X[0], 20_000), BadInput, "k: "),
        (lambda: index.search(X[0], filter={"size": 1}), BadInput, "filter.size"),
        (lambda: index.build(X), UsageError, "is there already"),
    ]:
        with pytest.raises(error, match=words):
            change()
    assert len(index) == 100


def test_nothing_is_there(engine):
    index = Index.connect(f"{engine.url}/mlship-none")
    for f in (lambda: index.search(X[0], 1), lambda: len(index), lambda: index.delete([1])):
        with pytest.raises(NotFound, match="mlship-none"):
            f()


@pytest.mark.parametrize("kind", list(CLIENTS))
def test_what_is_sent(kind):
    pytest.importorskip(CLIENTS[kind])
    engine = Engine(kind)
    index = Index.connect(f"{engine.url.replace('//', '//me:pass@')}/docs").build(X[:20], payload=TABLE[:20])
    assert engine.headers["authorization"].startswith("Basic ")
    made = next(b for m, p, b in engine.requests if m == "PUT")
    vector = made["mappings"]["properties"]["vector"]
    if kind == "elasticsearch":
        assert vector == {"type": "dense_vector", "dims": 8, "index": True, "similarity": "l2_norm",
                          "index_options": {"type": "hnsw", "m": 16, "ef_construction": 200}}
    else:
        assert made["settings"] == {"index": {"knn": True}}
        assert vector == {"type": "knn_vector", "dimension": 8, "method": {
            "name": "hnsw", "space_type": "l2", "engine": "lucene", "parameters": {"m": 16, "ef_construction": 200}}}
    columns = made["mappings"]["properties"]["payload"]["properties"]
    assert columns["colour"] == {"type": "keyword", "ignore_above": 8000} and columns["price"] == {"type": "long"}
    bulk = next((p, b) for m, p, b in engine.requests if "_bulk" in p)
    assert "refresh=wait_for" in bulk[0] and bulk[1][0] == {"index": {"_index": "docs", "_id": "0"}}
    index.search(X[0], 15, {"colour": "red"})
    sent = engine.requests[-1][2] if "knn" in str(engine.requests[-1][2]) else engine.requests[-2][2]
    where = {"bool": {"filter": [{"term": {"payload.colour": "red"}}]}}
    assert sent["size"] == 15, "without it the answer is cut at 10"
    assert (sent["knn"] if kind == "elasticsearch" else sent["query"]["knn"]["vector"])["filter"] == where
    index.search(X[:13], 2)
    assert "_msearch" in engine.requests[-1][1], "a batch is one request"
    engine.end()


@pytest.mark.faults
@pytest.mark.parametrize("kind", list(CLIENTS))
def test_bulk_is_tried_again_and_says_what_was_refused(kind):
    pytest.importorskip(CLIENTS[kind])
    engine = Engine(kind)
    engine.refuse_bulk = 30              # the queue is full: 429 for thirty rows
    index = Index.connect(f"{engine.url}/docs").build(X[:50], payload=TABLE[:50])
    assert len(index) == 50 and sum("_bulk" in p for _, p, _ in engine.requests) > 1
    zero = np.vstack([X[:3], np.zeros((1, 8))])
    with pytest.raises(BadInput, match=r"row 3 \(id 3\) was refused.*zero magnitude"):
        Index.connect(f"{engine.url}/cosines").build(zero, metric="cosine")
    assert "cosines" not in engine.indices, "half an index is none"
    engine.indices["strange"] = {"mappings": {"properties": {}}, "docs": {}}
    with pytest.raises(UsageError, match="did not make"):
        Index.connect(f"{engine.url}/strange")
    engine.end()


def test_requests_to_aws_are_signed(monkeypatch):
    pytest.importorskip("opensearchpy")
    pytest.importorskip("botocore")
    for name, value in (("ACCESS_KEY_ID", "AKIDEXAMPLE"), ("SECRET_ACCESS_KEY", "secret"), ("SESSION_TOKEN", "token")):
        monkeypatch.setenv(f"AWS_{name}", value)
    engine = Engine("opensearch")
    Index.connect(f"{engine.url}/docs", aws_region="eu-west-1")
    assert engine.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/es/aws4_request" in engine.headers["authorization"]
    engine.end()
