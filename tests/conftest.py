"""What every test shares: a store, keys and settings of their own, gone afterwards."""
import os
import shutil
import signal
import sys
import tempfile

import pytest

# before any test imports mlship: a developer's own home takes no part, and is not changed
HOME = tempfile.mkdtemp(prefix="mlship-test-")
os.environ["MLSHIP_HOME"] = HOME
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background: children would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("MLSHIP_STORE", "IN_TEST"):
    os.environ.pop(name, None)


@pytest.fixture
def home(tmp_path, monkeypatch):
    "A store, keys and settings for one test alone"
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("MLSHIP_HOME", str(place))
    return place


@pytest.fixture
def serve(home):
    "Starts real servers: `serve(ref, *options)` gives a `served.Served`, which ends with the test"
    from served import Served
    started = []
    def start(*options):
        started.append(Served(*options))
        return started[-1]
    yield start
    for s in started:
        if s.process.poll() is None:
            s.end()


def pytest_unconfigure(config):
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_collection_modifyitems(config, items):
    if sys.platform.startswith("linux"):
        return
    for item in items:
        if item.get_closest_marker("linux"):
            item.add_marker(pytest.mark.skip(reason="needs Linux"))
