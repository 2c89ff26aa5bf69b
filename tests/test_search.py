"""Vector search across modules: crashes in the middle of a change, damaged files, a real server asked over HTTP."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests

from mlship import Index, load, ship
from mlship.access import add_key
from mlship.core import BadInput, Damaged, MlshipError, NotFound
from mlship.search_model import live

pytest.importorskip("faiss")
faults = pytest.mark.faults
rng = np.random.default_rng(0)
X = rng.normal(size=(600, 16)).astype("float32")
DOCS = pd.DataFrame({"title": [f"title {i}" for i in range(600)], "colour": rng.choice(["red", "blue"], 600),
                     "price": np.arange(600)})


# upserts rows of ever new numbers, saying which are done; the one that is being written when it is killed is not said
UPSERTS = """
import sys, numpy as np
from mlship import Index
index = Index.load(sys.argv[1])
for step in range(1, 10**6):
    ids = list(range(20))
    index.upsert(np.full((20, 16), step, "float32"), ids, {"title": [str(step)] * 20, "colour": ["red"] * 20,
                                                          "price": ids})
    print(step, flush=True)
"""


@faults
@pytest.mark.linux
@pytest.mark.parametrize("wait", [0, .003, .011])
def test_kill_9_in_the_middle_of_an_upsert(tmp_path, wait):
    Index.build(X, payload=DOCS, factory="HNSW8").save(tmp_path / "index")
    p = subprocess.Popen([sys.executable, "-c", UPSERTS, tmp_path / "index"], stdout=subprocess.PIPE, text=True)
    for _ in range(5):
        assert p.stdout.readline()
    time.sleep(wait)
    p.send_signal(signal.SIGKILL)
    said = 5 + len(p.communicate()[0].split())
    index = Index.load(tmp_path / "index")
    steps = {int(v) for row in index.get(list(range(20))) for v in set(row["vector"].tolist())}
    assert len(index) == 600 and len(steps) == 1, "an upsert was torn"
    assert steps.pop() in (said, said + 1), "what was said to be done is gone"
    index.upsert(X[:1], [0], DOCS[:1])      # and it goes on
    assert Index.load(tmp_path / "index").search(X[0], 1).ids.tolist() == [[0]]


@faults
@pytest.mark.linux
def test_kill_9_in_the_middle_of_a_save(tmp_path):
    Index.build(X[:300]).save(tmp_path / "index")
    code = ("import sys, numpy as np; from mlship import Index; i = Index.load(sys.argv[1]); print(1, flush=True)\n"
            "while True: i.save()")
    for wait in (.01, .04, .09):
        p = subprocess.Popen([sys.executable, "-c", code, tmp_path / "index"], stdout=subprocess.PIPE)
        p.stdout.readline()
        time.sleep(wait)
        p.kill()
        p.communicate()
        index = Index.load(tmp_path / "index")
        assert index.search(X[:300], 1).ids[:, 0].tolist() == list(range(300))
    index.save()
    assert len(list((tmp_path / "index").glob("gen-*"))) == 1, "what crashes left is cleared away"


@faults
def test_a_changed_byte_is_named_in_every_file(tmp_path):
    index = Index.build(X, ids=[f"d{i}" for i in range(600)], payload=DOCS, factory="IVF8,Flat")
    index.save(tmp_path / "index")
    index.delete(["d1"])
    files = [p for p in (tmp_path / "index").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert {p.name for p in files} >= {"index.json", "vectors.f32", "ids.npy", "shard-0.faiss", "journal", "alive.npy"}
    for path in files:
        good = path.read_bytes()
        for at in {0, len(good) // 3, len(good) - 1}:
            path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1:])
            with pytest.raises(Damaged, match=path.name):
                Index.load(tmp_path / "index")
        path.write_bytes(good[:-1])
        if path.name != "journal":
            with pytest.raises(Damaged, match=path.name):
                Index.load(tmp_path / "index")
        path.write_bytes(good)
    assert len(Index.load(tmp_path / "index")) == 599


@faults
@pytest.mark.linux
def test_a_full_disk_changes_nothing(tmp_path):
    index = Index.build(X, payload=DOCS)
    index.save(tmp_path / "index")
    code = ("import resource, sys, numpy as np; from mlship import Index\n"
            "from mlship.core import MlshipError\n"
            "i = Index.load(sys.argv[1]); import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
            "rows = {'title': ['x'] * 500, 'colour': ['x'] * 500, 'price': [1] * 500}\n"
            "for change in (lambda: i.add(np.ones((500, 16)), payload=rows), i.save):\n"
            "    try: change(); print('no error')\n"
            "    except MlshipError as e: print(len(i), 'nothing was changed' in str(e) or 'unchanged' in str(e))\n")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "index"], capture_output=True, text=True)
    assert done.stdout.split() == ["600", "True"] * 2, done.stderr
    index = Index.load(tmp_path / "index")
    assert len(index) == 600
    index.delete([5])
    assert len(Index.load(tmp_path / "index")) == 599


def test_bad_input_changes_nothing():
    index = Index.build(X, payload=DOCS, factory="HNSW8")
    row = {"title": "x", "colour": "red", "price": 1}
    nan = X[:2].copy()
    nan[1, 3] = np.nan
    for change, error, words in [
        (lambda: index.add(X[:1], [0], [row]), BadInput, r"ids\[0\]: is in the index already"),
        (lambda: index.add(X[:2], [900, 900], [row] * 2), BadInput, r"ids\[1\]: is there twice"),
        (lambda: index.add(nan, [900, 901], [row] * 2), BadInput, r"vectors\[1\]: has a value that is no finite"),
        (lambda: index.add(X[:1, :5], [900], [row]), BadInput, "wrong dimension"),
        (lambda: index.add(X[:1], ["a"], [row]), BadInput, r"ids\[0\]: is no id"),
        (lambda: index.add(X[:1], [900], [{**row, "size": 1}]), BadInput, "payload.size"),
        (lambda: index.delete([3, 77_777]), NotFound, "77777"),
        (lambda: index.search(X[0], 601), BadInput, "k: is more than the index has"),
        (lambda: index.search(X[0], filter={"size": 1}), BadInput, "filter.size"),
        (lambda: Index.build(X, ids=[1] * 600), BadInput, r"ids\[1\]: is there twice"),
        (lambda: Index.build(np.zeros((0, 3)), factory="IVF8,Flat").search([1, 2, 3], 1), BadInput, "k: "),
        (lambda: Index.load("/nowhere"), NotFound, "no index.json"),
    ]:
        with pytest.raises(error, match=words) as e:
            change()
        assert isinstance(e.value, MlshipError)
    assert len(index) == 600 and index.search(X, 1, exact=True).ids[:, 0].tolist() == list(range(600))


def test_an_id_stays_one_row_through_saves_and_loads(tmp_path):
    "A saved index still has the rows that an upsert replaced, dead: the next change must find the living one."
    kept = {"int": list(range(100)), "str": [f"документ-{i}" for i in range(100)]}
    for kind, ids in kept.items():
        Index.build(X[:100], ids=ids).save(tmp_path / kind)
        for step in range(1, 5):
            index = Index.load(tmp_path / kind)
            index.upsert(np.full((2, 16), step), ids[5:7])
            assert len(index) == 100 and len(set(index.filter({}).tolist())) == 100
            assert index.get(ids[5:6])[0]["vector"][0] == step
            index.save(compact=step == 3)
        again = Index.load(tmp_path / kind)
        again.delete(ids[5:7])
        assert len(again) == 98 and not {*ids[5:7]} & {*again.filter({}).tolist()}
        again.add(X[:1], ids[5:6])
        again.save(compact=False)
        assert Index.load(tmp_path / kind).get(ids[5:6])[0]["vector"].tolist() == X[0].tolist()


def test_two_processes_write_to_one_index(tmp_path):
    Index.build(X[:100]).save(tmp_path / "index")
    code = ("import sys, numpy as np; from mlship import Index; i = Index.load(sys.argv[1])\n"
            "for n in range(40): i.add(np.ones((1, 16)) * n, [int(sys.argv[2]) + n])")
    both = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "index", str(first)]) for first in (1000, 2000)]
    assert [p.wait(60) for p in both] == [0, 0]
    assert sorted(Index.load(tmp_path / "index").filter({}).tolist()) == sorted(
        [*range(100), *range(1000, 1040), *range(2000, 2040)])


@faults
def test_many_write_and_one_saves_while_others_load_and_search(tmp_path):
    "What one process saves anew, others take over; a load that finds its files gone reads what counts now"
    place = tmp_path / "index"
    Index.build(X[:100], payload=DOCS[:100], factory="HNSW8").save(place)
    write = ("import sys, numpy as np; from mlship import Index\n"
             "i = Index.load(sys.argv[1]); first = int(sys.argv[2])\n"
             "for n in range(20):\n"
             "    i.upsert(np.full((5, 16), n), range(first, first + 5), {'title': ['x'] * 5, 'colour': ['red'] * 5,"
             " 'price': [n] * 5})\n"
             "    if first == 1000: i.save(compact=n % 5 == 0)")
    look = ("import sys; from mlship import Index\n"
            "for n in range(40):\n"
            "    i = Index.load(sys.argv[1]); h = i.search([3] * 16, 10, {'colour': 'red'})\n"
            "    assert (h.rows >= 0).all() and len({*h.ids[0].tolist()}) == 10")
    stays = Index.load(place)
    all_ = [subprocess.Popen([sys.executable, "-c", write, place, str(first)]) for first in (1000, 2000)]
    all_ += [subprocess.Popen([sys.executable, "-c", look, place])]
    while any(p.poll() is None for p in all_):
        assert len({*stays.search([3] * 16, 20).ids[0].tolist()}) == 20
    assert [p.wait() for p in all_] == [0, 0, 0]
    for index in (stays, Index.load(place)):
        for row in index.get([*range(1000, 1005), *range(2000, 2005)]):
            assert row["payload"]["price"] == row["vector"][0] == 19
        assert len(index) == 110 == len({*index.filter({}).tolist()})


class Words:
    "Texts to vectors, by how often each letter is there"
    def encode(self, texts):
        return np.array([[t.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts], "float32")


TITLES = ["Zip files", "Sorting lists", "HTTP servers", "Regular expressions", "Dates and times", "Temporary files"]


@pytest.fixture
def docs(home):
    table = pd.DataFrame({"title": TITLES, "pages": [1, 2, 3, 4, 5, 6]})
    index = Index.build(Words().encode(TITLES), ids=TITLES, payload=table, metric="cosine")
    return ship(index, encoder=Words(), name="docs", title="Chapters")


@pytest.mark.e2e
def test_a_real_server(docs, home, serve, tmp_path):
    keys = tmp_path / "keys"
    boss, alice = ({"x-api-key": add_key(keys, *who)} for who in (("boss", "admin"), ("alice",)))
    server = serve("docs", "--workers", "2", "--api-key-file", str(keys))

    def ask(path, body, key=alice):
        r = requests.post(server.url + path, json=body, headers=key, timeout=30)
        return r.status_code, r.json()

    status, said = ask("/search", {"query": "sort a list", "k": 2, "filter": {"pages": {"max": 4}}})
    assert status == 200 and [h["id"] for h in said["results"]][0] == "Sorting lists"
    assert said["results"][0]["payload"] == {"title": "Sorting lists", "pages": 2} and said["model"] == "docs"
    assert [r[0]["id"] for r in ask("/search", {"queries": TITLES, "k": 1})[1]["results"]] == TITLES
    assert ask("/predict", {"inputs": ["zip"]})[1]["predictions"][0][0] == "Zip files"

    assert requests.post(server.url + "/search", json={"query": "a"}, timeout=30).status_code == 401
    assert ask("/search/add", {"ids": ["x"], "inputs": ["x"]})[0] == 403
    new = {"ids": ["Sockets"], "inputs": ["Sockets"], "payload": [{"title": "Sockets", "pages": 9}]}
    assert ask("/search/add", new, boss) == (200, {"added": 1, "size": 7})
    for _ in range(20):          # whichever worker answers knows it
        assert ask("/search", {"query": "sockets", "k": 1})[1]["results"][0]["id"] == "Sockets"
    bad = {"wrong dimension": ("/search", {"vector": [1, 2]}), "no finite": ("/search", {"vector": [1e39] * 26}),
           "k": ("/search", {"query": "a", "k": 99}), "filter.size": ("/search", {"query": "a", "filter": {"size": 1}}),
           "already": ("/search/add", new), "not in the index": ("/search/delete", {"ids": ["Zip files", "gone"]}),
           "twice": ("/search/add", {**new, "ids": ["a", "a"], "inputs": ["a", "b"], "payload": new["payload"] * 2})}
    for words, (path, body) in bad.items():
        status, said = ask(path, body, boss)
        assert status in (404, 422) and words in json.dumps(said), (words, status, said)
    r = requests.post(server.url + "/search", data='{"vector": [NaN]}', headers=alice, timeout=30)
    assert r.status_code in (400, 415) and "error" in r.json()
    assert ask("/search/delete", {"ids": ["Zip files"]}, boss)[1] == {"deleted": 1, "size": 6}
    page = requests.get(server.url, auth=("me", alice["x-api-key"]), timeout=30)
    assert "Chapters" in page.text and "<form" in page.text and "script-src 'nonce-" in page.headers[
        "Content-Security-Policy"]
    described = requests.get(server.url + "/openapi.json", headers=alice, timeout=30).json()
    example = described["paths"]["/search"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert ask("/search", example)[0] == 200

    worker = next(iter(server.pids))         # a worker that is killed comes back knowing all of it
    if os.name != "nt":
        os.kill(worker, signal.SIGKILL)
        server.replaced(worker)
        for _ in range(10):
            assert ask("/search", {"query": "sockets", "k": 1})[1]["results"][0]["id"] == "Sockets"
    server.end()
    again = live(load("docs"))
    assert len(again) == 6 and "Zip files" not in again.filter({}).tolist()
    assert len(load("docs").model) == 6 and "Zip files" in load("docs").model.filter({}).tolist()


@faults
def test_a_bundle_with_a_changed_byte_is_refused(docs):
    path = next(docs.folder.glob("model/index/gen-*/vectors.f32"))
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="vectors.f32"):
        load("docs")


def test_it_travels(docs, home, tmp_path, monkeypatch):
    mlship = str(Path(sys.executable).parent / "mlship")
    subprocess.run([mlship, "pack", "docs", "-o", str(tmp_path / "docs.mlship")], check=True, capture_output=True)
    assert load(str(tmp_path / "docs.mlship")).predict(["zip"])[0][0] == "Zip files"
