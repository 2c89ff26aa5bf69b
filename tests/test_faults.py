"""ship() is killed at every file operation; many ship at once; the disk is full: the store is whole, always."""
import json
import multiprocessing
import os
import signal
import sys

import pytest

from mlship.core import MlshipError
from mlship.shipping import load, ship
from mlship.store import Store

pytestmark = pytest.mark.faults
posix = pytest.mark.skipif(os.name == "nt", reason="kills with SIGKILL and forks")
WATCHED = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.unlink", "shutil.rmtree"}


def ship_factor(factor):
    def times(X):
        return [factor * x for x in X]
    return ship(times, [1.0, 2.0], name="times", check=False)


def killed_at(operation, home):
    "In a forked child: ship, and be killed before the file operation with this number; True if it got that far"
    pid = os.fork()
    if pid == 0:
        count = 0

        def watch(event, args):
            nonlocal count
            writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (event in WATCHED or writes) and str(args[0]).startswith(home):
                count += 1
                if count == operation:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        try:
            ship_factor(operation + 2)
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "ship() failed by itself"
    return os.WIFSIGNALED(status)


@posix
@pytest.mark.parametrize("before", [0, 1], ids=["empty store", "a version there"])
def test_killed_at_every_file_operation(home, before):
    if before:
        ship_factor(1)
    operation, had, factors = 1, Store().versions("times"), {1: 1} if before else {}
    while killed_at(operation, str(home)):
        store, versions = Store(), Store().versions("times")
        assert set(versions) >= set(had) and len(versions) <= len(had) + 1
        for v in versions:
            store.open(f"times@{v}").verify()
        factors |= {v: operation + 2 for v in set(versions) - set(had)}
        assert {v: load(f"times@{v}").predict([1.0])[0] for v in versions} == factors
        had, operation = versions, operation + 1
    assert operation > 10, "too few file operations were seen: the test does not test"
    next_one = ship_factor(7)
    assert load(next_one.ref).predict([1.0]) == [7.0]
    assert any("leftover" in what for what, _ in Store().gc())
    assert not list((Store().folder / ".staging").iterdir())
    assert Store().gc() == [] and load(next_one.ref).predict([2.0]) == [14.0]


def _ship_many(home, factor, n):
    os.environ["MLSHIP_HOME"] = home
    for _ in range(n):
        ship_factor(factor)


def test_many_processes_ship_the_same_name(home):
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_ship_many, args=(str(home), factor, 5)) for factor in (2, 3, 4, 5)]
    for c in children:
        c.start()
    for c in children:
        c.join()
    assert [c.exitcode for c in children] == [0] * 4
    assert Store().versions("times") == list(range(1, 21))
    answers = sorted(load(f"times@{v}").predict([1.0])[0] for v in Store().versions("times"))
    assert answers == sorted([2.0, 3.0, 4.0, 5.0] * 5)


@posix
def test_a_write_that_fails(home):
    "A limit on file size stands in for a full disk: the first ship that does not fit says so and leaves nothing"
    first = ship_factor(2)
    pid = os.fork()
    if pid == 0:
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        big = list(range(100_000))
        try:
            ship(lambda X: [big[0] + x for x in X], [1.0, 2.0], name="times", check=False)
            os._exit(3)
        except OSError:
            os._exit(4)
        except MlshipError as e:
            os._exit(0 if e.fix and "could not be written" in e.message else 5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert Store().versions("times") == [1] and not list((Store().folder / ".staging").iterdir())
    assert load(first.ref).predict([1.0]) == [2.0]


def test_a_store_that_cannot_be_written(home):
    (home / "store").write_text("a file where the folder should be")
    with pytest.raises(MlshipError) as e:
        ship_factor(2)
    assert "store" in e.value.message and e.value.fix


def test_a_half_written_log_line(home):
    "A crash in the middle of the release log does not hide the rest of it"
    from mlship.release import history, promote
    ship_factor(2)
    ship_factor(3)
    promote(Store(), "times@1")
    log = Store().folder / "times" / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"when": "now"})[:7] + "\n")
    promote(Store(), "times@2")
    assert [h["to"] for h in history(Store(), "times")] == [1, 2]
