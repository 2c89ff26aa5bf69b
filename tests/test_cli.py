"""The command line as a newcomer meets it: every example of every --help runs, every mistake is told in two lines."""
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlship.cli import main
from mlship.search import Index
from mlship.shipping import ship
from mlship.store import Store

MLSHIP = str(Path(sys.executable).parent / ("mlship.exe" if os.name == "nt" else "mlship"))


def mlship(*words, **options):
    return subprocess.run([MLSHIP, *map(str, words)], capture_output=True, text=True, timeout=120, **options)


def commands(group=main, path=()):
    for name, command in sorted(group.commands.items()):
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


ALL = dict(commands())


@pytest.fixture
def tumour(home):
    "Three versions of one model with aliases, in a store of its own"
    X = pd.DataFrame({"mass": [1.0, 2.0, 3.0]})
    double = LinearRegression().fit(X, 2 * X["mass"])
    for name in 4 * ["tumour"] + ["digits"]:
        ship(double, X, name=name, metrics={"auc": 0.9}, check=False)
    Store().set_alias("tumour", "prod", 3)
    Store().set_alias("digits", "prod", 1)
    return home


def write_model_files(place):
    "The files that the examples of `mlship ship` name"
    import joblib
    import onnx
    X = pd.DataFrame({"mass": [1.0, 2.0, 3.0]})
    joblib.dump(LinearRegression().fit(X, 2 * X["mass"]), place / "model.joblib")
    X.assign(label=2 * X["mass"]).to_csv(place / "rows.csv", index=False)
    info = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 2]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", info[:1], info[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9),
              place / "model.onnx")


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_has_examples(words, home):
    done = mlship(*words, "--help")
    assert done.returncode == 0 and not done.stderr
    assert re.search(r"Examples:\n\s+\S*mlship " + words[0], done.stdout) or words == ("completion",), done.stdout
    if words == ("serve",):
        assert mlship("serve", "-h").stdout == done.stdout


EXAMPLES = [line.strip() for command in ALL.values() for line in (command.epilog or "").splitlines()
            if line.strip().startswith("mlship")]
ELSEWHERE = ("serve", "predict", "build", "import", "grade")     # below, and in tests of their own
TEXT_AFTER = re.compile(r"\s{2,}\S.*$")          # "mlship rm tumour@2      one version"


@pytest.mark.parametrize("line", [e for e in EXAMPLES if e.split()[1] not in ELSEWHERE and "course s" not in e and
                                  e.split()[1:3] not in [["course", w] for w in ("check", "watch", "import")]])
def test_examples_run(tumour, tmp_path, monkeypatch, line):
    from mlship.keys import own_key, trust
    monkeypatch.chdir(tmp_path)
    words = shlex.split(TEXT_AFTER.sub("", line).partition(" > ")[0])[1:]
    Path("colleague.pub").write_text("mlship-ed25519 " + "A" * 43 + "= ann\n")
    if words[0] in ("run", "runs", "scale"):
        import nbformat.v4 as nb
        cells = [nb.new_code_cell("lr = 0.5\ndepth = 2\nsample = 1.0", metadata={"tags": ["parameters"]}),
                 nb.new_code_cell("import mlship; mlship.record(loss=lr * depth / sample**.5)")]
        Path("train.ipynb").write_text(nbformat.writes(nb.new_notebook(cells=cells)))
        if words[0] == "runs" or "--resume" in words:
            assert mlship("run", "train.ipynb").returncode == 0
    if words[0] == "ship":
        if "weights.safetensors" in words:
            pytest.skip("needs torch; tests/deep has it")
        write_model_files(tmp_path)
    if "revoke" in words:
        words[-1] = trust("mlship-ed25519 " + "A" * 43 + "= ann").id[:6]
    if "AAAA…" in line:
        words[words.index("mlship-ed25519 AAAA… ann")] = "mlship-ed25519 " + "A" * 43 + "= ann"
    if words[0] == "api-key":
        from mlship.access import add_key
        add_key("keys", "somebody" if words[1] == "add" else "alice")
    if "--push" in words:     # tests/deployments has it
        del words[words.index("--push"):]
    if words[0] == "bench":
        words += ["--seconds", ".1"]
    words = ["mass=kind" if w == "class=kind" else w for w in words]
    if words[0] == "install":
        assert mlship("pack", "tumour@3").returncode == 0
    if words[0] in ("push", "pull"):
        words[-1] = str(tmp_path / "models")
    if words[0] == "pull":
        assert mlship("push", "tumour@3", words[-1]).returncode == 0
    if words[0] == "rollback":
        assert mlship("promote", "tumour@4").returncode == 0
    if words[0] == "course":
        shutil.copytree(Path(__file__).parent / "courses" / "small", "courses/first-product")
    if words[0] == "search":
        texts = ["wait", "sort", "read"]
        index = Index.build([[1, 0], [0, 1], [1, 1]], texts, {"title": texts, "pages": [1, 2, 30]})
        ship(index, texts, encoder=lambda rows: [[len(t), t.count("o")] for t in rows], name="docs", check=False)
    done = mlship(*words, input="y\n")
    may_fail = words == ["rm", "tumour@prod"] or words[0] == "diff"
    assert done.returncode == 0 or (may_fail and done.returncode == 1), (words, done)
    assert "Traceback" not in done.stderr
    assert own_key()


@pytest.mark.e2e
@pytest.mark.parametrize("line", [e for e in EXAMPLES if e.startswith("mlship serve") and "ipynb" not in e])
def test_serve_examples_run(tumour, tmp_path, monkeypatch, line):
    from mlship.access import add_key
    monkeypatch.chdir(tmp_path)
    add_key("keys", "alice")
    write_model_files(tmp_path)
    words = [w for w in shlex.split(TEXT_AFTER.sub("", line))[1:] if w != "--share"]  # test_page has it
    if "--port" in words:
        words[words.index("--port") + 1] = "0"
    else:
        words += ["--port", "0"]
    process = subprocess.Popen([MLSHIP, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=20)[1]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", said), err


@pytest.mark.parametrize("line", [e for e in EXAMPLES if e.startswith("mlship predict")])
def test_predict_examples_run(home, tmp_path, monkeypatch, line):
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    X = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0]})
    ship(LogisticRegression().fit(X, ["a", "a", "b", "b"]), X, name="tumour", check=False)
    monkeypatch.chdir(tmp_path)
    X.to_csv("patients.csv", index=False)
    X.to_parquet("big.parquet")
    words = shlex.split(line)[1:]
    done = mlship(*words)
    assert done.returncode == 0, done.stderr
    out = words[words.index("-o") + 1]
    table = pd.read_csv(out) if out.endswith(".csv") else pd.read_parquet(out)
    assert len(table) == 4 and set(table.iloc[:, -1 if "--proba" not in words else 1]) == {"a", "b"}


MISTAKES = {
    "an unknown name": (["show", "tumor"], 3, "did you mean 'tumour'"),
    "an unknown version": (["show", "tumour@9"], 3, "versions 1, 2, 3, 4"),
    "an unknown alias": (["show", "tumour@staging"], 3, "prod → 3"),
    "a bad ref": (["show", "tu mour@@"], 2, ""),
    "serve of nothing": (["serve", "nothing", "--port", "0"], 3, "mlship list"),
    "serve of a missing notebook": (["serve", "none.ipynb", "--port", "0"], 3, "none.ipynb"),
    "serve of a folder": (["serve", "./", "--port", "0"], 3, "no bundle"),
    "serve -p without a notebook": (["serve", "tumour", "-p", "C", "1", "--port", "0"], 2, "notebook"),
    "serve on a strange host": (["serve", "tumour", "--host", "no.such.host.invalid"], 2, "127.0.0.1"),
    "serve on an impossible port": (["serve", "tumour", "--port", "70000"], 2, "65535"),
    "serve without workers": (["serve", "tumour", "--port", "0", "--workers", "0"], 2, "--workers 1"),
    "serve of one model twice": (["serve", "tumour@1", "tumour@2", "--port", "0"], 2, "one version"),
    "predict without the file": (["predict", "tumour", "none.csv", "-o", "out.csv"], 3, "none.csv"),
    "predict of a strange format": (["predict", "tumour", "x.docx", "-o", "out.csv"], 2, ""),
    "rm of what prod points to": (["rm", "tumour@3"], 2, "prod"),
    "rm of nothing": (["rm", "nothing", "-y"], 3, "mlship list"),
    "gc that would empty the store": (["gc", "--keep", "0"], 2, "--keep 1"),
    "key add of nonsense": (["key", "add", "nonsense"], 2, "mlship-ed25519"),
    "key revoke of an unknown key": (["key", "revoke", "ffff"], 3, "mlship key"),
    "promote of an unknown version": (["promote", "tumour@9"], 3, "versions"),
    "rollback with no history": (["rollback", "digits"], (2, 3), ""),
    "diff with a missing one": (["diff", "tumour@1", "tumour@9"], 3, "versions"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_told_in_two_lines(tumour, tmp_path, what):
    words, code, advice = MISTAKES[what]
    (tmp_path / "x.docx").write_text("PK")
    done = mlship(*words, cwd=tmp_path)
    assert done.returncode in (code if isinstance(code, tuple) else (code,)), done
    assert not done.stdout and "Traceback" not in done.stderr and advice in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("→ "), done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "x.docx"]


@pytest.mark.parametrize("words", [["nonsense"], ["show"], ["serve", "--port", "x", "tumour"], ["list", "--nonsense"]])
def test_usage_mistakes(home, words):
    done = mlship(*words)
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr and "Error:" in done.stderr


def test_a_fresh_home(home):
    assert "ship(model, X, name=" in mlship("list").stdout
    assert json.loads(mlship("list", "--json").stdout) == []
    assert mlship("gc").stdout.strip() == "0 B freed"
    assert "signs here" in mlship("key").stdout and "mlship-ed25519 " in mlship("key").stdout
    assert mlship("show", "x").returncode == 3 and mlship("rm", "x").returncode == 3
    assert mlship().returncode in (0, 2) and "serve" in mlship().stdout + mlship().stderr
    assert re.fullmatch(r"mlship \d+\.\d+\S*\n", mlship("--version").stdout)


def test_doctor(home):
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    done = mlship("doctor", env={**os.environ, "MLSHIP_PORT": str(port)})
    assert "Traceback" not in done.stderr
    for word in ("Python", "store", "key", "port"):
        assert word.lower() in done.stdout.lower(), done.stdout
    assert (done.returncode == 1) == ("✗" in done.stdout)
    broken = mlship("doctor", env={**os.environ, "MLSHIP_STORE": "/proc/nowhere"})
    if sys.platform == "linux":
        assert broken.returncode == 1 and "✗" in broken.stdout and "Traceback" not in broken.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs bash")
def test_completion_completes_names_in_a_real_shell(tumour):
    script = mlship("completion", "bash").stdout
    code = f'''source /dev/stdin <<'END'
{script}
{script}
END
COMP_WORDS=(mlship serve tum) COMP_CWORD=2
_mlship_completion mlship tum serve
printf '%s\\n' "${{COMPREPLY[@]}}"
'''
    path = f"{Path(MLSHIP).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert any(word.endswith("tumour") for word in done.stdout.split()), done
    for shell in ("zsh", "fish"):
        assert "mlship" in mlship("completion", shell).stdout


def test_house_keeping(tumour):
    done = mlship("list")
    assert all(ref in done.stdout for ref in ("tumour@1", "tumour@4", "digits@1")) and "prod" in done.stdout
    assert "tumour@3" in mlship("show", "tumour").stdout            # prod, not the newest
    assert "would remove tumour@1" in mlship("gc", "--keep", "1", "--dry-run").stdout
    assert Store().versions("tumour") == [1, 2, 3, 4]
    assert mlship("gc", "--keep", "1").returncode == 0
    assert Store().versions("tumour") == [3, 4] and Store().resolve("tumour").version == 3
    asked = mlship("rm", "tumour", input="n\n")
    assert asked.returncode != 0 and Store().versions("tumour") == [3, 4]
    assert mlship("rm", "tumour", "--yes").returncode == 0 and Store().names() == ["digits"]
    ship(lambda x: x, [1], name="tumour", check=False)
    assert Store().versions("tumour") == [5]                        # a number is never used twice


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_pipe_that_closes(tumour):
    done = subprocess.run(f"{shlex.quote(MLSHIP)} show tumour | head -1", shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("tumour") and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_narrow_terminals_and_plain_encodings(tumour):
    env = {**os.environ, "COLUMNS": "30", "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    for words in (["list"], ["show", "tumour"], ["show", "tumor"], ["doctor"]):
        done = mlship(*words, env=env)
        assert "Traceback" not in done.stderr and "mlship itself failed" not in done.stderr, (words, done.stderr)


def best_of_five(words):
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def test_it_starts_fast(home):
    "Twice the promise, for busy machines; the numbers are in the output"
    bare = best_of_five([sys.executable, "-c", "pass"])
    imported, helped = best_of_five([sys.executable, "-c", "import mlship"]), best_of_five([MLSHIP, "--help"])
    print(f"import mlship {imported - bare:.3f} s (python itself {bare:.3f} s), mlship --help {helped:.3f} s")
    assert imported - bare < 0.4 and helped < 0.8


def test_import_pulls_in_nothing_heavy():
    heavy = {"numpy", "pandas", "sklearn", "torch", "flask", "granian", "faiss", "onnxruntime", "rich", "click"}
    code = f"import sys, mlship; print(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
