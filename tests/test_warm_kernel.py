"""`papermill --engine mlship`: kernels from a warm parent say what ipykernel says, cell by cell, and end in time."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import nbformat
import nbformat.v4 as nb
import papermill
import pytest
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from mlship.course import load_course
from mlship.proof import solved_lesson
from mlship.warm_kernel import ask_for_kernel

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the engine is the usual one")
DEEP = find_spec("torch") is not None   # where torch is, only what needs it: `make warm` runs that
NEEDS_TORCH = re.compile(r'^ *"(import torch|from fastai)', re.M)


def for_here(path): return bool(NEEDS_TORCH.search(path.read_text(encoding="utf-8"))) == DEEP


TUTORIALS = list(filter(for_here, sorted((ROOT / "nbs" / "tutorials").glob("*.ipynb"))))
COURSES = [p.parent for p in [ROOT / "tests" / "courses" / "small" / "course.toml",
                              *sorted((ROOT / "courses").glob("*/course.toml"))]]
LESSONS = [(p, x) for p in COURSES for x in load_course(p).lessons
           if for_here(p / "lessons" / f"{x}.ipynb")]
# what differs from one run of the usual kernel to the next
VOLATILE = [(r"ipykernel_\d+", "ipykernel_N"), (r"0x[0-9a-f]{6,}", "0xN"), (r"/tmp/[\w./-]+", "/tmp/…"),
            (r"\b[0-9a-f]{12,64}\b", "HASH"), (r"127\.0\.0\.1:\d+", "127.0.0.1:N"),
            (r"\d\d\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?", "WHEN"),
            (r"\d+(\.\d+)?(e-\d+)? ?(ns|µs|us|ms|s|seconds|min)\b", "TIME"), (r"\d+(\.\d+)?[KkMG]?B/s", "SPEED")]


def run(engine, cells_or_path, folder, name, **more):
    "A notebook through papermill; what it raised, and its cells"
    path = cells_or_path
    if isinstance(path, list):
        cells = [nb.new_code_cell(c) for c in path]
        path = folder / f"{name}.ipynb"
        nbformat.write(nb.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "",
                                                                            "language": "python"}}), path)
    out, raised = folder / f"{name}-{engine}.ipynb", ""
    os.environ["MLSHIP_STORE"] = str(folder / f"store-{engine}")   # the first version in each
    try:
        papermill.execute_notebook(str(path), str(out), engine_name=engine, progress_bar=False, cwd=str(folder),
                                   kernel_name="python3", log_output=False, **more)
    except (PapermillExecutionError, DeadKernelError, TimeoutError) as e: raised = f"{type(e).__name__}: {e}"
    return steady(raised), [said(c) for c in json.loads(out.read_text())["cells"] if c["cell_type"] == "code"]


def steady(text):
    for what, word in VOLATILE: text = re.sub(what, word, text)
    return text


def said(cell):
    "A cell's number and outputs, as they read: streams joined, what differs each time replaced"
    found = []
    for o in cell["outputs"]:
        o = {k: "".join(v) if isinstance(v, list) and k in ("text",) else v for k, v in o.items() if k != "metadata"}
        if found and o["output_type"] == "stream" and found[-1].get("name") == o["name"]: found[-1]["text"] += o["text"]
        else: found.append(o)
    return cell["execution_count"], steady(json.dumps(found, sort_keys=True, ensure_ascii=False))


@pytest.fixture(autouse=True)
def alone(tmp_path_factory, monkeypatch):
    "Parents of our own: they end when their folder is gone"
    monkeypatch.setenv("MLSHIP_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("PYTHONHASHSEED", "0")   # a set of words is shown in the same order
    monkeypatch.setenv("MLSHIP_STORE", "")   # put back what it was; `run` sets it


def parents():
    return sorted(Path(os.environ["MLSHIP_HOME"]).glob("warm/*.sock"))


def both(what, folder, **more):
    (folder / "usual").mkdir()
    (folder / "warm").mkdir()
    usual = run("nbclient", what, folder / "usual", "a", **more)
    warm = run("mlship", what, folder / "warm", "a", **more)
    assert parents(), "no parent was asked"
    assert warm[0] == usual[0].replace("nbclient", "mlship") and len(warm[1]) == len(usual[1])
    (folder / "again").mkdir()
    same(usual[1], warm[1], lambda: run("nbclient", what, folder / "again", "a", **more)[1])
    return usual


def same(usual, warm, again):
    "Cell by cell; a cell in which the usual kernel says something else the next time proves nothing"
    wrong = [i for i, (got, wanted) in enumerate(zip(warm, usual)) if got != wanted]
    if wrong:
        second = again()
        wrong = [i for i in wrong if second[i] == usual[i]]
    assert not wrong and len(warm) == len(usual), [(i, warm[i], usual[i]) for i in wrong]


@pytest.mark.e2e
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_says_the_same(path, tmp_path):
    both(path, tmp_path)


@pytest.mark.lessons
@pytest.mark.parametrize("course, lesson", LESSONS, ids=lambda x: x if isinstance(x, str) else x.name)
def test_a_lesson_says_the_same(course, lesson, tmp_path):
    def through(engine, folder):
        folder.mkdir()
        found = load_course(course)
        return run(engine, solved_lesson(found, found.lessons[lesson], folder), folder, lesson)
    usual, warm = through("nbclient", tmp_path / "usual"), through("mlship", tmp_path / "warm")
    assert parents() and warm[0] == usual[0], (usual[0], warm[0])   # `make course` proves that it runs to its end
    same(usual[1], warm[1], lambda: through("nbclient", tmp_path / "again")[1])


ODD = ["import json, sys, os, random, warnings\nimport numpy as np, pandas as pd\n"
       "from IPython.display import display, HTML",
       "print(1); print(2, file=sys.stderr); display(HTML('<b>x</b>')); pd.DataFrame({'a': [1.5, 2]})",
       "!echo shell; echo err >&2", "warnings.warn('careful')", "In[:2], Out.keys(), _",
       "class A: pass\nA.__module__, __name__, sys.modules['__main__'].__dict__ is globals()", "%who", "sys.path",
       "import threading\nthreading.current_thread() is threading.main_thread()", "os.getpgid(0) == os.getpid()",
       "import subprocess; subprocess.run(['sh', '-c', 'exit 3']).returncode", "sorted(os.environ)",
       "os.path.isabs(os.getcwd())",
       "import multiprocessing as m\nwith m.get_context('fork').Pool(1) as p: r = p.map(abs, [-1])\nr",
       "np.random.seed(3); random.seed(3); np.random.rand(), random.random(), np.ones(999) @ np.ones(999)",
       "import signal; signal.getsignal(signal.SIGCHLD), signal.getsignal(signal.SIGINT).__name__, os.umask(0o22)",
       "type(get_ipython()).__name__, get_ipython().kernel.shell is get_ipython(), get_ipython().kernel.__class__",
       "def f(x): return g(x)\ndef g(x): return 1 / x\nf(0)", "'never'"]


def test_odd_cells_say_the_same(tmp_path):
    raised, cells = both(ODD, tmp_path)
    assert "ZeroDivisionError" in raised and "shell" in cells[2][1] and "never" not in str(cells)


@pytest.mark.parametrize("ends", ["import os, time; time.sleep(1); os._exit(3)", "while True: pass",
                                  "import sys; sys.exit('no')", "1 +"])   # its number is told before it dies
def test_what_ends_a_notebook_is_told_the_same(ends, tmp_path):
    both(["import json", ends, "2"], tmp_path, execution_timeout=5)


def test_training_in_a_child_whose_parent_only_imported(tmp_path):
    trains = ("from sklearn.ensemble import HistGradientBoostingClassifier as H, RandomForestClassifier as R\n"
              "from sklearn.datasets import load_iris")
    cells = [trains, "X, y = load_iris(return_X_y=True)\nH().fit(X, y).score(X, y)",
             "R(20, n_jobs=2, random_state=0).fit(X, y).score(X, y)"]
    net = ["import torch", "torch.manual_seed(0); net = torch.nn.Linear(64, 64)\n"
                           "steps = torch.optim.SGD(net.parameters(), .1)",
           "for _ in range(20):\n    loss = ((net(torch.ones(999, 64)) - 1)**2).mean()\n"
           "    loss.backward(); steps.step()",
           "loss.item() < 1, torch.get_num_threads()"]
    both(cells + net if DEEP else cells, tmp_path, execution_timeout=200)


def test_an_import_that_would_be_noticed_stays_with_the_child(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "loud.py").write_text("import warnings; warnings.warn('loud'); print('loading')")
    (tmp_path / "lib" / "raises.py").write_text("raise ImportError('not today')")
    (tmp_path / "lib" / "threads.py").write_text("import threading, time\n"
                                                 "threading.Thread(target=time.sleep, args=[99], daemon=True).start()")
    (tmp_path / "lib" / "asks.py").write_text("import IPython\nshell = IPython.get_ipython()\n"
                                              "shell.events.register('post_run_cell', lambda r: print('after'))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    raised, cells = both(["import loud, json", "import threads", "import asks", "asks.shell is get_ipython()",
                          "import raises"], tmp_path)
    assert "loading" in cells[0][1] and "True" in cells[3][1] and "after" in cells[3][1] and "not today" in raised


def test_a_module_beside_the_notebook_comes_first(tmp_path):
    for engine in ("usual", "warm"):
        (tmp_path / engine).mkdir()
        (tmp_path / engine / "tenacity.py").write_text("mine = True")
        found = run({"usual": "nbclient", "warm": "mlship"}[engine], ["import json, tenacity", "tenacity.mine"],
                    tmp_path / engine, "a")
        assert found[0] == "" and "True" in found[1][1][1]


def test_numbers_drawn_are_everybodys_own(tmp_path):
    cells = ["import numpy as np, os, random, uuid",
             "print(np.random.randint(2**31), random.getrandbits(30), uuid.uuid4().time_low, os.getppid())"]
    found = [run("mlship", cells, tmp_path, f"n{i}")[1][1][1] for i in (1, 2)]
    one, two = (re.search(r"(\d+) (\d+) (\d+) (\d+)", f).groups() for f in found)
    assert one[3] == two[3] and all(a != b for a, b in zip(one[:3], two[:3])), "the same parent, other numbers"


def test_a_library_that_was_installed_anew_is_imported_anew(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "changing.py").write_text("value = 'old'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    assert "old" in run("mlship", ["import changing", "changing.value"], tmp_path, "a")[1][1][1]
    (tmp_path / "lib" / "changing.py").write_text("value = 'newer'")
    assert "newer" in run("mlship", ["import changing", "changing.value"], tmp_path, "a")[1][1][1]


def test_limits_and_environment_are_those_of_who_asks(tmp_path, monkeypatch):
    import resource
    cells = ["import os, resource", "print(os.environ.get('MINE'), resource.getrlimit(resource.RLIMIT_NOFILE))"]
    assert "None" in run("mlship", cells, tmp_path, "a")[1][1][1]
    monkeypatch.setenv("MINE", "7")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 24, hard))
    try: assert f"7 ({soft - 24}, {hard})" in run("mlship", cells, tmp_path, "a")[1][1][1]
    finally: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_kernel_ends_with_who_asked_for_it(tmp_path):
    cells = [nb.new_code_cell(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))"),
             nb.new_code_cell("import time; time.sleep(600)")]
    nbformat.write(nb.new_notebook(cells=cells), tmp_path / "a.ipynb")
    command = [sys.executable, "-m", "papermill", "--engine", "mlship", "-k", "python3", "a.ipynb", "b.ipynb"]
    asks = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (tmp_path / "pid").exists() and time.monotonic() < until: time.sleep(.1)
    time.sleep(.2)
    pid = int((tmp_path / "pid").read_text())
    assert len(parents()) == 1
    asks.send_signal(signal.SIGKILL)
    asks.wait()
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until: time.sleep(.1)
    assert not Path(f"/proc/{pid}").exists()


def test_at_most_three_parents_are_kept_and_they_end_with_their_folder(tmp_path):
    for lib in ("json", "re", "csv", "zipfile"): run("mlship", [f"import {lib}", "1"], tmp_path, lib)
    assert len(parents()) == 3
    mine = str(parents()[0].parent)
    def running():
        found = 0
        for p in Path("/proc").glob("[0-9]*"):
            try: found += mine in (p / "cmdline").read_text()
            except OSError: pass
        return found
    for p in parents(): p.unlink()
    until = time.monotonic() + 60
    while running() and time.monotonic() < until: time.sleep(.5)
    assert not running()


def test_what_is_no_kernel_of_ours_starts_as_usual(tmp_path, monkeypatch):
    env = dict(os.environ)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "x.json"]
    assert ask_for_kernel(["julia", "-f", "x.json"], (), env=env, cwd="/") is None
    assert ask_for_kernel(["/usr/bin/env", *command[1:]], (), env=env, cwd="/") is None
    (Path(os.environ["MLSHIP_HOME"]) / "warm").mkdir(mode=0o755)
    assert ask_for_kernel(command, (), env=env, cwd="/") is None, "a folder that others may enter"
    assert "2" in run("mlship", ["1 + 1"], tmp_path, "a")[1][0][1]
