"""The small course: what students get, and the proof that it can be solved."""
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlship.course import load_course
from mlship.handout import build_course
from mlship.marking import mark_lesson, solution_of, with_parameters
from mlship.proof import verify_course
from mlship.student import check
from mlship.study import start

ROOT = Path(__file__).parent.parent
SMALL = ROOT / "tests" / "courses" / "small"


def mlship(*words):
    done = subprocess.run([sys.executable, "-c", "from mlship.cli import main; main()", *map(str, words)],
                          capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_every_exercise_holds():
    found = verify_course(load_course(SMALL)) + verify_course(load_course(SMALL), seeds=(1, 2), notebooks=False)
    assert [p for p in found if p.problems] == []


def test_a_course_is_named_by_a_path_from_here(tmp_path, monkeypatch):
    shutil.copytree(SMALL, tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    found = verify_course(load_course("small"), notebooks=False)
    assert {p.lesson for p in found} == {"01_numbers", "02_tables"} and not any(p.problems for p in found)


def test_an_exercise_that_gives_itself_away_is_found(tmp_path):
    shutil.copytree(SMALL, tmp_path / "small")
    book = tmp_path / "small" / "lessons" / "01_numbers.ipynb"
    book.write_text(book.read_text().replace("### GIVEN total = ...", "### GIVEN total = sum(xs)"))
    code, said = mlship("course", "verify", tmp_path / "small")
    assert code == 1 and "✗ 01_numbers total" in said and "as handed out" in said and "6 of 7" in said


def test_students_get_no_solution_and_no_hidden_test(tmp_path):
    code, said = mlship("course", "build", SMALL, "-o", tmp_path / "out", "--seed", 17)
    assert code == 0
    text = "".join(p.read_text() for p in (tmp_path / "out").rglob("*") if p.is_file())
    for secret in ("return sum(v)", "[-1, 1]", "HIDDEN", "SOLUTION", "fresh row", "polyfit(X",
                   "rubric"):
        assert secret not in text, secret
    book = json.loads((tmp_path / "out" / "01_numbers.ipynb").read_text())
    assert ["injected-parameters"] in [c["metadata"].get("tags") for c in book["cells"]] and "seed = 17" in text
    assert mlship("course", "build", SMALL, "-o", tmp_path / "out")[0] == 1


def authored():
    return sorted(p.parent for p in (ROOT / "courses").glob("*/course.toml"))


@pytest.mark.parametrize("course", authored(), ids=lambda p: p.name)
def test_a_course_of_ours_begins_by_its_name_without_its_solutions(course, tmp_path):
    "In a checkout; tests/test_package.py has the wheel. `make course` proves that it can be solved"
    folder, said = start(course.name, tmp_path / "mine")
    for lesson in load_course(course).lessons.values():
        assert said[f"{lesson.name}.ipynb"] == said[f"clean/{lesson.name}.ipynb"] == "new"
        given = "".join((folder / place / f"{lesson.name}.ipynb").read_text() for place in ("", "clean"))
        assert "BEGIN SOLUTION" not in given and "HIDDEN TESTS" not in given
        assert any(e.kind == "code" for e in lesson.exercises.values()) and "check(" in given
        for picture in re.findall(r"\]\((pictures/[^)]+)\)", given):
            assert (folder / picture).is_file(), picture


@pytest.mark.parametrize("lesson", ["01_numbers", "02_tables"])
def test_as_handed_out_everything_is_zero(lesson):
    found = load_course(SMALL).lessons[lesson]
    stubs = {n: "..." for n in solution_of(found)}
    marks = mark_lesson(found, stubs, isolation="limits")
    assert [m.score for m in marks] == [0] * len(marks) and "passed" not in [m.state for m in marks]


def setup_of(lesson, seed):
    "What a lesson's setup makes of a seed"
    space = {}
    for name, source in with_parameters(lesson, seed):
        exec("" if name else source, space)
    return space


def test_variants_differ_and_answers_with_them():
    lesson = load_course(SMALL).lessons["01_numbers"]
    def total(answer, seed):
        marks = mark_lesson(lesson, {"total": answer}, seed=seed, isolation="limits")
        return next(m.score for m in marks if m.exercise == "total")
    draw = random.Random(1)
    mine = sum(draw.randint(1, 9) for _ in range(5))
    assert total("total = sum(xs)", 1) == total("total = sum(xs)", 2) == 1
    assert total(f"total = {mine}", 1) == 1 and total(f"total = {mine}", 2) == 0


def test_check_in_the_notebook_that_was_handed_out(tmp_path):
    build_course(load_course(SMALL), tmp_path / "out", seed=3)
    book = json.loads((tmp_path / "out" / "01_numbers.ipynb").read_text())
    assert any('check("mean")' in c["source"] for c in book["cells"])
    def mean(v):
        if not v: raise ValueError("nothing to average")
        return sum(v) / len(v)
    names = setup_of(load_course(SMALL).lessons["01_numbers"], 3)
    def said(answer): return check("mean", names=names | {"mean": answer}, folder=tmp_path / "out")
    assert said(mean) and not said(lambda v: 0), (said(mean), said(lambda v: 0))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_watch_checks_again_on_save_and_knows_its_keys(tmp_path):
    import os
    import pty
    import select
    import time
    start(SMALL, tmp_path / "mine")
    pid, fd = pty.fork()
    if not pid:
        os.chdir(tmp_path / "mine")
        os.execv(sys.executable, [sys.executable, "-c", "from mlship.cli import main; main()", "course", "watch"])
    seen = b""
    def until(word):
        nonlocal seen
        end = time.monotonic() + 60
        while word not in seen and time.monotonic() < end:
            if select.select([fd], [], [], .5)[0]:
                try: seen += os.read(fd, 4096)
                except OSError: break
        assert word in seen, seen.decode()
        seen = b""
    try:
        until(b"7 to do")
        os.write(fd, b"h")
        until(b"hint: ")
        os.write(fd, b"l")
        until(b"model")
        book = tmp_path / "mine" / "01_numbers.ipynb"
        book.write_text(book.read_text().replace("total = ...", "total = sum(xs)"))
        until(b"6 to do")
        os.write(fd, b"q")
        assert os.waitpid(pid, 0)[1] == 0
    finally: os.close(fd)


@pytest.mark.parametrize("kind", ["course", "project", "paper"])
def test_what_new_makes_passes_its_own_tests(kind, tmp_path):
    code, said = mlship("new", kind, f"my-{kind}", "-o", tmp_path / "new")
    assert code == 0, said
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path / "new",
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout
    workflows = list((tmp_path / "new").rglob("*.yml"))
    assert len(workflows) == (3 if kind == "course" else 1)
    for file in workflows:   # tests/deployments lints them
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            assert all(("run" in s) != ("uses" in s) and "runs-on" in job for s in job["steps"]), file


def read(path): return json.loads(path.read_text(encoding="utf-8"))


def test_a_hosted_notebook_needs_one_install_cell(tmp_path):
    "Somebody else's kernel, its own files around it: install, start, go there; then every cell of the lesson runs"
    import nbformat.v4 as nb
    import papermill
    build_course(load_course(SMALL), tmp_path / "small")
    hosted, right = tmp_path / "content", solution_of(load_course(SMALL).lessons["01_numbers"])
    (hosted / "sample_data").mkdir(parents=True)
    lesson = read(tmp_path / "small" / "01_numbers.ipynb")
    for c in lesson["cells"]:
        name = c["metadata"].get("mlship", {}).get("exercise")
        if name and name != "why": c["source"] = right[name]
    # what %pip install does is done already; where a path stands here, the name of a course would
    program = Path(sys.executable).with_name("mlship")
    cell = nb.new_code_cell(f"!{program} course start {tmp_path / 'small'} small --no-open\n%cd small")
    (hosted / "01.ipynb").write_text(json.dumps(lesson | {"cells": [cell, *lesson["cells"]]}))
    papermill.execute_notebook(str(hosted / "01.ipynb"), str(hosted / "out.ipynb"), cwd=str(hosted),
                               progress_bar=False)
    said = [json.dumps(c["outputs"]) for c in read(hosted / "out.ipynb")["cells"] if "check" in c["metadata"].get(
        "mlship", {})]
    assert len(said) == 3 and all("\u2713" in s or "right" in s for s in said), said
    assert read(hosted / "small" / ".mlship" / "progress.json") == {"mean": True, "total": True, "which": True}
