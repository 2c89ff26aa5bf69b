"""How a server ends: at once, with exit code 0, leaving no process and no port, whoever is told and whenever."""
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from served import lives

from mlship.shipping import ship

MLSHIP = str(Path(sys.executable).parent / "mlship")
pytestmark = [pytest.mark.e2e, pytest.mark.linux, pytest.mark.alone]


@pytest.fixture
def same(home):
    return ship(lambda x: x, [1], name="same", check=False)


def started():
    "A server at the head of a group of its own, as a terminal or systemd starts it"
    return subprocess.Popen([MLSHIP, "serve", "same", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, start_new_session=True)


def group(pid):
    return [p for p in psutil.process_iter() if _group_of(p) == pid and lives(p)]


def _group_of(process):
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


HOW = {
    "sigterm": lambda p: p.send_signal(signal.SIGTERM),
    "sigint": lambda p: p.send_signal(signal.SIGINT),
    "ctrl-c in a terminal": lambda p: os.killpg(p.pid, signal.SIGINT),
    "systemd": lambda p: os.killpg(p.pid, signal.SIGTERM),
    "twice": lambda p: [os.killpg(p.pid, s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM)],
}


@pytest.mark.parametrize("how", HOW)
def test_it_ends_at_once(same, how):
    # two signals in the instant in which Granian's worker installs its handlers can cost its 30 s: rare, not ours
    for wait in (.3, .3, .5, .5) if how in ("systemd", "twice") else (0, 0, .3, .3):
        process = started()
        assert process.stdout.readline().startswith("http://"), process.communicate()[1]
        time.sleep(wait)
        said = time.monotonic()
        HOW[how](process)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0 and time.monotonic() - said < 5, err
        assert "error" not in err and "Traceback" not in err and not group(process.pid)


@pytest.mark.parametrize("how", ["sigterm", "ctrl-c in a terminal"])
def test_it_can_be_stopped_while_it_starts(same, how):
    "At eight moments of the start, from before the workers are forked to after they answer"
    for tenth in range(8):
        process = started()
        time.sleep(.15 + .07 * tenth)
        said = time.monotonic()
        HOW[how](process)
        out, err = process.communicate(timeout=20)
        assert time.monotonic() - said < 5, (tenth, err)
        assert process.returncode in (0, 130, -signal.SIGTERM, -signal.SIGINT), (tenth, process.returncode, err)
        assert "error" not in err and not group(process.pid)


def test_workers_do_not_outlive_a_killed_parent(same):
    process = started()
    port = int(re.search(r":(\d+)", process.stdout.readline())[1])
    assert len(group(process.pid)) == 3
    process.kill()
    process.communicate(timeout=20)
    until = time.monotonic() + 10
    while group(process.pid) and time.monotonic() < until:
        time.sleep(.05)
    assert not group(process.pid)
    again = subprocess.Popen([MLSHIP, "serve", "same", "--port", str(port)], stdout=subprocess.PIPE, text=True)
    assert again.stdout.readline().strip() == f"http://127.0.0.1:{port}"
    again.terminate()
    assert again.wait(20) == 0


def test_a_running_request_is_answered_before_the_end(home, tmp_path):
    import json
    import threading
    import urllib.request

    def slow(x):
        import time
        time.sleep(1 if x == 7 else 0)
        return x
    ship(slow, [1], name="same", check=False)
    process = started()
    url, got = process.stdout.readline().strip(), []

    def ask():
        request = urllib.request.Request(url + "/predict", b'{"inputs": [7]}', {"content-type": "application/json"})
        with urllib.request.urlopen(request) as r:
            got.append(json.loads(r.read())["predictions"])
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    time.sleep(.5)
    os.killpg(process.pid, signal.SIGINT)
    asking.join(20)
    process.communicate(timeout=20)
    assert got == [[7]] and process.returncode == 0
