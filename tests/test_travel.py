"""Bundles that travel: a killed push or pull, an S3-compatible server, and two people who never share a home."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest

from mlship.core import Damaged, MlshipError, NotFound, UsageError
from mlship.pack import pack, unpack
from mlship.shipping import ship
from mlship.store import Store
from mlship.travel import Remote, pull, push

MLSHIP = [sys.executable, "-m", "mlship.cli"] if os.name == "nt" else [str(Path(sys.executable).parent / "mlship")]
KILL = """
import os, signal, sys
import mlship.travel as t
from mlship.store import Store
t.PART, left, what = 4096, int(sys.argv[1]), sys.argv[2]
def watch(event, args):
    global left
    if event in ("os.rename", "os.link") and not str(args[1]).endswith(".gone"):
        left -= 1
        if left < 0: os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
if what == "push": t.push(Store().open("big"), sys.argv[3])
else: t.pull("big", sys.argv[3], store=sys.argv[4])
"""


@pytest.fixture
def big(home):
    noise = os.urandom(40_000)

    def model(X):
        return [x + noise[0] for x in X]
    return ship(model, [1.0, 2.0], name="big", check=False)


def python(*args):
    return subprocess.run([sys.executable, "-c", *map(str, args)], capture_output=True, text=True, timeout=120)


@pytest.mark.faults
@pytest.mark.skipif(os.name == "nt", reason="kills with SIGKILL")
def test_killed_at_every_step_of_a_push_and_a_pull(big, tmp_path):
    there, killed = tmp_path / "there", 0
    while True:
        done = python(KILL, killed, "push", there)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        with pytest.raises(NotFound):  # no half version for a reader
            pull("big", there, store=tmp_path / "none")
        killed += 1
        if killed > 40:
            raise AssertionError("each push starts at the beginning: what was there is sent again")
    assert killed > 3   # pieces of 4 kB, and each push got one step further
    store, killed = tmp_path / "store", 0
    while True:
        done = python(KILL, killed, "pull", there, store)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL and not Store(store).versions("big"), done.stderr
        killed += 1
    assert killed > 3
    assert Store(store).open("big@1").load().predict([1.0]) == big.load().predict([1.0])
    assert not list((store / ".incoming").iterdir())


@pytest.fixture(scope="module")
def s3():
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(AWS_ENDPOINT_URL=f"http://{host}:{port}", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y",
                      AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true")
    Remote("s3://models/x").fs.mkdir("models")
    yield "s3://models"
    server.stop()
    os.environ.clear()
    os.environ.update(before)


def test_over_s3(s3, big, tmp_path):
    url = f"{s3}/one"
    first = push(big, url)
    assert first.sent == big.size and push(big, url).sent == 0
    assert pull("big", url, store=tmp_path / "a").load().predict([1.0]) == big.load().predict([1.0])
    again = ship(big.load().model, [1.0, 2.0], name="big", notes="again", check=False)
    assert push(again, url).there > 40_000   # the model itself is there
    assert pull("big", url, store=tmp_path / "a").ref == "big@2"
    with pytest.raises(UsageError, match="another big@1"):
        push(ship(lambda X: X, [1.0], name="big", check=False, store=tmp_path / "b"), url)


class Line:
    "A line to the other end that is cut after some puts or gets, and what went over it"
    def __init__(self, monkeypatch, name, left):
        self.went, real = [], getattr(Remote, name)

        def over(remote, path, *args, **kwargs):
            if len(self.went) == left:
                raise ConnectionError("the line is dead")
            self.went.append(path)
            return real(remote, path, *args, **kwargs)
        monkeypatch.setattr(Remote, name, over)

    @property
    def pieces(self):
        return [p for p in self.went if "/parts/" in p]


def test_a_broken_line_to_s3_and_back(s3, big, tmp_path, monkeypatch):
    url, store = f"{s3}/two", tmp_path / "a"
    with monkeypatch.context() as m:
        Line(m, "put", 2)
        with pytest.raises(MlshipError, match="the line is dead"):
            push(big, url)
    with pytest.raises(NotFound):
        pull("big", url, store=store)
    rest = push(big, url)
    assert rest.there > 0 and rest.sent + rest.there == big.size
    with monkeypatch.context() as m:
        first = Line(m, "get", 3)  # the record, and two pieces
        with pytest.raises(MlshipError, match="the line is dead"):
            pull("big", url, store=store)
    assert len(first.pieces) == 2 and not Store(store).versions("big")
    with monkeypatch.context() as m:
        second = Line(m, "get", -1)
        pull("big", url, store=store)
    assert second.pieces and not set(first.pieces) & set(second.pieces), "a piece was fetched twice"


def test_only_one_of_many_pushes_gets_a_number(s3, home, tmp_path):
    "Eight different bundles of the same number, at once, to a bucket and to a folder"
    bundles = [ship(lambda X, i=i: [i for _ in X], [1.0], name="race", check=False, store=tmp_path / f"s{i}")
               for i in range(8)]
    for url in (f"{s3}/race", str(tmp_path / "race")):
        won = []

        def go(b):
            with contextlib.suppress(UsageError):
                push(b, url)
                won.append(b)
        threads = [threading.Thread(target=go, args=(b,)) for b in bundles]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(won) == 1
        got = pull("race", url, store=tmp_path / f"got{len(url)}")
        assert (got.folder / "bundle.json").read_bytes() == (won[0].folder / "bundle.json").read_bytes()


def test_no_bucket_and_nobody_there(s3, big, monkeypatch):
    with pytest.raises(MlshipError, match="bucket does not exist"):
        push(big, "s3://no-such-bucket/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(MlshipError, match="Could not connect") as e:
        push(big, f"{s3}/three")
    assert "goes on where it stopped" in e.value.fix


@pytest.mark.e2e
def test_from_one_home_to_another_by_a_file(big, tmp_path):
    def cli(*words, home=None):
        env = {**os.environ, "MLSHIP_HOME": str(home)} if home else None
        return subprocess.run([*MLSHIP, *map(str, words)], capture_output=True, text=True, env=env, cwd=tmp_path,
                              timeout=60)
    assert cli("pack", "big").returncode == 0
    file, you = tmp_path / "big-1.mlship", tmp_path / "you"
    refused = cli("install", file, home=you)
    assert refused.returncode == 4 and "mlship key add 'mlship-ed25519" in refused.stderr
    assert cli("trust", big.signed_by.text, "--name", "Ann", home=you).returncode == 0
    assert "big@1" in cli("install", file, home=you).stdout and "big@1" in cli("list", home=you).stdout
    assert "trusted" in cli("show", file, home=you).stdout   # and without installing
    file.write_bytes(file.read_bytes()[:-500])
    cut = cli("install", file, home=tmp_path / "third")
    assert cut.returncode == 5 and "cut off" in cut.stderr and "Traceback" not in cut.stderr
    assert cli("key", "revoke", big.signed_by.id, home=you).returncode == 0
    push(big, tmp_path / "shared")
    revoked = cli("pull", "big", tmp_path / "shared", "--store", tmp_path / "s", home=you)
    assert revoked.returncode == 4 and "revoked" in revoked.stderr and not Store(tmp_path / "s").names()


def test_a_damaged_pack_is_refused_or_still_the_same(home, tmp_path):
    "Flipped bits anywhere, and more of them where the ZIP's table of contents is; cut off anywhere"
    rng, seen = random.Random(0), Counter()
    whole, broken = tmp_path / "m.mlship", tmp_path / "broken.mlship"
    pack(ship(lambda X: X, [1.0, 2.0], name="m", check=False), whole)

    def content(path):
        with tempfile.TemporaryDirectory() as folder:
            unpack(path, folder)
            return {f.relative_to(folder): f.read_bytes() for f in Path(folder).rglob("*") if f.is_file()}
    right, data = content(whole), whole.read_bytes()
    for i in range(600):
        bad = bytearray(data)
        bad[rng.randrange(len(bad)) if i % 2 else len(bad) - 1 - rng.randrange(700)] ^= 1 << rng.randrange(8)
        broken.write_bytes(bad[:rng.randrange(len(bad))] if i % 5 == 0 else bad)
        try:
            assert content(broken) == right   # a date in the table of contents, for example
            seen["same"] += 1
        except Damaged as e:
            assert "broken.mlship" in e.message and e.fix
            seen["refused"] += 1
    assert seen["refused"] > 400 and seen["same"] > 4, seen
