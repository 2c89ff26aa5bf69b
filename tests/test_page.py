"""The page of a served model, over sockets: its files, feedback from many at once, sharing, templates of one's own."""
import csv
import io
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from served import MLSHIP

from mlship.shipping import ship

pytestmark = pytest.mark.e2e


@pytest.fixture
def pay(home):
    def pay(age, job):
        return age * 2
    ship(pay, [{"age": 3, "job": "cook"}, {"age": 4, "job": "smith"}], name="pay", check=False)


def test_all_that_the_page_needs_comes_from_its_own_server(serve, pay):
    url = serve("pay", "--workers", "1").url
    page = requests.get(url)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", page.text)       # nothing that the policy would stop
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links and not [a for a in links if "//" in a]
    files = [a for a in links if a.startswith("demo/")]
    for name in files:
        r = requests.get(f"{url}/{name}")
        assert r.status_code == 200 and r.headers["X-Content-Type-Options"] == "nosniff"
        for inner in re.findall(r'from "\./(\w+\.js)"', r.text):
            assert requests.get(f"{url}/demo/{inner}").status_code == 200
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", r.text), f"{name} names another host"
    assert requests.get(f"{url}/demo/../app.py").status_code == 404


def test_feedback_from_many_at_once_reaches_the_file(serve, pay):
    url = serve("pay", "--workers", "2").url
    def say(i):
        asked = requests.post(url + "/predict", json=[{"age": i, "job": "=1+1"}])
        return requests.post(url + "/feedback", json={
            "model": "pay", "version": 1, "request_id": asked.headers["X-Request-Id"], "note": f"no {i}",
            "input": {"age": i, "job": "=1+1"}, "prediction": asked.json()["predictions"][0], "right": "@SUM(A1)"})
    with ThreadPoolExecutor(8) as pool:
        assert [r.status_code for r in pool.map(say, range(60))] == [201] * 60
    out = subprocess.run([MLSHIP, "feedback", "pay"], capture_output=True, check=True).stdout.decode()
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert sorted(int(r["input.age"]) for r in rows) == list(range(60)) and len({r["request_id"] for r in rows}) == 60
    assert {r["right"] for r in rows} == {"'@SUM(A1)"} and {r["input.job"] for r in rows} == {"'=1+1"}
    for body, status in (({"model": "pay"}, 422), ({"model": "no", "note": "x"}, 404), ([], 422),
                         ({"model": "pay", "note": "x", "input": "y" * 300_000}, 413)):
        assert requests.post(url + "/feedback", json=body).status_code == status
    assert requests.post(url + "/feedback", data={"model": "pay"}).status_code == 415


def test_own_templates_are_served_at_once(serve, pay, home):
    url = serve("pay", "--workers", "1").url
    path = subprocess.run([MLSHIP, "demo", "eject", "about.html"], capture_output=True, text=True, check=True).stdout
    assert "How it was made" in requests.get(url).text
    with open(path.strip(), "w") as f:
        f.write("<p>{{ card.name }} in my own words</p>")
    assert "pay in my own words" in requests.get(url).text and "How it was made" not in requests.get(url).text
    os.remove(path.strip())
    assert "How it was made" in requests.get(url).text


@pytest.mark.linux
@pytest.mark.parametrize("program, said, address", [
    ("cloudflared", "INF |  https://quiet-hill.trycloudflare.com  |", "https://quiet-hill.trycloudflare.com"),
    ("ssh", "x.lhr.life tunneled with tls termination, https://x.lhr.life", "https://x.lhr.life"),
])
def test_sharing_says_an_address_and_a_key_and_ends_its_tunnel(pay, tmp_path, monkeypatch, program, said, address):
    place, note = tmp_path / "bin" / program, tmp_path / "pid"
    place.parent.mkdir()
    place.write_text(f"#!{sys.executable}\nimport os, sys, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\n"
                     f"print({said!r}, *sys.argv, file=sys.stderr, flush=True)\ntime.sleep(600)\n")
    place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.parent}:{os.path.dirname(MLSHIP)}")
    server = subprocess.Popen([MLSHIP, "serve", "pay", "--share", "--port", "0", "--workers", "1"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        url, lines = server.stdout.readline().strip(), []
        timer = threading.Timer(60, server.kill)
        timer.start()
        while "browser" not in (lines[-1] if lines else ""):
            lines.append(server.stderr.readline())
            assert lines[-1], lines
        timer.cancel()
        text = "".join(lines)
        key = re.search(r"key +(mlship_\S+)", text)[1]
        assert f"shared as  {address}" in text
        assert requests.get(url).status_code == 401 and requests.get(url, auth=("", key)).status_code == 200
        ask = requests.post(url + "/predict", json=[{"age": 1, "job": "x"}], headers={"x-api-key": key})
        assert ask.json()["predictions"] == [2]
    finally:
        server.terminate()
        server.communicate(timeout=40)
    pid = int(note.read_text())
    assert not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().split()[2] == "Z"


def test_sharing_needs_a_tunnel_program(pay, tmp_path):
    r = subprocess.run([MLSHIP, "serve", "pay", "--share"], capture_output=True, text=True,
                       env={**os.environ, "PATH": str(tmp_path)})
    assert r.returncode == 3 and "cloudflared" in r.stderr and "Traceback" not in r.stderr
