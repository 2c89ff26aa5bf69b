"""Answers that come bit by bit, from a real server: as they are made, in turn, and ended when nobody listens."""
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from mlship.shipping import ship

pytestmark = [pytest.mark.e2e, pytest.mark.linux, pytest.mark.alone]


@pytest.fixture
def counter(home, tmp_path):
    "A model that counts, slowly, and leaves a file when it is ended"
    def count(n, pause, note):
        import time
        try:
            yield {"progress": 0, "message": "starting"}
            for i in range(n):
                time.sleep(pause)
                yield i + 1
        finally:
            if note:
                with open(note, "a") as f:
                    f.write(f"{i + 1}\n")
    ship(count, [{"n": 1, "pause": 0.0, "note": ""}, {"n": 2, "pause": 0.01, "note": ""}], name="count", check=False)


def read(r):
    "(seconds since the first, event, data) as they come"
    name, began = "", time.monotonic()
    for line in r.iter_lines(chunk_size=1):
        if line.startswith(b"event: "):
            name = line[7:].decode()
        elif line.startswith(b"data: "):
            yield time.monotonic() - began, name, json.loads(line[6:])


def ask(url, n, pause, note="", **headers):
    row = {"n": n, "pause": pause, "note": str(note)}
    return requests.post(url + "/stream", json={"inputs": [row]}, stream=True, timeout=30, headers=headers)


def test_parts_arrive_as_they_are_made(serve, counter):
    url = serve("count", "--workers", "1").url
    with ask(url, 5, .2, **{"X-Request-Id": "mine-1"}) as r:
        assert r.headers["Content-Type"] == "text/event-stream" and r.headers["X-Request-Id"] == "mine-1"
        said = list(read(r))
    assert [d for _, n, d in said if n == "progress"] == [{"progress": 0, "message": "starting"}]
    assert [d["prediction"] for _, n, d in said if n == "partial"] == [1, 2, 3, 4, 5]
    assert said[-1][1:] == ("done", {"prediction": 5, "model": "count", "version": 1})
    times = [t for t, n, _ in said if n == "partial"]
    assert times[-1] - times[0] > .6 and max(b - a for a, b in zip(times, times[1:])) < .6      # not all at the end
    assert requests.post(url + "/predict", json=[{"n": 3, "pause": 0.0, "note": ""}]).json()["predictions"] == [3]
    assert ask(url, "x", 0).status_code == 422


def test_it_ends_when_the_client_goes_away(serve, counter, tmp_path):
    url, note = serve("count", "--workers", "1", "--max-streams", "1").url, tmp_path / "ended"
    with ask(url, 10_000, .05, note) as r:
        for _, name, _ in read(r):
            if name == "partial":
                break
    until = time.monotonic() + 10
    while not note.exists() and time.monotonic() < until:
        time.sleep(.05)
    assert 0 < int(note.read_text()) < 200
    with ask(url, 1, 0) as r:                                     # and its place is free
        assert [n for _, n, _ in read(r)][-1] == "done"


def test_more_than_run_at_once_wait_and_know_it(serve, counter):
    url = serve("count", "--workers", "1", "--max-streams", "1").url
    with ask(url, 1000, .1) as first:
        begun = read(first)
        next(begun)
        with ask(url, 1, 0) as second, ask(url, 1, 0) as third:
            assert next(read(second))[1:] == ("queue", {"position": 1})
            events = read(third)
            assert next(events)[1:] == ("queue", {"position": 2})
            second.close()                                        # who waits may leave, and the others move up
            assert next(events)[1:] == ("queue", {"position": 1})
            first.close()
            assert [n for _, n, _ in events][-1] == "done"


def test_other_requests_are_answered_meanwhile(serve, counter):
    ship(lambda x: x + 1, [1, 2], name="plus", check=False)
    url = serve("count", "plus", "--workers", "1").url
    streams = [ask(url, 1000, .02) for _ in range(12)]            # 8 run, 4 wait
    begun = [read(r) for r in streams]
    for events in begun[:8]:
        assert next(events)[1] in ("progress", "partial")
    assert all(next(events)[1] == "queue" for events in begun[8:])
    times = []
    for i in range(50):
        began = time.monotonic()
        assert requests.post(url + "/models/plus/predict", json=[i]).json()["predictions"] == [i + 1]
        times.append(time.monotonic() - began)
    assert sorted(times)[25] < .1, sorted(times)
    with ThreadPoolExecutor(70) as pool:                          # beyond 64 that wait, one hears that it is too much
        codes = [r.status_code for r in pool.map(lambda _: ask(url, 1, 0), range(70))]
    assert codes.count(503) >= 10 and codes.count(200) <= 60
    for r in streams:
        r.close()


def test_a_step_that_hangs_costs_its_worker(serve, counter):
    served = serve("count", "--workers", "1", "--timeout", "1")
    with ask(served.url, 3, 3600) as r, pytest.raises(requests.exceptions.ChunkedEncodingError):
        assert [n for _, n, _ in read(r)][-1] != "done"
    served.replaced(next(iter(served.pids)))
