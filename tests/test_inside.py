"""mlship inside a notebook: a real ipykernel, a server that is its child, and what becomes of both."""
import html
import os
import re
import signal
import socket
import subprocess
import time

import nbformat
import psutil
import pytest
import requests
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from served import MLSHIP

from mlship.shipping import ship

pytestmark = pytest.mark.e2e

SHIP = """%load_ext mlship
from mlship import ship
b = ship(lambda X: [FACTOR * x for x in X], [1.0, 2.0], name="times", check=False)"""


class Lab:
    "A notebook that is executed cell by cell"
    def __init__(self, **environment):
        self.notebook = nbformat.v4.new_notebook()
        self.client = NotebookClient(self.notebook, kernel_name="python3", timeout=60)
        self.kernel = self.client.setup_kernel(env={**os.environ, **environment})

    def __enter__(self):
        self.kernel.__enter__()
        return self

    def __exit__(self, *exc):
        return self.kernel.__exit__(*exc)

    def run(self, source):
        "What the cell shows: text and HTML"
        self.notebook.cells.append(nbformat.v4.new_code_cell(source))
        cell = self.notebook.cells[-1]
        self.client.execute_cell(cell, len(self.notebook.cells) - 1)
        data = [o.get("data", {"text/plain": o.get("text", "")}) for o in cell.outputs]
        return "".join(d.get("text/plain", "") for d in data), "".join(d.get("text/html", "") for d in data)

    def fails(self, source):
        with pytest.raises(CellExecutionError):
            self.run(source)
        error = next(o for o in self.notebook.cells[-1].outputs if o.output_type == "error")
        assert "Traceback" not in "".join(error.traceback), error
        return "\n".join(error.traceback)

    def pid(self):
        return int(self.run("import os; print(os.getpid())")[0])


def shown(page):
    return html.unescape(re.search(r'<iframe src="([^"]+)"', page)[1])


def ask(url):
    return requests.post(re.sub(r"\?.*", "", url) + "predict", json=[10.0], timeout=10).json()


def gone(url, seconds=15):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            requests.get(url, timeout=2)
        except requests.ConnectionError:
            return True
        time.sleep(.1)


def test_it_survives_a_second_run_and_gives_way_to_a_new_version_at_its_address(home):
    with Lab() as lab:
        lab.run(SHIP.replace("FACTOR", "2"))
        text, page = lab.run("%serve b")
        url = shown(page)
        assert ask(url) == {"predictions": [20.0], "model": "times", "version": 1} and "%serve stop times" in text
        assert requests.get(url, timeout=10).status_code == 200
        before = lab.run("%serve")[0]
        assert shown(lab.run("b.serve()")[1]) == url and lab.run("%serve")[0] == before and "times@1" in before
        lab.run(SHIP.replace("FACTOR", "3"))
        assert shown(lab.run("%serve b")[1]) == url and ask(url)["predictions"] == [30.0]
        assert shown(lab.run("%serve times@1")[1]) == url and ask(url)["version"] == 1
        assert "times@1" in lab.run("%serve stop times")[0] and gone(url)
        assert "nothing is served" in lab.run("%serve")[0]
        url = shown(lab.run("def model(X): return [4 * x for x in X]\nX = [1.0, 2.0]\n%serve model X")[1])
        assert ask(url)["predictions"] == [40.0]
    assert gone(url), "the server outlived its kernel"


def test_it_follows_the_name_where_it_is_told_to(home):
    with Lab() as lab:
        lab.run(SHIP.replace("FACTOR", "2"))
        lab.run("from mlship.release import promote, rollback; from mlship.store import Store; promote(Store(), b.ref)")
        text, page = lab.run("b.serve(follow=True)")
        url = shown(page)
        assert ask(url)["version"] == 1 and "times is served" in text
        lab.run(SHIP.replace("FACTOR", "3"))
        assert shown(lab.run("b.serve(follow=True)")[1]) == url and ask(url)["version"] == 1, "nothing was promoted"
        lab.run("promote(Store(), b.ref)")
        until = time.monotonic() + 15
        while ask(url)["version"] == 1 and time.monotonic() < until: time.sleep(.1)
        assert ask(url) == {"predictions": [30.0], "model": "times", "version": 2}
        assert shown(lab.run("b.serve()")[1]) == url and ask(url)["version"] == 2 and "times@2" in lab.run("%serve")[0]


@pytest.mark.linux
@pytest.mark.faults
def test_a_killed_kernel_takes_its_server_along_and_a_killed_server_is_told(home):
    with Lab() as lab:
        lab.run(SHIP.replace("FACTOR", "2"))
        url, kernel = shown(lab.run("s = b.serve()\ns")[1]), lab.pid()
        server = psutil.Process(int(lab.run("print(s.process.child.pid)")[0]))
        workers = server.children()
        for p in (server, *workers):
            p.send_signal(signal.SIGKILL)
        assert gone(url)
        text, page = lab.run("%serve")
        assert "not served any more" in text and "%serve times  starts it again" in text
        assert "not served any more" in lab.run("s")[1]
        again = shown(lab.run("%serve times")[1])
        assert again == url and ask(url)["version"] == 1
        os.kill(kernel, signal.SIGKILL)
        assert gone(url), "the server outlived its kernel"


@pytest.mark.linux
def test_two_that_begin_at_once_do_not_share_a_port(home):
    "Both find it free; workers share their port, and so would strangers: answers in turns from two models"
    for name in ("one", "two"):
        ship(lambda X, name=name: [name for _ in X], [1.0, 2.0], name=name, check=False)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    both = [subprocess.Popen([MLSHIP, "serve", name, "--port", str(port), "--workers", "1"], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in ("one", "two")]
    try:
        until = time.monotonic() + 60
        while all(p.poll() is None for p in both):
            assert time.monotonic() < until, "both are there"
            time.sleep(.05)
        lost = next(p for p in both if p.poll() is not None)
        assert lost.returncode == 9 and f"port {port} on 127.0.0.1 is taken" in lost.communicate()[1]
        url = both[both[0] is lost].stdout.readline().strip() + "/"
        assert len({ask(url)["model"] for _ in range(20)}) == 1
    finally:
        for p in both:
            p.terminate()
            p.communicate(timeout=40)


def test_behind_proxies_the_page_is_below_the_users_own_path(home):
    with Lab(JUPYTERHUB_SERVICE_PREFIX="/user/ann/") as lab:
        lab.run(SHIP.replace("FACTOR", "2"))
        _, page = lab.run("%serve b")
        port = int(re.fullmatch(r"/user/ann/proxy/(\d+)/\?embed=1", shown(page))[1])
        assert ask(f"http://127.0.0.1:{port}/")["version"] == 1 and "jupyter-server-proxy" in page
        colab = """import sys, types, os
os.environ.pop("JUPYTERHUB_SERVICE_PREFIX"); os.environ["COLAB_RELEASE_TAG"] = "r"
for name in ("google", "google.colab", "google.colab.output"): sys.modules[name] = types.ModuleType(name)
sys.modules["google.colab"].output = sys.modules["google.colab.output"]
sys.modules["google.colab.output"].serve_kernel_port_as_iframe = lambda *a, **k: print(a, k)"""
        lab.run(colab)
        assert f"({port},) {{'path': '/?embed=1', 'height': 300}}" in lab.run("%serve b --height 300")[0]


def test_what_goes_wrong_is_told_in_two_lines(home):
    with socket.socket() as other, Lab() as lab:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        lab.run(SHIP.replace("FACTOR", "2"))
        said = lab.fails(f"%serve b --port {port}")
        assert f"port {port}" in said and "is taken" in said and "is free" in said
        assert "no model 'tims'" in lab.fails("%serve tims") and "times" in lab.fails("%serve tims")
        assert "no type hint for x" in lab.fails("%%ship f\ndef f(x): return x")
        bomb = "class Bomb:\n    def __reduce__(self): return (eval, ('1/0',))\n    def __call__(self, x): return x\n"
        lab.run(bomb + "bomb = ship(Bomb(), [1], name='bomb', check=False)")
        assert "ZeroDivisionError" in lab.fails("%serve bomb")
        assert "nothing is served" in lab.run("%serve")[0]


def test_a_function_cell_becomes_a_page(home):
    with Lab() as lab:
        lab.run("%load_ext mlship\nfrom typing import Literal")
        _, card = lab.run('''%%ship rent
def rent(rooms: int, area: float, town: Literal["Bonn", "Kiel"] = "Kiel") -> float:
    "What a flat costs."
    return 100. * rooms + 5 * area''')
        assert "What a flat costs" in card and "rent@1" in card
        url = re.sub(r"\?.*", "", shown(lab.run("%serve rent")[1]))
        page = requests.get(url + "?embed=1", timeout=10)   # though nobody's values are known: in a frame of any origin
        assert page.status_code == 200 and "frame-ancestors *" in page.headers["Content-Security-Policy"]
        body = {"rooms": 2, "area": 10, "town": "Bonn"}
        assert requests.post(url + "predict", json=body, timeout=10).json()["predictions"] == [250.0]
        assert requests.post(url + "predict", json={**body, "rooms": "x"}, timeout=10).status_code == 422


def test_a_cell_tagged_ship_is_served_from_the_notebook(serve, tmp_path):
    cell = nbformat.v4.new_code_cell("def rent(rooms: int, area: float) -> float: return 100. * rooms + 5 * area",
                                     metadata={"tags": ["ship"]})
    notebook = tmp_path / "rent.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebook)
    assert serve(str(notebook)).ask({"rooms": 2, "area": 10}) == [250.0]
    assert list(tmp_path.glob("*.ipynb")) == [notebook]
