"""Workers under load: joined requests, models that hang, exit, leak or break, and nobody else's request fails."""
import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import requests

from served import MLSHIP

from mlship.shipping import ship

pytestmark = [pytest.mark.e2e, pytest.mark.linux, pytest.mark.alone]


def test_requests_that_come_together_are_joined_and_each_gets_its_own_answer(serve):
    def double(X):
        import time
        time.sleep(.02)
        if (X == 13).any():
            raise ValueError("thirteen")
        return X * 2
    ship(double, np.array([1.0, 2.0, 3.0]), name="double", check=False)
    served = serve("double", "--workers", "1")
    assert requests.get(served.url + "/models").json()["models"][0]["batching"]["on"]
    started = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        got = list(pool.map(served.ask, range(200)))
    assert got == [[2.0 * i] if i != 13 else 422 for i in range(200)]
    assert time.monotonic() - started < 200 * .02 * .7      # one after another they would take 4 s
    text = requests.get(served.url + "/metrics").text
    calls = float(re.search(r"mlship_joined_requests_count\{.*\} (\S+)", text)[1])
    assert calls < 150, text
    assert served.ask(1, **{"X-Timeout-Ms": "1"}) in (503, 504)


def test_off_means_off(serve):
    def double(X):
        import time
        time.sleep(.01)
        return X * 2
    ship(double, np.array([1.0, 2.0, 3.0]), name="double", check=False)
    served = serve("double", "--batching", "off")
    assert requests.get(served.url + "/models").json()["models"][0]["batching"]["why"] == "switched off"
    assert served.ask(4) == [8]


def test_a_model_that_hangs_costs_its_worker_and_no_other_answer(serve):
    def waits(x):
        import time
        time.sleep(3600 if x == 7 else .01)
        return x + 0
    ship(waits, [1], name="waits", check=False)
    served = serve("waits", "--timeout", "1")
    before = served.workers()
    hanging = threading.Thread(target=lambda: got.append(served.ask(7)), daemon=True)
    got = []
    hanging.start()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: served.ask(1), range(100)))
    hanging.join(30)
    assert got == ["closed"] and answers == [[1]] * 100
    gone, = before - served.workers()
    served.replaced(gone)
    assert served.ask(1) == [1] and "running for" in served.end()


@pytest.mark.parametrize("how", ["exit", "kill", "segfault"])
def test_a_model_that_takes_its_worker_along_does_not_take_the_server(serve, how):
    def ends(x):
        import ctypes
        import os
        import signal
        if x == 1:
            os._exit(3)
        if x == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if x == 3:
            ctypes.string_at(0)
        return x + 0
    ship(ends, [0], name="ends", check=False)
    served = serve("ends")
    for _ in range(4):       # more than once within a few seconds: a client may send the same again
        assert served.ask({"exit": 1, "kill": 2, "segfault": 3}[how]) == "closed"
        until = time.monotonic() + 20
        while served.ask(0) != [0]:
            assert time.monotonic() < until and served.process.poll() is None
    served.end()


def test_sys_exit_in_a_model_is_its_failure_and_nothing_else(serve):
    def leaves(x):
        import sys
        if x == 1:
            sys.exit("bye")
        return x + 0
    ship(leaves, [0], name="leaves", check=False)
    served = serve("leaves")
    assert served.ask(1) == 500 and served.ask(0) == [0] and served.workers() == served.pids


def test_a_worker_that_leaks_is_replaced_after_its_last_answer(serve):
    def leaks(x, kept=[]):   # noqa: B006
        kept.append(bytearray(20_000_000))
        return x
    ship(leaks, [{"x": 1}], name="leaks", check=False)
    served = serve("leaks", "--max-memory", "400", "--workers", "1")
    pid, = served.pids
    with ThreadPoolExecutor(2) as pool:
        for _ in range(15):
            assert all(a == [1] for a in pool.map(lambda i: served.ask({"x": 1}), range(2)))
    until = time.monotonic() + 20
    while pid in served.workers():
        assert served.ask({"x": 1}) == [1] and time.monotonic() < until
        time.sleep(.3)


def test_killed_workers_under_load(serve):
    "kill -9 of a worker: requests in it are cut off (and those that connect while it goes), all others answered"
    ship(lambda X: X * 2, np.array([1.0, 2.0]), name="double", check=False)
    served = serve("double", "--workers", "2")
    stop, got = threading.Event(), []
    def client():
        while not stop.is_set():
            got.append(served.ask(4))
    clients = [threading.Thread(target=client, daemon=True) for _ in range(4)]
    for c in clients:
        c.start()
    try:
        for _ in range(3):
            time.sleep(.5)
            pid = min(served.workers())
            os.kill(pid, signal.SIGKILL)
            served.replaced(pid)
    finally:
        stop.set()
    for c in clients:
        c.join()
    assert set(map(str, got)) <= {"[8.0]", "closed"} and got.count("closed") <= 24 and len(got) > 100
    served.end()


def test_bench_measures_the_real_server(home, tmp_path):
    import json
    ship(lambda X: X * 2, np.array([1.0, 2.0]), name="double", check=False)
    done = subprocess.run([MLSHIP, "bench", "double", "--clients", "1,4", "--seconds", ".5", "--workers", "1",
                           "--price", "1", "-o", tmp_path / "b.json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "what limits it" in done.stdout and "a thousand requests cost" in done.stdout, done
    report = json.loads((tmp_path / "b.json").read_text())
    assert [level["clients"] for level in report["levels"]] == [1, 4]
    assert all(level["requests"] > 50 and level["failed"] == 0 and 0 < level["p50"] <= level["p99"] < 1
               for level in report["levels"])
    assert not [p for p in psutil.process_iter(["cmdline"]) if "double" in (p.info["cmdline"] or [])]


def test_where_each_worker_has_one_core_it_stays_there_and_its_successor_takes_it_over(serve):
    def double(x):
        return 2 * x
    ship(double, [1], name="double", check=False)
    cores = os.sched_getaffinity(0)
    served = serve("double", "--workers", str(len(cores)))

    def where():
        return {pid: os.sched_getaffinity(pid) for pid in served.workers()}
    before = where()
    assert sorted(map(sorted, before.values())) == [[c] for c in sorted(cores)]
    gone = min(before)
    os.kill(gone, signal.SIGKILL)
    served.replaced(gone)
    assert sorted(map(sorted, where().values())) == [[c] for c in sorted(cores)]
    served.end()
    if len(cores) > 1:      # fewer workers than cores: each may use all
        served = serve("double", "--workers", "1")
        assert list(where().values()) == [cores]


def test_the_successor_of_a_worker_that_grew_takes_its_core_once_that_has_ended(serve):
    def leaks(x, kept=[]):   # noqa: B006
        kept.append(bytearray(40_000_000))
        return x
    ship(leaks, [{"x": 1}], name="leaks", check=False)
    cores = os.sched_getaffinity(0)
    served = serve("leaks", "--max-memory", "400", "--workers", str(len(cores)))
    until = time.monotonic() + 60
    while served.workers() & served.pids == served.pids:
        assert served.ask({"x": 1}) == [1] and time.monotonic() < until
    while True:
        where = sorted(sorted(os.sched_getaffinity(pid)) for pid in served.workers() if psutil.pid_exists(pid))
        if where == [[c] for c in sorted(cores)]:
            break
        assert time.monotonic() < until, where
        time.sleep(.2)
