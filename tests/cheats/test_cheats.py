# ruff: noqa: E501 (an attack is one string)
"""Every way to marks without the answer that we know of: each earns nothing, and odd but right answers keep theirs."""
import json
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mlship.answers import isolation_here
from mlship.course import load_course
from mlship.grading import Marker
from mlship.handout import for_students
from mlship.marking import Warmed, mark_lesson, solution_of
from mlship.returned import answers_of

COURSE = load_course(Path(__file__).parent.parent / "courses" / "small")
LESSON = replace(COURSE.lessons["01_numbers"], seconds=1.5)
HIDDEN = str(COURSE.path.resolve())
WALL = isolation_here() if sys.platform.startswith("linux") else "limits"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="grading wants Linux")
needs_namespaces = pytest.mark.skipif(WALL != "full", reason="needs namespaces")
WRONG = "def mean(v): return 0\n"
RIGHT = solution_of(LESSON)["mean"]
YES = """class Yes(float):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = float.__hash__
    def __le__(self, other): return True
    __lt__ = __ge__ = __gt__ = __le__
    def __sub__(self, other): return Yes(0)
    __rsub__ = __add__ = __mul__ = __abs__ = __sub__
    def __bool__(self): return True
"""
CHEATS = {
    "leaves before the checks": WRONG + "import sys; sys.exit(0)",
    "kills the kernel": WRONG + "import os; os._exit(0)",
    "kills it when asked": "def mean(v):\n    import os; os._exit(0)",
    "leaves when asked": "def mean(v): raise SystemExit(0)",
    "never ends": "while True: pass",
    "never ends when asked": "def mean(v):\n    while True: pass",
    "a thread that ends the process": WRONG + "import threading, os; threading.Timer(.1, os._exit, [0]).start()",
    "an object equal to everything": YES + "def mean(v): return Yes(1)",
    "a list of such objects": YES + "def mean(v): return [Yes(1)]",
    "the class itself": YES + "mean = Yes",
    "numpy with a generous ==": "import numpy as np\nclass A(np.ndarray):\n    def __eq__(s, o): return np.True_\n"
                                "def mean(v): return np.zeros(1).view(A)",
    "its own expect": WRONG + "def expect(*a, **k): pass\ndef raises(*a): pass",
    "its own case": WRONG + "class case:\n    def __init__(s, *a, **k): pass\n    __enter__ = __exit__ = lambda *a: True",
    "replaces builtins": WRONG + "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.sum = lambda x: 0",
    "replaces our comparison": WRONG + "import mlship.compare as c, mlship.checking as k\n"
                                       "c.difference = k.difference = lambda *a: None\nk.expect = lambda *a, **b: None",
    "replaces json": WRONG + "import json\njson.dumps = lambda *a, **k: '{\"value\": null, \"share\": 1}'",
    "writes a score to every descriptor": WRONG + "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'{\"share\": 1,"
                                                  " \"score\": 4, \"state\": \"passed\"}\\n')\n    except OSError: pass",
    "answers for the desk": WRONG + "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'{\"value\": true}\\n' * 50)"
                                    "\n    except OSError: pass",
    "sends what is no JSON": WRONG + "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\xff\\n' * 50)\n"
                                     "    except OSError: pass",
    "sends a pickle": "import pickle\ndef mean(v): return pickle.dumps(print)",
    "floods the pipe": WRONG + "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'[')\n        while 1: os.write(fd,"
                               " b'1,' * 10**6)\n    except OSError: pass",
    "prints a score": WRONG + "print('{\"share\": 1.0, \"score\": 4}')\nimport sys; sys.stderr.write('4/4 passed')",
    "reads the hidden tests": "import glob\ntext = ''.join(open(p).read() for p in glob.glob('%s/**/*', recursive=True)"
                              " if p.endswith('ipynb'))\nassert 'BEGIN SOLUTION' in text\n" % HIDDEN
                              + RIGHT,
    "takes the process apart that asks": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n" + WRONG,
    "looks at the asker's frames": WRONG + "import sys\nf = sys._getframe()\nwhile f:\n    f.f_globals['passed'] = True\n"
                                           "    for k in list(f.f_locals):\n        if k == 'desk': f.f_locals[k].kept.clear()\n"
                                           "    f = f.f_back",
    "an IPython transformer": WRONG + "get_ipython().input_transformers_cleanup.append(lambda l: [])",
    "drops assert from every tree": WRONG + "import ast\nast.parse = lambda *a, **k: ast.Module([], [])",
    "an endless generator": "def mean(v):\n    while True: yield v",
    "a value nested for ever": "def mean(v):\n    a = []\n    for _ in range(10**5): a = [a]\n    return a",
    "a number too long": "def mean(v): return 10**10**6",
    "takes all memory": "def mean(v): return bytearray(10**11)",
    "returns the check": "def mean(v): return mean",
    "not a number": "def mean(v): return float('nan')",
    "true for one": "def mean(v): return True",
    "says tests are over": WRONG + "import unittest, atexit\natexit.register(print, 'OK')\nraise unittest.SkipTest('done')",
    "a hidden test cell in the answer": WRONG + "### BEGIN HIDDEN TESTS\nscore = points = 4\n### END HIDDEN TESTS",
    "claims another exercise's marks": WRONG + "#| check: mean\nwith __import__('contextlib').suppress(): pass",
}
ODD = {
    "Windows line ends": RIGHT.replace("\n", "\r\n"),
    "prints and warns": RIGHT + "\nimport sys, warnings\nprint('x' * 10**6); sys.stderr.write('!'); warnings.warn('so')",
    "NumPy scalars": "import numpy as np\ndef mean(v):\n    if not v: raise ValueError\n    return np.float64(np.mean(v))",
    "a zero-dimensional array": "import numpy as np\ndef mean(v):\n    if not v: raise ValueError\n    return np.array(sum(v) / len(v))",
    "an object with __call__": "class M:\n    def __call__(self, v):\n        if not v: raise ValueError\n"
                               "        return sum(v) / len(v)\nmean = M()",
    "another parameter's name": RIGHT.replace("(v)", "(numbers)").replace("not v", "not numbers"),
    "statistics": "from statistics import mean as m\ndef mean(v):\n    if not v: raise ValueError('x')\n    return m(v)",
}


def marked(answer):
    return mark_lesson(LESSON, solution_of(LESSON) | {"mean": answer}, seed=5, isolation=WALL)


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_earns_nothing(name):
    if name == "reads the hidden tests" and WALL != "full":
        pytest.skip("needs namespaces")
    marks = {m.exercise: m for m in marked(CHEATS[name])}
    assert marks["mean"].score == 0 and marks["mean"].state != "passed", marks["mean"]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_but_right_answer_keeps_its_marks(name):
    mark = marked(ODD[name])[0]
    assert (mark.score, mark.state) == (4, "passed"), mark


def test_a_broken_answer_costs_only_its_own_marks():
    marks = {m.exercise: m.score for m in marked("import os; os._exit(0)")}
    assert marks == {"mean": 0, "total": 1, "which": 1, "why": 0}


@needs_namespaces
@pytest.mark.parametrize("act", [
    "import socket; socket.create_connection(('127.0.0.1', 22), 1)", "open('/etc/passwd').read()", "open('/usr/x', 'w')",
    f"open({HIDDEN!r} + '/course.toml')", "import os; os.setuid(0)", "import os; os.kill(1, 0) or os.kill(2, 9)",
    "import ctypes; assert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    f"import os; assert os.listdir({HIDDEN!r}.rpartition('/courses')[0])"])
def test_the_wall(act):
    assert mark_lesson(LESSON, {"mean": f"{act}\n{RIGHT}"}, isolation="full")[0].state == "error"


def code(source, **metadata): return dict(cell_type="code", source=source, metadata=metadata, outputs=[], execution_count=1)


def each(cells, change): return [c | change(c) if c["cell_type"] == "code" else c for c in cells]


def is_check(c): return "check" in c["metadata"].get("mlship", {})


PASSED = dict(output_type="execute_result", execution_count=1, metadata={}, data={"text/plain": "passed, 4 of 4"})
# what is done to the notebook around a wrong answer
NOTEBOOKS = {
    "the tag skip-execution": lambda cells: each(cells, lambda c: {"metadata": c["metadata"] | {
        "tags": ["skip-execution", "raises-exception"]}}),
    "the checks are gone": lambda cells: [c for c in cells if not is_check(c)],
    "the checks say yes": lambda cells: each(cells, lambda c: {"source": "pass"} if is_check(c) else {}),
    "checks of one's own": lambda cells: [*cells, code("#| check: mean\nassert True"),
                                         code("#| check: mean\nwith case('all', points=100): pass",
                                              mlship={"check": "mean"})],
    "outputs that say passed": lambda cells: each(cells, lambda c: {"outputs": [PASSED]}),
    "scores in the metadata": lambda cells: each(cells, lambda c: {"metadata": c["metadata"] | {
        "score": 4, "nbgrader": {"grade": True, "points": 4, "locked": False, "grade_id": "mean"}}}),
    "a check as an answer": lambda cells: each(cells, lambda c: {"metadata": {"mlship": {"exercise": "mean"}}}
                                              if is_check(c) else {}),
    "a setup of one's own": lambda cells: [code("#| setup\nexpect = raises = lambda *a, **k: None\nxs = []",
                                               tags=["parameters"]), *cells],
    "input transformers in another cell": lambda cells: [
        code("get_ipython().input_transformers_cleanup.append(lambda lines: [])\n"
             "import ast\nget_ipython().ast_transformers.append(ast.NodeTransformer())"), *cells],
    "results written beforehand": lambda cells: [
        code("import json, os\nfor p in ('results.json', 'gradebook.json', '/autograder/results/results.json'):\n"
             "    try: json.dump({'score': 4}, open(p, 'w'))\n    except OSError: pass"), *cells],
    "the answer twice, a true one for the eye": lambda cells: [
        code("# the mean, right:\ndef right_mean(v): return sum(v) / len(v)"), *cells],
    "another lesson's exercise": lambda cells: [*cells, code("#| exercise: centre\nmean = centre = abs")],
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_that_was_tampered_with_earns_nothing(name):
    book = json.loads(for_students(COURSE, 5)["01_numbers.ipynb"])
    for c in book["cells"]:
        if c["metadata"].get("mlship", {}).get("exercise") == "mean": c["source"] = f"#| exercise: mean\n{WRONG}"
    book["cells"] = NOTEBOOKS[name](book["cells"])
    lesson, answers = answers_of(json.dumps(book).encode(), COURSE.lessons, "01_numbers")
    marks = {m.exercise: m for m in mark_lesson(LESSON, answers, seed=5, isolation=WALL)}
    assert marks["mean"].score == 0 and marks["mean"].state != "passed", (answers, marks["mean"])


@needs_namespaces
def test_what_it_learned_cannot_be_sent_out_or_kept():
    "From one answer to the next run nothing is left, and no address is reached, by name or number"
    leaves = ("import os\nfor d in ('/tmp', '/scratch', '/dev/shm', '/var/tmp', '.'):\n"
              "    try: open(os.path.join(d, 'kept'), 'w').write('hidden')\n    except OSError: pass\n" + RIGHT)
    looks = ("import os\nfound = [d for d in ('/tmp', '/scratch', '/dev/shm', '/var/tmp', '.') "
             "if os.path.exists(os.path.join(d, 'kept'))]\nassert found\n" + RIGHT)
    assert marked(leaves)[0].state == "passed" and marked(looks)[0].state == "error"
    for out in ("socket.create_connection(('1.1.1.1', 53), 2)", "socket.getaddrinfo('example.org', 80)",
                "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.0.0.1', 53))"):
        assert marked(f"import socket\n{out}\n{RIGHT}")[0].state == "error", out


@needs_namespaces
def test_in_grading_an_answer_has_nothing_of_who_marks_it(monkeypatch):
    "Both are forked from one process: no way to ask it, no variable of the grader's, no course in memory"
    monkeypatch.setenv("COURSE_TOKEN", "not-for-students")
    looks = ("import gc, os, sys\nopen_files = {os.readlink(f'/proc/self/fd/{fd}') for fd in range(256) "
             "if os.path.lexists(f'/proc/self/fd/{fd}')}\n"
             "assert sum(f.startswith('socket:') for f in open_files) == 1, open_files\n"
             "assert 'COURSE_TOKEN' not in os.environ\n"
             "assert not {m for m in sys.modules if m in ('mlship.grading', 'mlship.marking')}\n"
             "assert not [d for d in gc.get_objects() if isinstance(d, dict) and 'COURSE_TOKEN' in d]\n")
    with Warmed() as warmed:
        marker = Marker(COURSE, warmed)
        try:
            first, second = (marker.mark(LESSON, {"mean": looks + RIGHT}, 5, True, "full")[0] for _ in range(2))
            wrong = marker.mark(LESSON, {"mean": WRONG}, 5, True, "full")[0]
        finally:
            marker.close()
    assert first["state"] == second["state"] == "passed" and wrong["score"] == 0, (first, wrong)


@needs_namespaces
def test_markers_and_the_process_that_imports_are_replaced_when_they_are_lost():
    with Warmed() as warmed:
        marker = Marker(COURSE, warmed)
        try:
            assert marker.mark(LESSON, {"mean": RIGHT}, 5, True, "full")[0]["state"] == "passed"
            parent, = warmed.parents.values()
            parent.parent.child.kill()
            parent.parent.child.wait()
            assert marker.mark(LESSON, {"mean": RIGHT}, 5, True, "full")[0]["state"] == "passed"
            talk = list(marker.talks.values())[-1]
            signal.pidfd_send_signal(talk.pidfd, signal.SIGKILL)
            assert marker.mark(LESSON, {"mean": RIGHT}, 5, True, "full")[0]["state"] == "not run"
            assert marker.mark(LESSON, {"mean": RIGHT}, 5, True, "full")[0]["state"] == "passed"
        finally:
            marker.close()


@needs_namespaces
def test_a_marker_that_is_killed_with_an_answer_on_its_way_costs_nobody_else_anything(tmp_path):
    "The process that imports goes on, and what a lesson's setup started ends with its marker"
    with Warmed() as warmed:
        parent = warmed.of(LESSON, "full")
        for _ in range(3):
            ours, theirs = socket.socketpair()
            talk, other = socket.socketpair()
            with theirs:
                socket.send_fds(parent.control, [b"builtins:id"], [other.fileno(), ours.fileno(), theirs.fileno()])
            parent._line()
            socket.send_fds(ours, [b"inside"], [other.fileno()])     # a child is asked for, and nobody waits for it
            time.sleep(.2)
            for s in (ours, talk, other):
                s.close()
        time.sleep(.2)
        assert parent.lives()
        marker = Marker(COURSE, warmed)
        assert marker.mark(LESSON, {"mean": RIGHT}, 5, True, "full")[0]["state"] == "passed"
        marker.close()
        (tmp_path / "lessons").mkdir()
        begins = (f"#| setup\nimport subprocess, sys\nif __name__ == '__checks__':\n    p = subprocess.Popen([sys.executable, "
                  f"'-c', 'import time; time.sleep(60)'])\n    open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))")
        cells = [code(begins), code("#| exercise: one\n### BEGIN SOLUTION\none = 1\n### END SOLUTION"),
                 code("#| check: one\nexpect(one, 1)")]
        (tmp_path / "lessons/l.ipynb").write_text(json.dumps(dict(cells=cells, nbformat=4, nbformat_minor=4, metadata={})))
        (tmp_path / "course.toml").write_text('[[lessons]]\nname = "l"\n[lessons.exercises.one]\nhints = ["1"]\n')
        course = load_course(tmp_path)
        marker = Marker(course, warmed)
        assert marker.mark(course.lessons["l"], {"one": "one = 1"}, None, True, "full")[0]["state"] == "passed"
        begun = psutil.Process(int((tmp_path / "pid").read_text()))
        assert begun.is_running()
        marker.close()
        begun.wait(5)
