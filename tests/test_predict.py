"""Files larger than memory, and runs that were killed: what only another process can show about mlship.predict."""
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlship.core import MlshipError, UsageError
from mlship.predict import predict_file
from mlship.shipping import load, ship

MODEL = """
def length(rows):
    "How long the text is, with a word about it"
    words = ['short, "so"' if len(r["text"]) < 5 else None for r in rows]
    return [{"n": len(r["text"]), "word": w, "x": r["age"] / 7} for r, w in zip(rows, words)]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    space = {}
    exec(MODEL, space)
    ship(space["length"], [{"text": "a", "age": 1.5}, {"text": "bcdefg", "age": 2.0}], name="length", store=store,
         check=False)
    return load("length", store=store)


def child(model, code, *args):
    "A Python that has loaded the model and then runs `code`"
    start = ("import sys, resource, mlship.predict as p; from mlship.shipping import load; "
             f"model = load('length', store={str(model.bundle.folder.parent.parent.parent)!r}); a = sys.argv[1:]\n")
    return subprocess.Popen([sys.executable, "-c", start + code, *map(str, args)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def write_rows(path, n, wide=40):
    text = ("ü,\"" * 25 + "\n") * (wide // 76 + 1)
    with open(path, "w", encoding="utf-8", newline="") as f:
        if path.suffix == ".csv":
            out = csv.writer(f)
            out.writerow(["id", "text", "age"])
            for i in range(n):
                out.writerow([f"{i:07}", text[:i % wide], "old" if i % 1000 == 7 else i / 3])
        else:
            for i in range(n):
                f.write(json.dumps({"id": i, "text": text[:i % wide], "age": "old" if i % 1000 == 7 else i / 3}) + "\n")
    return path


@pytest.mark.linux
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_file_larger_than_memory(model, tmp_path, ending):
    "190 MB or more with 100 MB to spare (the model is loaded already); as a whole it does not fit"
    source = write_rows(tmp_path / f"in.{ending}", 60_000, wide=4000)
    assert source.stat().st_size > 150 * 2**20
    limit = ("used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
             "resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20,) * 2)\n")
    whole = child(model, limit + "open(a[0], 'rb').read()", source)
    assert b"MemoryError" in whole.communicate(timeout=60)[1]
    chunks = child(model, limit + "print(p.predict_file(model, a[0], a[1], on_bad='skip').rows)", source,
                   tmp_path / f"out.{ending}")
    out, err = chunks.communicate(timeout=60)
    assert out.split() == [b"59940"], err.decode()[-2000:]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_killed_and_resumed(model, tmp_path, ending):
    "kill -9 twice in the middle; the end is byte for byte that of a run which nobody disturbed"
    source, target = write_rows(tmp_path / f"in.{ending}", 40_000), tmp_path / f"out.{ending}"
    whole = predict_file(model, source, tmp_path / f"whole.{ending}", on_bad="skip", batch_rows=300)
    assert (whole.rows, whole.bad) == (39_960, 40)
    target.write_text("as it was")
    state = tmp_path / f".out.{ending}.part.json"
    slow = ("import time; p.CHECKPOINT_S = 0\np.predict_file(model, a[0], a[1], on_bad='skip', batch_rows=300, "
            "force=True, resume=True, progress=lambda *_: time.sleep(.005))")

    def done():
        try:
            return json.loads(state.read_text())["rows"]
        except FileNotFoundError:
            return 0

    for until in (3_000, 15_000):
        run = child(model, slow, source, target)
        limit = time.monotonic() + 30
        while done() < until:
            assert run.poll() is None and time.monotonic() < limit, run.communicate()[1].decode()[-2000:]
            time.sleep(.002)
        if until == 3_000:
            with pytest.raises(UsageError, match=f"process {run.pid} is writing"):
                predict_file(model, source, target, force=True)
        run.kill()
        run.communicate()
        assert target.read_text() == "as it was"
    with open(tmp_path / f".out.{ending}.part", "ab") as f:
        f.write(b"what a crash left behind the last state")
    rest = predict_file(model, source, target, on_bad="skip", batch_rows=300, force=True, resume=True)
    assert rest.rows == whole.rows and rest.bad == whole.bad and 15_000 <= rest.resumed < 40_000
    assert target.read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    assert rest.bad_file.read_bytes() == whole.bad_file.read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="no limits on Windows")
def test_no_room(model, tmp_path):
    "A write that fails in the middle: an error of ours, no target, and on it goes when there is room"
    source, target = write_rows(tmp_path / "in.csv", 20_000), tmp_path / "out.csv"
    code = ("p.CHECKPOINT_S = 0; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000,) * 2)\n"
            "try: p.predict_file(model, a[0], a[1], on_bad='skip', batch_rows=500)\n"
            "except p.MlshipError as e: print(e)")
    out, err = child(model, code, source, target).communicate(timeout=60)
    assert b"File too large" in out and b"resume=True" in out, (out, err.decode()[-2000:])
    assert not target.exists()
    assert predict_file(model, source, target, on_bad="skip", batch_rows=500, resume=True).resumed > 0
    predict_file(model, source, tmp_path / "whole.csv", on_bad="skip", batch_rows=500)
    assert target.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent otherwise on Windows")
def test_interrupted(model, tmp_path):
    "Ctrl-C before anything was kept leaves nothing at all"
    source = write_rows(tmp_path / "in.csv", 5_000)
    run = child(model, "import time\np.predict_file(model, a[0], a[1], on_bad='skip', batch_rows=100, "
                "progress=lambda *_: (print('.', flush=True), time.sleep(.05)))", source, tmp_path / "out.csv")
    run.stdout.readline()
    run.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in run.communicate(timeout=30)[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv"]


odd = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.tuples(odd, odd, st.floats(-1e9, 1e9)), min_size=1, max_size=8),
       eol=st.sampled_from(["\n", "\r\n"]), bom=st.booleans(), tab=st.booleans(), batch=st.integers(1, 4))
def test_odd_texts_come_through(model, tmp_path, rows, eol, bom, tab, batch):
    "Whatever a cell holds, the model gets it, and the output has it"
    source, target = (tmp_path / f"{n}.{'tsv' if tab else 'csv'}" for n in ("in", "out"))
    text = io.StringIO(newline="")
    out = csv.writer(text, delimiter="\t" if tab else ",", quoting=csv.QUOTE_ALL, lineterminator=eol)
    out.writerow(["text", "ïd, \"x\"", "age"])
    out.writerows((a, b, repr(age)) for a, b, age in rows)
    source.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode())
    predict_file(model, source, target, batch_rows=batch, force=True)
    with open(target, encoding="utf-8-sig", newline="") as f:
        head, *back = csv.reader(f, delimiter="\t" if tab else ",", strict=True)
    assert head == ["text", "ïd, \"x\"", "age", "prediction.n", "prediction.word", "prediction.x"]
    assert [r[:3] for r in back] == [[a, b, repr(age)] for a, b, age in rows]
    assert [int(r[3]) for r in back] == [len(a) for a, _, _ in rows]
    assert [float(r[5]) for r in back] == [age / 7 for _, _, age in rows]


def test_the_errors_are_ours(model, tmp_path):
    "Noise of many kinds as a file: an answer or an MlshipError, never anything else"
    dice = random.Random(0)
    good = b'id,text,age\n1,"a,\nb",2.5\n2,c,3\n'
    for ending in ("csv", "jsonl", "tsv", "parquet"):
        for _ in range(150):
            data = bytearray(b'{"text": "a", "age": 1}\n{"text": "b", "age": 2, "z": []}\n' if ending == "jsonl" else
                             b'id\ttext\tage\n1\ta\t2.5\n' if ending == "tsv" else good)
            for _ in range(dice.randint(0, 4)):
                at = dice.randrange(len(data) + 1)
                data[at:at + dice.randint(0, 3)] = dice.choice([b'"', b"\n", b"\xff", b",", b"\r", b"", b"{", b"1e999"])
            source = tmp_path / f"in.{ending}"
            source.write_bytes(bytes(data))
            for on_bad in ("stop", "skip"):
                try:
                    predict_file(model, source, tmp_path / f"out.{ending}", on_bad=on_bad, force=True)
                except MlshipError as e:
                    assert e.message and e.fix
                assert not list(tmp_path.glob(".*"))
