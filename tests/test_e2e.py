"""The main road, as a user walks it: a notebook in a real kernel, another process that serves, HTTP from a third."""
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlship.outputs import differs
from mlship.shipping import ship

ROOT = Path(__file__).resolve().parent.parent
MLSHIP = [str(Path(sys.executable).parent / ("mlship.exe" if os.name == "nt" else "mlship"))]
pytestmark = pytest.mark.e2e


@contextmanager
def serving(*words, cwd, timeout=120):
    "A real `mlship serve`; gives its address and the process"
    process = subprocess.Popen([*MLSHIP, "serve", *words, "--port", "0"], cwd=cwd, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        started, url = time.time(), process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url), (url, process.stderr.read())
        assert time.time() - started < timeout
        yield url, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()


def ask(url, body=None, **headers):
    "Status and parsed body"
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as r:
            return r.status, json.loads(r.read())
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read())


TRAIN = """
import json
from sklearn.datasets import load_breast_cancer
X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X["mean radius"] = X["mean radius"].where(X.index % 7 != 0)      # holes
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from neighbour import factor
class Clip(BaseEstimator, TransformerMixin):
    def fit(self, X, y=None): return self
    def transform(self, X): return np.clip(X, -factor(), factor())
steps = SimpleImputer(), StandardScaler(), Clip(), FunctionTransformer(lambda X: X / 2), LogisticRegression(C=C)
model = make_pipeline(*steps).fit(X, y)
from mlship import ship
ship(model, X, y, name="clipped")
answers = {"labels": model.predict(X).tolist(), "p": model.predict_proba(X).tolist(), "C": C}
json.dump({"rows": json.loads(X.to_json(orient="records", double_precision=15)), **answers}, open("answers.json", "w"))
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    "A notebook with everything that usually goes wrong, and a helper in a file beside it"
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "neighbour.py").write_text("def factor(): return 3\n")
    head, body = "C = 1.0\n", TRAIN.strip()
    cells = [{"cell_type": "code", "id": f"c{i}", "execution_count": None, "outputs": [], "source": source,
              "metadata": {"tags": ["parameters"]} if source == head else {}} for i, source in enumerate((head, body))]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nb = {"cells": cells, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
    (folder / "train.ipynb").write_text(json.dumps(nb))
    return folder


@pytest.mark.slow
def test_a_notebook_is_run_shipped_and_served_from_elsewhere(notebook, home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with serving(str(notebook / "train.ipynb"), "-p", "C", "0.1", cwd=elsewhere) as (url, process):
        truth = json.loads((notebook / "answers.json").read_text())
        assert truth["C"] == 0.1
        (notebook / "neighbour.py").unlink()          # the notebook's world is gone
        status, native = ask(url + "/predict?proba=1", {"inputs": truth["rows"]})
        assert status == 200 and native["predictions"] == truth["labels"]
        assert not differs(native["probabilities"], truth["p"], 1e-12)
        assert ask(url + "/readyz") == (200, {"ready": True})
        mlflow = ask(url + "/invocations", {"dataframe_records": truth["rows"]})[1]
        v1 = ask(url + "/v1/models/clipped:predict", {"instances": truth["rows"]})[1]
        columns = {k: [r[k] for r in truth["rows"]] for k in truth["rows"][0]}
        tensors = [{"name": k, "shape": [len(v)], "datatype": "FP64", "data": v} for k, v in columns.items()]
        v2 = ask(url + "/v2/models/clipped/infer", {"inputs": tensors})[1]
        assert mlflow["predictions"] == v1["predictions"] == v2["outputs"][0]["data"] == truth["labels"]
        for row, label in list(zip(truth["rows"], truth["labels"]))[:50]:    # and one at a time
            assert ask(url + "/predict", row)[1]["predictions"] == [label]
    assert process.returncode == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "A small model, served for all the tests below"
    home = tmp_path_factory.mktemp("home")
    before = os.environ["MLSHIP_HOME"]
    os.environ["MLSHIP_HOME"] = str(home)
    try:
        ship(lambda X: X.sum(axis=1), __import__("numpy").ones((5, 3)), name="total", check=False)
        with serving("total", cwd=home) as (url, process):
            yield url, process
    finally:
        os.environ["MLSHIP_HOME"] = before


def test_pages_ask_no_other_host(server):
    url, _ = server
    for path in ("/", "/docs"):
        with urllib.request.urlopen(url + path) as r:
            html = r.read().decode()
        outside = {u for u in re.findall(r"(?:src|href|url\()\s*=?\s*[\"']?(https?://[^\"')\s]+)", html)}
        assert not outside, outside
        assert "Content-Security-Policy" in r.headers


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_bodies_with_and_without_a_length(server, how):
    import http.client
    url, _ = server
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    body = b'{"inputs": [[1, 2, 3]]}'
    connection.request("POST", "/predict", iter([body[:5], body[5:]]) if how == "chunked" else body,
                       {"content-type": "application/json"}, encode_chunked=how == "chunked")
    r = connection.getresponse()
    assert r.status == 200 and json.loads(r.read())["predictions"] == [6.0]


@pytest.mark.parametrize("body, status", [
    (b"[" * 100_000, 400), (b"\xff\xfe", 400), (b"", 400), (b"null", 422), (b"0", 422), (b'"text"', 422),
    (b'{"inputs": [[1e999, 1, 1]]}', (400, 422)), (b'{"inputs": [[1, 2, 3], [1, 2]]}', 422),
    (b"{" + b'"a":1,' * 9 + b'"b":2}', 422), (b"[" + b"1," * 200_000 + b"1]", 422)], ids=lambda v: str(v)[:20])
def test_bad_bodies(server, body, status):
    url, _ = server
    got, answer = ask(url + "/predict", body)
    assert got in (status if isinstance(status, tuple) else (status,)), answer
    assert answer["error"]["message"] and answer["request_id"]
    assert ask(url + "/predict", [[1, 2, 3]])[1]["predictions"] == [6.0]       # and it goes on


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(server):
    import socket
    url, _ = server
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as s:
        head = b"host: x\r\ncontent-type: application/json\r\ncontent-length: 70000000\r\n\r\n"
        s.sendall(b"POST /predict HTTP/1.1\r\n" + head + b"[")
        said = b""
        while b"too_large" not in said and (more := s.recv(10_000)):
            said += more
    assert said.startswith(b"HTTP/1.1 413 ") and b"too_large" in said


def test_a_body_that_never_ends(server):
    "A client that goes away in the middle leaves nothing behind"
    import socket
    url, _ = server
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as s:
        head = b"host: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
        s.sendall(b"POST /predict HTTP/1.1\r\n" + head + b'{"in')
    assert ask(url + "/predict", [[1, 2, 3]])[1]["predictions"] == [6.0]


@pytest.mark.skipif(os.name == "nt", reason="there is one worker on Windows")
def test_a_worker_that_is_killed_is_replaced(server):
    import psutil
    url, process = server
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    workers[0].kill()
    until, answered = time.time() + 15, 0
    while time.time() < until:
        try:
            answered += ask(url + "/predict", [[1, 2, 3]])[1]["predictions"] == [6.0]
        except (urllib.error.URLError, ConnectionError):
            pass
        if answered > 20 and len([c for c in psutil.Process(process.pid).children() if c.is_running()]) == 2:
            break
    assert answered > 20 and len(psutil.Process(process.pid).children()) == 2
    with urllib.request.urlopen(url + "/metrics") as r:
        assert b"mlship_requests_total" in r.read()


@pytest.mark.linux
def test_ctrl_c_in_a_terminal_ends_it_cleanly(home):
    import pty
    import psutil
    ship(lambda x: x, [1], name="same", check=False)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(MLSHIP[0], [*MLSHIP, "serve", "same", "--port", "0"])
    said = b""
    while b"Ctrl-C" not in said:
        said += os.read(terminal, 1000)
    children = psutil.Process(pid).children()
    os.write(terminal, b"\x03")
    try:
        while os.read(terminal, 1000):
            pass
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not [c for c in children if c.is_running() and c.status() != "zombie"] and b"Traceback" not in said


def test_a_taken_port_is_told_with_a_free_one(server, home, tmp_path):
    url, _ = server
    ship(lambda x: x, [1], name="same", check=False)
    port = url.rpartition(":")[2]
    done = subprocess.run([*MLSHIP, "serve", "same", "--port", port], capture_output=True, text=True, timeout=60)
    assert done.returncode == 9 and f"port {port} on 127.0.0.1 is taken" in done.stderr
    free = re.search(r"--port (\d+)", done.stderr)[1]
    process = subprocess.Popen([*MLSHIP, "serve", "same", "--port", free], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == f"http://127.0.0.1:{free}"
    process.terminate()
    assert process.wait(20) == 0 or os.name == "nt"


@pytest.mark.slow
def test_the_tutorial_served_from_another_folder_answers_every_row(home, tmp_path):
    "What `make demo` starts, against the same model trained here"
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    tutorial = ROOT / "nbs/tutorials/01_first_model.ipynb"
    assert str(tutorial.relative_to(ROOT).as_posix()) in (ROOT / "Makefile").read_text()
    data = load_breast_cancer(as_frame=True)
    X, y = data.data, data.target.map({0: "malignant", 1: "benign"})
    X_train, X_test, y_train, _ = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(X_train, y_train)
    with serving(str(tutorial), "-p", "C", "0.1", cwd=tmp_path) as (url, process):
        for rows in (X_test, X_train):
            status, served = ask(url + "/predict?proba=1", {"inputs": rows.to_dict("records")})
            assert status == 200 and served["predictions"] == model.predict(rows).tolist()
            assert served["classes"] == model.classes_.tolist()
            assert not differs(served["probabilities"], model.predict_proba(rows).tolist(), 1e-12)
        with urllib.request.urlopen(url + "/") as r:
            assert b"Tumour, benign or malignant?" in r.read()
    assert process.returncode == 0
