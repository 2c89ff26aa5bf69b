"""Other people's clients, the real ones, each in an environment of its own, against a served mlship."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from served import Served

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("MLSHIP_TEST_CACHE", Path.home() / ".cache" / "mlship-tests"))
CLIENTS = {
    "triton": "tritonclient[http]==2.73.0 numpy==2.2.6",
    "mlserver": "mlserver==1.7.1 numpy==2.2.6 pandas==2.3.3 requests==2.34.2",
    "mlflow": "mlflow-skinny==3.17.2 numpy==2.2.6 pandas==2.3.3 scipy==1.15.3",
    "kserve": "kserve==0.21.0 numpy==2.2.6",
}


def python_of(name):
    "The python of an environment with this client, which stays for the next time that the same is asked for"
    key = hashlib.sha256(f"{CLIENTS[name]} {sys.version_info[:2]}".encode()).hexdigest()[:12]
    place = CACHE / f"client-{name}-{key}"
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (place / "done").exists():
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        uv = Path(sys.executable).parent / "uv"
        tool = [uv, "pip", "install", "--python", python] if uv.exists() else [python, "-m", "pip", "install"]
        subprocess.run([*tool, "-q", *CLIENTS[name].split()], check=True)
        (place / "done").touch()
    return python


def ship_all():
    "Ships the models; gives rows and the notebook's own answers"
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    from mlship import ship

    X, y = load_iris(return_X_y=True)
    iris = LogisticRegression(max_iter=500).fit(X, load_iris().target_names[y])
    ship(iris, X, name="iris", check=False)
    mixed = pd.DataFrame(
        {
            "age": [31.5, None, 7.0, 40.0],
            "city": ["Köln", "Lima, PE", '"q"', ""],
            "member": [True, False, True, True],
            "visits": [1, 2**53 + 1, -3, 0],
        }
    )

    def describe(t):
        return [f"{r.age}|{r.city}|{r.member}|{r.visits}" for r in t.itertuples()]

    def upper(words):
        return [w.upper() for w in words]

    ship(describe, mixed, name="mixed", check=False)
    ship(upper, ["ab", "ü", ""], name="text", check=False)
    images = np.arange(2 * 64, dtype="uint8").reshape(2, 8, 8)
    ship(lambda a: a.sum(axis=(1, 2)), images, name="image", check=False)
    singles = np.array([[0.1, 0.2], [3, 4]], dtype="float32")
    ship(lambda a: a[:, 0] * np.float32(3), singles, name="single", check=False)
    return {
        "iris": {
            "rows": X.tolist(),
            "predictions": iris.predict(X).tolist(),
            "probabilities": iris.predict_proba(X).tolist(),
        },
        "mixed": {
            "columns": {k: [None if v != v else v for v in mixed[k].tolist()] for k in mixed},
            "predictions": describe(mixed),
        },
        "text": {"rows": ["ab", "ü", ""], "predictions": ["AB", "Ü", ""], "name": "words"},
        "image": {"rows": images.tolist(), "predictions": images.sum(axis=(1, 2)).tolist()},
        "single": {"rows": singles.tolist(), "predictions": (singles[:, 0] * np.float32(3)).tolist()},
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    "The server's address, and the file with the cases"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(tmp_path_factory.mktemp("home")))
        cases = tmp_path_factory.mktemp("cases") / "cases.json"
        cases.write_text(json.dumps(ship_all()), encoding="utf-8")
        server = Served("mixed", "iris", "text", "image", "single", "--access-log", "off")
        yield server.url, cases
        assert "Traceback" not in server.end()


@pytest.mark.parametrize("name", CLIENTS)
def test_client(served, name):
    done = subprocess.run(
        [python_of(name), HERE / f"client_{name}.py", *served], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
