"""Bytes on a real socket, as no client library would send them: answered or refused, and the server goes on."""
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mlship.shipping import ship

MLSHIP = str(Path(sys.executable).parent / ("mlship.exe" if os.name == "nt" else "mlship"))
pytestmark = pytest.mark.e2e
GOOD = b'{"inputs": [[1, 2, 3]]}'


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(tmp_path_factory.mktemp("home")))
        ship(lambda X: X.sum(axis=1), np.ones((5, 3)), name="total", check=False)
        process = subprocess.Popen([MLSHIP, "serve", "total", "--port", "0", "--workers", "1"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        yield int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=20)[1]
        assert "Traceback" not in err and "panicked" not in err, err


@pytest.fixture(autouse=True)
def goes_on(port):
    "After every test: the next client is answered"
    yield
    assert answer(port, request(GOOD)) == (200, {"predictions": [6.0], "model": "total", "version": 1})


def request(body=b"", head=b"", path=b"/predict", method=b"POST", length=None):
    length = len(body) if length is None else length
    return (method + b" " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            % length + head + b"\r\n" + body)


def talk(port, data, wait=5, close=False):
    "Send bytes as they are; what came back until the server had no more to say"
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as s:
        try:
            s.sendall(data)
            if close:
                s.shutdown(socket.SHUT_WR)
        except OSError:                    # the server has hung up already
            pass
        return read(s, data.startswith(b"HEAD"))


def read(s, head_only=False):
    said = b""
    try:
        while b"\r\n\r\n" not in said:
            if not (more := s.recv(65536)):
                return said
            said += more
        head, _, body = said.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        while length and not head_only and len(body) < int(length[1]):
            if not (more := s.recv(65536)):
                break
            body += more
        return head + b"\r\n\r\n" + body
    except (ConnectionResetError, TimeoutError):
        return said


def answer(port, data, **options):
    said = talk(port, data, **options)
    head, _, body = said.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    return status, json.loads(body) if b"application/json" in head else body


def test_chunked_bodies(port):
    def chunked(*parts, end=b"0\r\n\r\n", kind=b"application/json"):
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: " + kind + b"\r\ntransfer-encoding: chunked\r\n\r\n"
        return head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + end
    assert answer(port, chunked(GOOD))[1]["predictions"] == [6.0]
    assert answer(port, chunked(*[GOOD[i:i + 1] for i in range(len(GOOD))]))[1]["predictions"] == [6.0]
    assert answer(port, chunked())[0] == 400
    assert answer(port, chunked(GOOD, kind=b"text/plain"))[0] == 415
    with socket.create_connection(("127.0.0.1", port), timeout=3) as s:         # a chunk that is none: no way on
        s.sendall(chunked(GOOD, end=b"zz\r\n") + request(GOOD))
        said = read(s)
        assert not said or said.split(b" ")[1] in (b"200", b"400")
        try:
            assert s.recv(1000) == b""
        except ConnectionResetError:
            pass
    large = b"[" + b"1," * 500_000 + b"1]"
    assert answer(port, chunked(*[large[i:i + 65536] for i in range(0, len(large), 65536)]), wait=20)[0] == 422


def test_a_chunked_body_beyond_the_limit(port):
    "70 MB without a Content-Length are refused as well"
    part = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                  b"transfer-encoding: chunked\r\n\r\n")
        try:
            for _ in range(70):
                s.sendall(part)
            s.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        said = read(s)
    assert said.startswith(b"HTTP/1.1 413 ") and b"too_large" in said, said[:300]


def test_a_body_beyond_the_limit_that_is_really_sent(port):
    said = talk(port, request(b" " * 70_000_000), wait=30)
    assert not said or said.startswith(b"HTTP/1.1 413 "), said[:300]


@pytest.mark.parametrize("cut", [0, 1, 10, len(GOOD) - 1])
def test_a_body_shorter_than_it_says(port, cut):
    "The client closes its side early: no answer is invented from half a body"
    said = talk(port, request(GOOD[:cut], length=len(GOOD)), close=True)
    assert not said or int(said.split(b" ")[1]) in (400, 408), said


def test_a_body_longer_than_it_says(port):
    said = talk(port, request(GOOD + b"GARBAGE\r\n\r\n", length=len(GOOD)))
    assert said.startswith(b"HTTP/1.1 200 ") and b"[6.0]" in said


@pytest.mark.parametrize("length", [b"-1", b"abc", b"1e3", b"99999999999999999999999", b"5, 6", b"+23", b"0x17", b" "])
def test_lengths_that_are_none(port, length):
    said = talk(port, b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
                + length + b"\r\n\r\n" + GOOD, wait=3)
    assert not said or said.split(b" ")[1] in (b"400", b"411", b"413"), said


def test_two_lengths_and_a_length_with_chunks(port):
    "What lets one request hide inside another is refused, or read one way only"
    both = (b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 3\r\n"
            b"content-length: %d\r\n\r\n" % len(GOOD) + GOOD)
    said = talk(port, both, wait=3)
    assert not said or said.split(b" ")[1] == b"400", said
    smuggled = b"0\r\n\r\nGET /v2 HTTP/1.1\r\nhost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=2) as s:
        s.sendall(request(smuggled, head=b"transfer-encoding: chunked\r\n"))
        said = b""
        try:
            while more := s.recv(65536):
                said += more
        except (TimeoutError, ConnectionResetError):
            pass
    assert said.count(b"HTTP/1.1 ") <= 1 or b'"mlship"' not in said, said


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, b"GET\r\n\r\n", b"\0" * 200,
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nbad header\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nx: \x00\r\n\r\n", b"POST /predict HTTP/1.1\r\nhost: x\r\n bad\r\n\r\n"],
    ids=["tls", "no version", "zeros", "version 9.9", "no colon", "bytes in the path", "zero in a header", "folded"])
def test_what_is_no_http(port, data):
    said = talk(port, data, wait=3, close=True)
    assert not said or said.split(b" ")[1][:1] in b"45" and b"Traceback" not in said, said


def test_headers_of_100_kb(port):
    for head in (b"x-long: " + b"a" * 100_000 + b"\r\n", b"".join(b"x-%d: a\r\n" % i for i in range(10_000)),
                 b"x-request-id: " + b"i" * 5000 + b"\r\n"):
        said = talk(port, request(GOOD, head=head))
        assert not said or said.split(b" ")[1] in (b"200", b"400", b"431"), said[:200]
    said = talk(port, request(path=b"/" + b"a" * 100_000, method=b"GET"))
    assert not said or said.split(b" ")[1] in (b"404", b"414", b"400", b"431"), said[:200]


@pytest.mark.parametrize("path", [
    b"/%", b"/%00", b"/%ff", b"/..%2f..%2fetc/passwd", b"//", b"/predict/", b"/PREDICT", b"/models/%2e%2e/predict",
    b"/models//predict", b"/v2/models/total/versions/%F0%9F/infer", b"*", b"http://other/predict", b"/predict?%ff=%00",
    b"/predict?proba=1&proba=2", b"/predict;x=1", b"/predict#x"])
def test_odd_paths(port, path):
    said = talk(port, request(GOOD, path=path))
    assert said and int(said.split(b" ")[1]) < 500, said
    assert b"root:" not in said


def test_request_ids(port):
    "Taken over where they are plain, never a way to write headers"
    said = talk(port, request(GOOD, head=b"x-request-id: mine-1\r\n"))
    assert b"\r\nx-request-id: mine-1\r\n" in said.lower()
    for odd in (b"a b", b"\xff", b"i" * 200):
        got = re.search(rb"\r\nx-request-id: (\S+)\r\n", talk(port, request(b"{", head=b"x-request-id: %s\r\n" % odd)),
                        re.I)
        assert got and re.fullmatch(rb"[0-9a-f]{32}", got[1])


def test_many_requests_on_one_connection_and_in_one_packet(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(b"".join(request(b'{"inputs": [[%d, 0, 0]]}' % i) for i in range(50)))
        said = b""
        while said.count(b'"version":1}') < 50:
            more = s.recv(65536)
            assert more, "the server closed before all were answered"
            said += more
    assert [float(v) for v in re.findall(rb'"predictions":\[([\d.]+)\]', said)] == [float(i) for i in range(50)]


def test_expect_100_continue(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(request(b"", head=b"expect: 100-continue\r\n", length=len(GOOD)))
        assert s.recv(1000).startswith(b"HTTP/1.1 100 ")
        s.sendall(GOOD)
        assert b'"predictions":[6.0]' in read(s)


def test_a_compressed_body_is_read_when_it_says_so_and_not_guessed(port):
    assert answer(port, request(gzip.compress(GOOD), head=b"content-encoding: gzip\r\n"))[1]["predictions"] == [6.0]
    assert answer(port, request(gzip.compress(GOOD)))[0] == 400
    assert answer(port, request(GOOD, head=b"content-encoding: gzip\r\n"))[0] == 400
    assert answer(port, request(GOOD, head=b"content-encoding: br\r\n"))[0] == 415
    rows = b"[1, 2, 3], " * 9_000
    said = talk(port, request(b'{"inputs": [' + rows + b"[1, 2, 3]]}", head=b"accept-encoding: gzip\r\n"))
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower() and len(json.loads(gzip.decompress(body))["predictions"]) == 9_001


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"BREW"])
def test_other_methods(port, method):
    said = talk(port, request(method=method))
    status = int(said.split(b" ")[1])
    assert status in (405, 501) or method == b"OPTIONS" and status < 500, said
    if method == b"HEAD":
        assert said.endswith(b"\r\n\r\n")


def test_half_sent_requests_do_not_stop_others(port):
    "Thirty clients that send half and wait; another one is answered all the same"
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(30)]
    try:
        for i, s in enumerate(slow):
            s.sendall(request(GOOD)[:40] if i % 2 else request(GOOD[:5], length=len(GOOD)))
        time.sleep(.2)
        started = time.monotonic()
        assert answer(port, request(GOOD))[0] == 200
        assert time.monotonic() - started < 2
    finally:
        for s in slow:
            s.close()


def test_clients_that_go_away_before_the_answer(port):
    for _ in range(200):
        s = socket.create_connection(("127.0.0.1", port), timeout=5)
        s.sendall(request(GOOD))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()


def test_many_clients_each_get_their_own_answer(port):
    wrong = []

    def client(k):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
            for i in range(100):
                s.sendall(request(b'{"inputs": [[%d, %d, 0]]}' % (k, i)))
                if f'"predictions":[{k + i}.0]'.encode() not in read(s):
                    wrong.append((k, i))
    threads = [threading.Thread(target=client, args=(k,)) for k in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
