"""mlship ship FILE and mlship serve FILE, of every kind: what opens, what asks for trust, what does not fit."""
import os
import pickle
import subprocess

import numpy as np
import pytest
from deep import near
from PIL import Image
from served import MLSHIP, Served

from mlship.shipping import load

torch = pytest.importorskip("torch")
NET = '''
import torch
class Net(torch.nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, width), torch.nn.Linear(width, 2)
    def forward(self, x): return self.b(torch.relu(self.a(x)))
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with models in files, and what each says of x.npy"
    place, said = tmp_path_factory.mktemp("files"), {}
    (place / "net.py").write_text(NET)
    scope = {}
    exec(compile(NET, "net.py", "exec"), scope)
    torch.manual_seed(0)
    net, X = scope["Net"]().eval(), np.random.default_rng(0).random((20, 4)).astype("float32")
    np.save(place / "x.npy", X)
    with torch.no_grad():
        said["net"] = net(torch.tensor(X)).tolist()
    from safetensors.torch import save_file
    torch.save(net.state_dict(), place / "weights.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}, "epoch": 3}, place / "run.pth")
    save_file(net.state_dict(), place / "weights.safetensors")
    torch.jit.save(torch.jit.trace(net, torch.tensor(X[:1])), place / "script.pt")
    torch.save(torch.nn.Linear(4, 2), place / "whole.pt")
    made = torch.export.export(net, (torch.tensor(X),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(made, place / "program.pt2")
    words = torch.jit.script(torch.nn.Sequential(torch.nn.Embedding(9, 2), torch.nn.Flatten()))
    torch.jit.save(words, place / "words.pt")
    (place / "words.csv").write_text("a,b\n1,2\n3,8\n")
    said["words"] = words(torch.tensor([[1, 2], [3, 8]])).tolist()

    import joblib
    import pandas as pd
    from lightgbm import LGBMRegressor
    from sklearn.linear_model import LinearRegression
    from xgboost import XGBRegressor
    table = pd.DataFrame(X, columns=list("abcd"))
    y = X @ np.array([1, 2, 3, 4])
    table.assign(y=y).to_csv(place / "x.csv", index=False)
    linear = LinearRegression().fit(table, y)
    joblib.dump(linear, place / "linear.joblib")
    (place / "linear.pkl").write_bytes(pickle.dumps(linear))
    said["linear"] = linear.predict(table).tolist()
    XGBRegressor(n_estimators=5).fit(table, y).save_model(place / "x.ubj")
    LGBMRegressor(n_estimators=5, verbose=-1).fit(X, y).booster_.save_model(place / "l.txt")

    import onnx
    h, T = onnx.helper, onnx.TensorProto
    graph = h.make_graph([h.make_node("Mul", ["X", "two"], ["y"])], "g",
                         [h.make_tensor_value_info("X", T.FLOAT, [None, 4])],
                         [h.make_tensor_value_info("y", T.FLOAT, [None, 4])],
                         [onnx.numpy_helper.from_array(np.array([2], "float32"), "two")])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, place / "twice.onnx")
    (place / "apart").mkdir()   # as torch.onnx.export writes them: a fixed batch, and the weights beside
    for v in (*graph.input, *graph.output):
        v.type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.CopyFrom(graph)
    onnx.save(model, place / "apart" / "one.onnx", save_as_external_data=True, location="one.onnx.data",
              size_threshold=0)
    Image.new("L", (8, 8)).save(place / "x.png")
    return place, X, said


@pytest.fixture
def run(place, tmp_path):
    def run(*words):
        done = subprocess.run([MLSHIP, *words], cwd=place[0], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "MLSHIP_HOME": str(tmp_path)})
        assert "Traceback" not in done.stderr, done.stderr
        return done
    return run


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MLSHIP_HOME", str(tmp_path))


@pytest.mark.parametrize("words", [
    ("weights.pt", "--class", "net.py:Net"), ("run.pth", "--class", "net.py:Net"), ("script.pt", "--trust"),
    ("weights.safetensors", "--class", "net.py:Net", "--args", '{"width": 8}'), ("program.pt2", "--trust"),
], ids=lambda w: w[0])
def test_torch_files(words, place, run, home):
    done = run("ship", *words, "--example", "x.npy", "--name", "it")
    assert done.returncode == 0, done.stderr
    assert near(load("it").predict_rows(place[1].tolist()).tolist(), place[2]["net"])


@pytest.mark.parametrize("words, rows", [
    (("linear.joblib", "--example", "x.csv", "--target", "y", "--trust"), "table"),
    (("linear.pkl", "--trust"), "table"), (("x.ubj",), "table"),
    (("x.ubj", "--example", "x.csv", "--target", "y"), "table"),
    (("l.txt",), "array"), (("twice.onnx",), "array"), (("twice.onnx", "--example", "x.npy"), "array"),
], ids=lambda w: "-".join(w).replace("--", "") if isinstance(w, tuple) else "")
def test_files_that_know_what_they_take(words, rows, place, run, home):
    done = run("ship", *words)
    assert done.returncode == 0, done.stderr
    model = load(done.stdout.split()[0])
    assert model.signature.container == rows, model.signature
    X = place[1].astype(float)
    got = np.asarray(model.predict_rows([dict(zip("abcd", r)) for r in X.tolist()] if rows == "table" else X.tolist()))
    if words[0].startswith("linear"):
        assert near(got.tolist(), place[2]["linear"])
    if words[0] == "twice.onnx":
        assert near(got.tolist(), (2 * place[1]).tolist())
    assert len(got) == 20
    if "--example" not in words:   # its one row was made up: neither example nor profile
        assert model.bundle.examples["rows"] == [] and model.bundle.profile["fields"] == {}
    if "--target" in words:
        assert model.bundle.manifest["metrics"]


def test_a_program_and_weights_in_a_file_beside(place, run, home):
    for words, X, want in ((("program.pt2", "--trust"), place[1], place[2]["net"]),
                           (("apart/one.onnx",), place[1], (2 * place[1]).tolist()),
                           (("words.pt", "--trust", "--example", "words.csv"), np.array([[1, 2], [3, 8]]),
                            place[2]["words"])):
        done = run("ship", *words)
        assert done.returncode == 0, done.stderr
        assert near(load(done.stdout.split()[0]).predict_rows(X.tolist()).tolist(), want), words


def test_serve_takes_a_file(place, home, monkeypatch):
    monkeypatch.chdir(place[0])
    server = Served("twice.onnx")
    try:
        assert server.ask([1, 2, 3, 4.5]) == [[2, 4, 6, 9]]
    finally:
        server.end()


@pytest.mark.parametrize("words, code, why", [
    (("linear.joblib",), None, "--trust"), (("linear.pkl",), None, "--trust"), (("whole.pt",), None, "--trust"),
    (("script.pt",), None, "--trust"), (("program.pt2",), None, "--trust"),
    (("weights.pt",), 2, "--class"), (("whole.pt", "--trust"), 2, "--example"),
    (("weights.pt", "--class", "net.py:Net", "--args", '{"width": 9}', "--example", "x.npy"), None,
     "a.weight is (8, 4)"),
    (("weights.pt", "--class", "net.py:Nothing", "--example", "x.npy"), 3, "no class"),
    (("weights.pt", "--class", "Net"), 2, "net.py:Net"), (("weights.pt", "--class", "none.py:Net"), 3, "no class"),
    (("weights.pt", "--class", "net.py:Net", "--args", "{"), 2, "no JSON"), (("none.onnx",), 3, "no file"),
    (("twice.onnx", "--example", "none.csv"), 3, "no file"),
    (("twice.onnx", "--example", "net.py"), 2, "cannot be read"), (("twice.onnx", "--example", "x.png"), None, "does"),
    (("linear.joblib", "--trust", "--example", "x.csv", "--target", "z"), 2, "no column z"),
], ids=lambda w: "-".join(w)[:40] if isinstance(w, tuple) else "")
def test_what_is_refused_says_why(words, code, why, run, tmp_path):
    done = run("ship", *words)
    assert done.returncode == code if code else done.returncode, done
    assert why in done.stderr, done.stderr
    assert "nothing in" in run("list").stdout   # nothing was kept


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "x.ubj", "l.txt", "twice.onnx", "linear.joblib"])
def test_torn_files_are_refused(name, place, run):
    torn = place[0] / f"torn-{name}"
    data = (place[0] / name).read_bytes()
    torn.write_bytes(data[:len(data) * 2 // 3])
    done = run("ship", torn.name, "--trust", "--class", "net.py:Net", "--example", "x.npy")
    assert done.returncode and torn.name in done.stderr, done


def test_what_a_pickle_would_have_done_it_has_not_done(place, run):
    mark = place[0] / "mark"

    class Trap:
        def __reduce__(self): return os.mkdir, (str(mark),)
    for name in ("trap.pkl", "trap.joblib"):
        (place[0] / name).write_bytes(pickle.dumps(Trap()))
        run("ship", name, "--example", "x.npy")
    torch.save(Trap(), place[0] / "trap.pt")
    run("ship", "trap.pt", "--class", "net.py:Net", "--example", "x.npy")
    assert not mark.exists()
