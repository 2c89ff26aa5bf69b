"""Twenty submissions of one lesson, through mlship, nbgrader, otter and papermill: how long, and what they say.

    python benchmarks/grade.py                       all; each peer gets an environment of its own (minutes, at first)
    python benchmarks/grade.py mlship papermill --small    some of them, five submissions

10 are right, 5 wrong, 3 raise, 2 never end (a limit of 10 s a cell where the grader has one). otter has none: its two
endless ones are stopped after 60 s. Writes docs/grade.json and docs/grade.md. Run nothing else meanwhile.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from serve import DOCS, python_of

ANSWER = "def centre(A):\n    return A - A.mean(axis=0)"
KINDS = {"right": ANSWER, "wrong": "def centre(A):\n    return A",
         "raises": "def centre(A):\n    raise ValueError('no')",
         "endless": "def centre(A):\n    while True: pass"}
READING = ["import numpy as np\nfrom sklearn.datasets import load_iris\n"
           "from sklearn.linear_model import LogisticRegression",
           "X, y = load_iris(return_X_y=True)", "X.shape", "model = LogisticRegression(max_iter=500).fit(X, y)",
           "model.score(X, y)"]
TESTS = "assert abs(centre(X).mean()) < 1e-9\nassert np.allclose(centre(X).std(), (X - X.mean(axis=0)).std())"
LIMIT = 10


def cell(source, kind="code", **metadata):
    return dict(cell_type=kind, source=source, metadata=metadata, id=f"c{abs(hash((source, kind))) % 10**9}") | (
        dict(outputs=[], execution_count=None) if kind == "code" else {})


def write(path, cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=cells, nbformat=4, nbformat_minor=5, metadata=dict(
        kernelspec=dict(name="python3", display_name="Python 3", language="python")))))
    return path


def call(*words, cwd=None, limit=600):
    "Its output and whether it ended in time"
    env = os.environ | {"PATH": f"{Path(words[0]).parent}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, timeout=limit)
        return done.stdout + done.stderr, True
    except subprocess.TimeoutExpired:
        return "", False


def mlship(place, who):
    text = [cell(s) if i > 1 else cell(f"#| setup\n{s}") for i, s in enumerate(READING)]
    answer = ANSWER.replace("    return", "    ### BEGIN SOLUTION\n    return") + "\n    ### END SOLUTION"
    write(place / "c/lessons/ps1.ipynb", [*text, cell(f"#| exercise: centre\n{answer}"),
                                          cell(f"#| check: centre\n{TESTS}")])
    (place / "c/course.toml").write_text(f'[limits]\nseconds = {LIMIT}\n[[lessons]]\nname = "ps1"\n'
                                         '[lessons.exercises.centre]\nhints = ["mean"]\n')
    for name, kind in who.items():
        write(place / f"in/{name}/ps1.ipynb", [*text, cell(f"#| exercise: centre\n{KINDS[kind]}")])
    started = time.perf_counter()
    said, _ = call(sys.executable, "-c", "from mlship.cli import main; main()", "grade", place / "in", "--course",
                   place / "c", "-o", place / "out", "--jobs", "2")
    took = time.perf_counter() - started
    book = json.loads((place / "out/gradebook.json").read_text())["students"]
    return took, {n: book[n]["lessons"]["ps1"]["marks"][0]["state"] for n in who}


def papermill(place, who, *more):
    python, said, started = Path(sys.executable), {}, time.perf_counter()
    for name, kind in who.items():
        book = write(place / f"{name}.ipynb", [*map(cell, READING), cell(KINDS[kind]), cell(TESTS)])
        out, _ = call(python, "-m", "papermill", book, place / f"{name}-out.ipynb", "--execution-timeout", LIMIT,
                      "-k", "python3", "--no-progress-bar", *more, cwd=place)   # no modules beside the notebook
        said[name] = "failed" if "Error" in out else "passed"
    return time.perf_counter() - started, said


def warm(place, who):
    "papermill with our engine: the notebook alone, no isolation"
    return papermill(place, who, "--engine", "mlship")


def nbgrader(place, who):
    python = python_of("nbgrader", ["nbgrader==0.9.5"])
    def marked(source, grade_id, **more):
        return cell(source, nbgrader=dict(grade_id=grade_id, schema_version=3, locked=False, task=False,
                                          cell_type="code") | more)
    answer = ANSWER.replace("    return", "    ### BEGIN SOLUTION\n    return") + "\n    ### END SOLUTION"
    write(place / "source/ps1/ps1.ipynb", [*map(cell, READING), marked(answer, "centre", solution=True, grade=False),
                                           marked(TESTS, "test", solution=False, grade=True, points=1, locked=True)])
    (place / "nbgrader_config.py").write_text(f"c = get_config()\nc.CourseDirectory.course_id = 'c'\n"
                                              f"c.Execute.timeout = {LIMIT}\n")
    tool = python.parent / "nbgrader"
    out, _ = call(tool, "generate_assignment", "ps1", cwd=place)
    release = place / "release/ps1/ps1.ipynb"
    if not release.exists():
        raise RuntimeError(out[-300:])
    for name, kind in who.items():
        book = json.loads(release.read_text())
        for c in book["cells"]:
            if c["metadata"].get("nbgrader", {}).get("grade_id") == "centre":
                c["source"] = KINDS[kind]
        write(place / f"submitted/{name}/ps1/ps1.ipynb", []).write_text(json.dumps(book))
    started = time.perf_counter()
    call(tool, "autograde", "ps1", cwd=place)
    took = time.perf_counter() - started
    call(tool, "export", cwd=place)
    rows = {r["student_id"]: r["score"] for r in csv.DictReader((place / "grades.csv").open())}
    return took, {n: "passed" if float(rows.get(n) or 0) else "failed" for n in who}


def otter(place, who):
    python = python_of("otter", ["otter-grader==7.0.0", "ipykernel", "jupyter-client", "nbconvert", "ipywidgets"])
    raw = lambda text: cell(text, "raw")
    write(place / "ps1.ipynb", [
        raw("# ASSIGNMENT CONFIG\nrun_tests: false\ngenerate: true\ninit_cell: false\nexport_cell: false"),
        *map(cell, READING), raw("# BEGIN QUESTION\nname: centre\npoints: 1"), raw("# BEGIN SOLUTION"),
        cell(ANSWER.replace("    return", "    # BEGIN SOLUTION\n    return") + "\n    # END SOLUTION"),
        raw("# END SOLUTION"), raw("# BEGIN TESTS"), cell(TESTS), raw("# END TESTS"), raw("# END QUESTION")])
    tool = python.parent / "otter"
    out, _ = call(tool, "assign", "ps1.ipynb", "dist", cwd=place)
    zips = list((place / "dist/autograder").glob("*.zip"))
    if not zips:
        raise RuntimeError(out[-300:])
    student = json.loads((place / "dist/student/ps1.ipynb").read_text())
    said, started = {}, time.perf_counter()
    for name, kind in who.items():
        for c in student["cells"]:
            if "def centre" in "".join(c["source"]):
                c["source"] = KINDS[kind]
        book = write(place / f"{name}/ps1.ipynb", [])
        book.write_text(json.dumps(student))
        _, ended = call(tool, "run", "-a", zips[0], book, cwd=book.parent, limit=60)
        results = book.parent / "results.json"
        score = sum(t.get("score", 0) for t in json.loads(results.read_text())["tests"]) if results.exists() else 0
        said[name] = "passed" if score else "failed" if ended else "never ended"
    return time.perf_counter() - started, said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graders", nargs="*", default=["mlship", "nbgrader", "otter", "papermill", "warm"])
    parser.add_argument("--small", action="store_true", help="five submissions, and nothing is written to docs/")
    given = parser.parse_args()
    counts = dict(right=10, wrong=5, raises=3, endless=2)
    if given.small: counts = dict(right=2, wrong=1, raises=1, endless=1)
    who = {f"{kind}{i}": kind for kind, n in counts.items() for i in range(n)}
    ending = {n: k for n, k in who.items() if k != "endless"}
    found = {}
    for name in given.graders:
        for label, some in (("ending", ending), ("all", who)):
            with tempfile.TemporaryDirectory() as place:
                try: took, said = globals()[name](Path(place), some)
                except (RuntimeError, OSError, KeyError, ValueError) as e:
                    print(f"{name}: {e}", flush=True)
                    continue
            right = sum((said[n] == "passed") == (k == "right") for n, k in some.items())
            found.setdefault(name, {})[label] = dict(seconds=round(took, 2), of=len(some), right=right, said=said,
                                                     a_minute=round(60 * len(some) / took, 1))
            print(f"{name:10} {label:7} {took:7.1f} s  {60 * len(some) / took:7.1f} a minute  {right} of {len(some)} "
                  f"verdicts right: {sorted(set(said.values()))}", flush=True)
    if given.small: return
    (DOCS / "grade.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = ["# Twenty submissions graded", "", "Made by `python benchmarks/grade.py`, one run, one machine.", "",
             "| grader | the 18 that end | a minute | all 20 | verdicts right |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, x in found.items():
        a, b = x.get("ending"), x.get("all")
        if a and b:
            name = {"warm": "papermill --engine mlship"}.get(name, name)
            right = f"{b['right']} of {b['of']}"
            lines.append(f"| {name} | {a['seconds']} s | {a['a_minute']} | {b['seconds']} s | {right} |")
    lines += ["", "otter and papermill start a process for each notebook; half of papermill's time is its import."]
    (DOCS / "grade.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
