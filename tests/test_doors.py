"""Who may ask, how much, how slowly, and what is told of it: keys, limits, CORS and the access log of a real server."""
import json
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from served import MLSHIP

from mlship.access import add_key, remove_key
from mlship.shipping import ship

pytestmark = [pytest.mark.e2e, pytest.mark.linux, pytest.mark.alone]
BODY = json.dumps({"inputs": [[1, 2, 3]]}).encode()


@pytest.fixture
def total(home):
    ship(lambda X: X.sum(axis=1), np.ones((3, 3)), name="total", check=False)


ROUTES = {"native": "/predict", "mlflow": "/invocations", "v2": "/v2/models/total/infer",
          "v1": "/v1/models/total:predict"}


def test_keys(total, serve, tmp_path):
    file = tmp_path / "keys"
    alice, watcher, boss = add_key(file, "alice"), add_key(file, "watcher", "metrics"), add_key(file, "boss", "admin")
    served = serve("total", "--api-key-file", str(file), "--workers", "1")

    def get(path, **headers):
        return requests.get(served.url + path, headers=headers).status_code
    for path in ("/livez", "/readyz", "/ping", "/v2/health/ready"):
        assert get(path) == 200
    for path in ("/", "/docs", "/openapi.json", "/models", "/v2", "/metrics", "/nothing"):
        assert get(path) == 401 and get(path, authorization="Bearer wrong") == 401
    assert requests.get(served.url + "/docs", auth=("me", alice)).status_code == 200
    assert get("/metrics", **{"x-api-key": alice}) == 403 and get("/metrics", **{"x-api-key": watcher}) == 200
    for protocol, path in ROUTES.items():
        r = requests.post(served.url + path, data=BODY, headers={"content-type": "application/json"})
        assert r.status_code == 401 and "Bearer" in r.headers["WWW-Authenticate"]
        said = r.json()
        assert (said["error"]["code"] == "unauthorized" if protocol == "native" else
                said["error_code"] == "BAD_REQUEST" if protocol == "mlflow" else isinstance(said["error"], str))
        assert requests.post(served.url + path, data=BODY, headers={"x-api-key": watcher}).status_code == 403
    described = requests.get(served.url + "/openapi.json", auth=("anybody", alice)).json()
    for path, how in ((p, h) for p, verbs in described["paths"].items() for h in verbs.items()):
        bare = requests.request(how[0], served.url + path, json={})
        assert (bare.status_code == 401) == bool(how[1]["security"]) == ("401" in how[1]["responses"]), path
    assert "Authorization: Bearer KEY" in requests.get(served.url + "/docs", auth=("anybody", alice)).text
    for key in (alice, boss):
        r = requests.post(served.url + "/predict", data=BODY, headers={"authorization": f"Bearer {key}"})
        assert r.json()["predictions"] == [6]
    # a stranger's large body is not even read
    r = requests.post(served.url + "/predict", data=b" " * 10_000_000)
    assert r.status_code == 401
    remove_key(file, "alice")
    late = add_key(file, "late")
    time.sleep(1.3)
    assert requests.post(served.url + "/predict", data=BODY, headers={"x-api-key": alice}).status_code == 401
    assert requests.post(served.url + "/predict", data=BODY, headers={"x-api-key": late}).status_code == 200
    err = served.end()
    assert "Traceback" not in err and alice not in err and '"key":"late"' in err


def test_key_files_that_are_none(total, tmp_path):
    for text, says in (None, "no key file"), ("", "has no key"), ("secret\n", "line 1 is no key"):
        file = tmp_path / "keys"
        if text is not None:
            file.write_text(text)
        done = subprocess.run([MLSHIP, "serve", "total", "--api-key-file", file], capture_output=True, text=True)
        assert done.returncode and says in done.stderr
        assert "Traceback" not in done.stderr and "secret" not in done.stderr


def test_without_a_key_everybody_is_warned_of(total, serve, tmp_path):
    add_key(tmp_path / "keys", "a")
    served = serve("total", "--host", "0.0.0.0")
    assert "there is no key (--api-key-file)" in served.end()
    served = serve("total", "--host", "0.0.0.0", "--api-key-file", str(tmp_path / "keys"))
    assert "there is no key" not in served.end()


def test_limits(total, serve):
    served = serve("total", "--max-rows", "10", "--max-body", "1", "--workers", "1")

    def ask(rows):
        return requests.post(served.url + "/predict", json={"inputs": [[1, 2, 3]] * rows})
    assert ask(10).status_code == 200 and ask(11).status_code == 422 and "10 are taken" in ask(11).text
    assert requests.post(served.url + "/predict", data=b" " * (2**20 + 1)).status_code == 413
    deep = b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}"
    assert requests.post(served.url + "/predict", data=deep).status_code == 422
    assert requests.post(served.url + "/predict", data=b"[" * 100_000).status_code == 400
    assert requests.post(served.url + "/predict", data=b'{"inputs": ["\xff\xfe"]}').status_code == 400
    try:
        assert requests.get(served.url + "/livez", headers={"x-large": "x" * 200_000}).status_code in (400, 431)
    except requests.ConnectionError:
        pass
    r = requests.get(served.url + "/livez")
    assert r.status_code == 200 and r.headers.get("server", "granian") == "granian"      # no version


def test_deep_values_for_a_model_that_takes_any_json(home, serve):
    ship(lambda rows: [r["a"] for r in rows], [{"a": {"b": [1]}}, {"a": [None, "x"]}], name="any", check=False)
    served = serve("any", "--workers", "1")
    for depth, want in (3, 200), (60, 200), (100, 422), (500, 422):
        deep = b'{"inputs": [{"a": ' + b"[" * depth + b"]" * depth + b"}]}"
        assert requests.post(served.url + "/predict", data=deep).status_code == want


def test_no_more_than_so_many_at_once(home, serve):
    def slow(x):
        import time
        time.sleep(.3)
        return x + 0
    ship(slow, [1], name="slow", check=False)
    served = serve("slow", "--max-concurrent", "2", "--workers", "1")
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: requests.post(served.url + "/predict", json=[1]), range(8)))
    codes = [r.status_code for r in got]
    assert codes.count(200) >= 2 and codes.count(503) >= 2 and set(codes) == {200, 503}
    assert next(r for r in got if r.status_code == 503).headers["Retry-After"] == "1"


def test_slow_senders_and_idle_connections_stop_nobody(total, serve):
    served = serve("total", "--workers", "1")
    host, port = re.match(r"http://(.+):(\d+)", served.url).groups()
    half = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{"
    sockets = [socket.create_connection((host, int(port))) for _ in range(1000)]     # a thousand that say nothing
    started = time.monotonic()
    assert served.ask([1, 2, 3]) == [6] and time.monotonic() - started < 2
    for s in sockets[:700]:                                                          # now 700 of them begin, and stop
        s.sendall(half)
    sockets[600].settimeout(15)
    assert served.ask([1, 2, 3]) == [6] and sockets[600].recv(1000) == b""             # those are hung up on
    for _ in range(20):
        started = time.monotonic()
        assert served.ask([1, 2, 3]) == [6] and time.monotonic() - started < 1
    for s in sockets:
        s.close()
    assert served.ask([1, 2, 3]) == [6]


def test_cors(total, serve):
    served = serve("total", "--cors", "https://a.example", "--workers", "1")
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    r = requests.options(served.url + "/predict", headers=asked)
    assert r.status_code == 204 and r.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert "content-type" in r.headers["Access-Control-Allow-Headers"]
    r = requests.post(served.url + "/predict", data=BODY, headers={"origin": "https://a.example"})
    assert r.headers["Access-Control-Allow-Origin"] == "https://a.example" and "Origin" in r.headers["Vary"]
    r = requests.post(served.url + "/predict", data=BODY, headers={"origin": "https://b.example"})
    assert "Access-Control-Allow-Origin" not in r.headers
    off = serve("total", "--workers", "1")
    assert requests.options(off.url + "/predict", headers=asked).status_code == 405
    r = requests.post(off.url + "/predict", data=BODY, headers={"origin": "https://a.example"})
    assert "Access-Control-Allow-Origin" not in r.headers


def test_the_access_log_is_one_json_line_a_request(total, serve):
    served = serve("total", "--workers", "1")
    requests.post(served.url + "/predict", data=BODY, headers={"X-Request-Id": "first"})
    requests.post(served.url + "/predict", data=b"{", headers={"X-Request-Id": "second"})
    requests.get(served.url + "/docs?x=secret", headers={"X-Request-Id": "third"})
    requests.get(served.url + "/nowhere\n", headers={"X-Request-Id": "fourth"})
    time.sleep(.3)
    lines = {line["id"]: line for line in map(json.loads, re.findall(r"^\{.*\}$", served.end(), re.M))}
    first = lines["first"]
    assert (first["model"], first["version"], first["rows"], first["status"], first["path"], first["client"]) == (
        "total", 1, 1, 200, "/predict", "127.0.0.1") and 0 < first["ms"] < 1000
    assert (lines["second"]["status"], lines["second"]["rows"]) == (400, None)
    assert (lines["third"]["status"], lines["third"]["path"]) == (200, "/docs") and lines["fourth"]["status"] == 404


def test_a_log_that_nobody_reads_stops_nobody(total, serve):
    served = serve("total", "--workers", "1")
    session = requests.Session()
    for _ in range(1500):      # 300 kB of lines into a pipe of 64 kB
        assert session.post(served.url + "/predict", data=BODY).status_code == 200
    served.process.kill()
    served.process.communicate()
