"""Grading from end to end: what students hand in, odd, broken or dishonest, through `mlship grade`."""
import csv
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
import xml.etree.ElementTree as tree
from pathlib import Path

import pytest

from mlship.answers import Answers, choose_isolation
from mlship.checking import run_checks
from mlship.course import load_course, solved
from mlship.handout import for_students
from mlship.marking import solution_of

SMALL = Path(__file__).parent / "courses" / "small"
WALL = "strict" if choose_isolation("auto") == "full" else "limits"
LESSON = load_course(SMALL).lessons["01_numbers"]


def mlship(*words, **more):
    done = subprocess.run([sys.executable, "-c", "from mlship.cli import main; main()", *map(str, words)],
                          capture_output=True, text=True, timeout=300, **more)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def book(**answers):
    "The first lesson as it was handed out, with these answers in it"
    nb = json.loads(for_students(load_course(SMALL))["01_numbers.ipynb"])
    for c in nb["cells"]:
        name = c["metadata"].get("mlship", {}).get("exercise")
        if name in answers:
            c["source"] = answers[name]
    return nb


RIGHT = {n: solved(s) for n, s in solution_of(LESSON).items() if n != "why"}
CHEATS = {
    "exits": "import sys; sys.exit(0)",
    "kills": "import os; os._exit(0)",
    "claims": "class Yes:\n    def __eq__(self, o): return True\n    def __call__(self, *a): return self\nmean = Yes()",
    "prints": "print('{\"score\": 4}')\ndef mean(v): return 0",
    "patches": "import mlship.checking as c\nc.expect = lambda *a: None\ndef mean(v): return 0",
    "hangs": "while True: pass",
    "eats": "mean = [1] * 10**11",
}


def answer(c): return c["metadata"].get("mlship", {}).get("exercise")


def only_answers(nb):
    "Nothing else is left, neither ids nor metadata"
    cells = [c for c in nb["cells"] if answer(c)]
    return nb | {"cells": [dict(cell_type="code", source=f"#| exercise: {answer(c)}\n{c['source']}") for c in cells]}


def renamed(nb):
    "Marks and metadata are gone, as from another editor; only the ids are as they were"
    return nb | {"cells": [c | {"metadata": {}, "source": c["source"].replace("#| exercise: mean", "# my mean")}
                           for c in nb["cells"]]}


def helpers(nb):
    "The answer needs a cell of the student's own; other such cells fail, never end, or are no Python"
    own = ["%matplotlib inline\nimport math", "def add(v): return math.fsum(v)", "while True: pass", "1/0", "def no(:"]
    cells = [c | {"source": c["source"].replace("sum(v)", "add(v)")} for c in nb["cells"]]
    return nb | {"cells": [dict(cell_type="code", metadata={}, source=s, outputs=[]) for s in own] + cells}


def copied(nb):
    "The first try is still there, above"
    first = [c | {"source": "#| exercise: mean\ndef mean(v): return 0"} for c in nb["cells"] if answer(c) == "mean"]
    return nb | {"cells": first + nb["cells"]}


def rewritten(nb):
    "The answer cell was deleted, and written anew"
    cells = [c | {"metadata": {}, "id": "new", "source": c["source"].replace("#| exercise: mean", "")}
             if answer(c) == "mean" else c for c in nb["cells"]]
    return nb | {"cells": cells}


def noisy(nb):
    said = [dict(output_type="stream", name="stderr", text=["Warning!\n" * 1000])]
    return nb | {"cells": [c | {"outputs": said} if c["cell_type"] == "code" else c for c in nb["cells"]]}


ODD = {f.__name__: f for f in (only_answers, renamed, helpers, copied, rewritten, noisy)}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    "One run over everything, and its folder"
    place = tmp_path_factory.mktemp("grade")
    for who, answer in CHEATS.items():
        put(place / "in" / who, book(**RIGHT | {"mean": answer}))
    put(place / "in" / "ada", book(**RIGHT))
    crlf = json.dumps(book(**{n: a.replace("\n", "\r\n") for n, a in RIGHT.items()}), indent=1).replace("\n", "\r\n")
    put(place / "in" / "crlf", crlf)
    cells = [dict(cell_type="code", input=a, language="python", outputs=[]) for a in RIGHT.values()]
    put(place / "in" / "old", dict(worksheets=[dict(cells=cells)], nbformat=3, nbformat_minor=0, metadata={}))
    odd = book(**RIGHT)   # no checks any more, the first lines of answers deleted, cells of the student's own
    odd["cells"] = [c | {"source": c["source"].partition("\n")[2]} if c["source"].startswith("#| exercise") else c
                    for c in odd["cells"] if "check" not in c["metadata"].get("mlship", {})]
    odd["cells"].insert(0, dict(cell_type="code", source="1/0", metadata={}, outputs=[], execution_count=None))
    put(place / "in" / "odd", odd)
    put(place / "in" / "broken", "{")
    for who, made in ODD.items(): put(place / "in" / who, made(book(**RIGHT)))
    (place / "in" / "linked").mkdir()   # to the solutions: not the student's, so not read
    (place / "in" / "linked" / "01_numbers.ipynb").symlink_to(SMALL.resolve() / "lessons" / "01_numbers.ipynb")
    with zipfile.ZipFile(place / "in" / "canvas.zip", "w") as z:
        z.writestr("hoppergrace_LATE_4711_99_01_numbers-1.ipynb", json.dumps(book(**RIGHT)))
    (place / "roster.csv").write_text("id,name\nada,Ada Lovelace\ngrace,Grace Hopper\nnobody,N. N.\n")
    started = time.time()
    code, said = mlship("grade", place / "in", "--course", SMALL, "-o", place / "out", "--jobs", 2, "--isolation", WALL,
                        "--roster", place / "roster.csv", env={**os.environ,
                                                               "GITHUB_STEP_SUMMARY": str(place / "step.md")})
    assert code == 0, said
    return place, json.loads((place / "out" / "gradebook.json").read_text()), said, time.time() - started


def put(folder, nb):
    folder.mkdir(parents=True)
    (folder / "01_numbers.ipynb").write_bytes((nb if isinstance(nb, str) else json.dumps(nb)).encode())


def mark(graded, who, exercise="mean"):
    return next(m for m in graded[1]["students"][who]["lessons"]["01_numbers"]["marks"] if m["exercise"] == exercise)


@pytest.mark.parametrize("who", CHEATS)
def test_a_cheat_earns_nothing_and_costs_nobody_else(graded, who):
    assert mark(graded, who)["score"] == 0
    assert graded[1]["students"][who]["lessons"]["01_numbers"]["score"] == 2, "the others of this student count"


@pytest.mark.parametrize("who", ["ada", "crlf", "old", "odd", "grace", *ODD])
def test_honest_but_odd_keeps_its_marks(graded, who):
    assert graded[1]["students"][who]["lessons"]["01_numbers"]["score"] == 6, mark(graded, who)


def test_a_link_to_the_solutions_is_not_read(graded):
    assert "linked" not in graded[1]["students"]


def test_what_went_wrong_is_told_apart(graded):
    states = {who: mark(graded, who)["state"] for who in ("hangs", "kills", "eats", "broken", "prints", "nobody")}
    assert states == dict(hangs="timed out", kills="kernel died", eats="out of memory", broken="not run",
                          prints="failed", nobody="not run")
    assert mark(graded, "ada", "why")["state"] == "not run"


def test_reports(graded):
    place, found, said, _ = graded
    out = place / "out"
    rows = {r["student"]: r for r in csv.DictReader((out / "gradebook.csv").open())}
    assert rows["ada"]["01_numbers.mean"] == "4.0" and rows["ada"]["name"] == "Ada Lovelace"
    assert ["Grace Hopper", "4711", "", "grace"] in [r[:4] for r in csv.reader((out / "canvas.csv").open())]
    assert len(tree.parse(out / "junit.xml").getroot()) == len(found["students"])
    assert "| ada |" in (place / "step.md").read_text() and f"isolation: {'full' if WALL == 'strict' else WALL}" in said
    page = (out / "students" / "prints" / "feedback.html").read_text()
    assert "failed, 0 of 4" in page and "[-1, 1]" not in page
    assert json.loads((out / "students" / "ada" / "results.json").read_text())["score"] == 6
    ours = json.loads((out / "students" / "ada" / "result.json").read_text())
    assert ours["schema"] == "classroom50/result/v1" and isinstance(ours["score"], int)
    items = {r["exercise"]: r for r in csv.DictReader((out / "items.csv").open())}
    assert int(items["total"]["passed"]) == 12 + len(ODD)


def test_again_is_quick_and_a_corrected_check_shows_every_changed_mark(graded, tmp_path):
    place, found, _, first = graded
    shutil.copytree(place / "out", tmp_path / "out")
    started = time.time()
    words = ["grade", place / "in", "--course", SMALL, "-o", tmp_path / "out", "--isolation", WALL]
    assert mlship(*words)[0] == 0 and time.time() - started < first
    shutil.copytree(SMALL, tmp_path / "small")
    file = tmp_path / "small" / "lessons" / "01_numbers.ipynb"
    file.write_text(file.read_text().replace("expect(total, sum(xs))", "expect(total, -1)"))
    assert "expect(total, -1)" in file.read_text()
    words[words.index(SMALL)] = tmp_path / "small"
    code, said = mlship(*words, "--exercise", "total", "--jobs", 2, input="n\n")
    assert code and "ada  01_numbers.total: 1 → 0" in said
    assert json.loads((tmp_path / "out" / "gradebook.json").read_text())["students"]["ada"]["score"] == 6
    assert mlship(*words, "--exercise", "total", "--yes")[0] == 0
    assert json.loads((tmp_path / "out" / "gradebook.json").read_text())["students"]["ada"]["score"] == 5


def test_shards_join(graded, tmp_path):
    place, found, *_ = graded
    for i in (1, 2):
        shutil.copytree(place / "out" / "marks", tmp_path / str(i) / "marks")
        assert mlship("grade", place / "in", "--course", SMALL, "--shard", f"{i}/2", "-o", tmp_path / str(i),
                      "--isolation", WALL, "--roster", place / "roster.csv")[0] == 0
    assert mlship("grade", "merge", tmp_path / "1", tmp_path / "2", "-o", tmp_path / "all")[0] == 0
    whole = json.loads((tmp_path / "all" / "gradebook.json").read_text())
    assert {w: s["score"] for w, s in whole["students"].items()} == \
           {w: s["score"] for w, s in found["students"].items()}


def test_bad_words_are_answered(tmp_path):
    assert "nothing at" in mlship("grade", tmp_path / "no", "--course", SMALL)[1]
    assert mlship("grade", tmp_path, "--course", SMALL, "--shard", "3/2")[0] == 2
    assert "no exercise" in mlship("grade", tmp_path, "--course", SMALL, "--exercise", "no")[1]
    assert "no gradebook" in mlship("grade", "merge", tmp_path, "-o", tmp_path / "x")[1]


@pytest.mark.parametrize("wall", sorted({"limits", choose_isolation("auto")}))
def test_a_shipped_product_is_asked_by_http(wall, monkeypatch, tmp_path):
    monkeypatch.setenv("MLSHIP_HOME", str(tmp_path))
    ships = "from mlship import ship\ndef double(x): return {}\nship(double, 1.0, name='double')"
    asks = ["expect(product('double').predict([4]), [8])\nassert product('double').ask('GET', '/livez')[0] == 200"]
    for formula, share in (("2 * x", 1), ("3 * x", 0)):
        with Answers([("p", ships.format(formula))], isolation=wall, seconds=60) as ask:
            found = run_checks("p", asks, {}, ask)
        assert found["share"] == share, found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("runuser"),
                    reason="becomes nobody, which only root can")
def test_isolation_without_root():
    nobody = ["runuser", "-u", "nobody", "--"]
    tried = subprocess.run([*nobody, sys.executable, "-c", "import mlship.answers"], cwd="/", capture_output=True)
    if tried.returncode:
        pytest.skip("nobody may not read this interpreter")
    code = """if True:
        import sys
        from mlship.answers import Answers, isolation_here
        from mlship.checking import run_checks
        if isolation_here() != "full": sys.exit(77)
        def told(source):
            with Answers([("a", source)], seconds=10) as ask:
                if "a" in ask.states: return ask.states["a"][0]
                return run_checks("a", ["expect(f(), 1)"], {}, ask)["state"]
        assert told("def f(): return 1") == "passed"
        for no in ("open('/etc/passwd')", "open('/x', 'w')", "import os; os.chroot('/tmp')"):
            assert told(no) == "error", no"""
    done = subprocess.run([*nobody, sys.executable, "-c", code], cwd="/", capture_output=True, text=True, timeout=120,
                          env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "MLSHIP_HOME": "/nonexistent"})
    if done.returncode == 77:
        pytest.skip("only root may make namespaces here")
    assert done.returncode == 0, done.stderr
