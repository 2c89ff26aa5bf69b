"""The first tutorial, as a user walks it: a real kernel, another process and folder, every row of the test set."""
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mlship.outputs import differs

ROOT = Path(__file__).resolve().parent.parent
MLSHIP = str(Path(sys.executable).parent / ("mlship.exe" if os.name == "nt" else "mlship"))
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# the notebook's own answers, written by the notebook's own process
ANSWERS = """
import json
json.dump({"rows": json.loads(X_test.to_json(orient="records", double_precision=15)), "C": C,
           "labels": model.predict(X_test).tolist(), "p": model.predict_proba(X_test).tolist()}, open(OUT, "w"))
"""


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    "Served by `mlship serve NOTEBOOK -p C 0.1` from a folder elsewhere; with the truth and the address"
    place = tmp_path_factory.mktemp("tutorial")
    home, elsewhere = place / "home", place / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    notebook = json.loads((ROOT / "nbs/tutorials/01_first_model.ipynb").read_text(encoding="utf-8"))
    last = f"OUT = {str(place / 'truth.json')!r}\n{ANSWERS}"
    notebook["cells"].append({"cell_type": "code", "id": "truth", "metadata": {}, "source": last, "outputs": [],
                              "execution_count": None})
    (place / "tutorial.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    env = {**os.environ, "MLSHIP_HOME": str(home)}
    process = subprocess.Popen([MLSHIP, "serve", str(place / "tutorial.ipynb"), "-p", "C", "0.1", "--port", "0"],
                               cwd=elsewhere, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), process.communicate()[1]
    (place / "tutorial.ipynb").unlink()
    yield url, json.loads((place / "truth.json").read_text()), env
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=20)[1]
    print(re.search(r"ready in .*", err)[0])
    assert process.returncode == 0 or os.name == "nt"
    assert not list(elsewhere.iterdir()), "running and serving left files behind"


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as r:
        return json.loads(r.read())


def page(url):
    with urllib.request.urlopen(url, timeout=30) as r:
        return r.read().decode()


def test_every_row_gets_the_notebooks_answer(tutorial):
    url, truth, _ = tutorial
    assert truth["C"] == 0.1 and len(truth["rows"]) > 50
    name = json.loads(page(url + "/models"))["models"][0]["name"]
    native = post(url + "/predict?proba=1", {"inputs": truth["rows"]})
    assert native["predictions"] == truth["labels"]
    assert not differs(native["probabilities"], truth["p"], 1e-12)
    for row, label, p in zip(truth["rows"], truth["labels"], truth["p"]):      # and one at a time
        one = post(url + "/predict?proba=1", row)
        assert one["predictions"] == [label] and not differs(one["probabilities"], [p], 1e-12)
    columns = list(truth["rows"][0])
    shuffled = [dict(reversed(row.items())) for row in truth["rows"]]
    assert post(url + "/predict", shuffled)["predictions"] == truth["labels"]
    split = {"columns": columns, "data": [list(r.values()) for r in truth["rows"]]}
    for body in ({"dataframe_records": truth["rows"]}, {"dataframe_split": split}):
        assert post(url + "/invocations", body)["predictions"] == truth["labels"]
    assert post(f"{url}/v1/models/{name}:predict", {"instances": truth["rows"]})["predictions"] == truth["labels"]
    tensors = [{"name": c, "shape": [len(truth["rows"])], "datatype": "FP64", "data": [r[c] for r in truth["rows"]]}
               for c in columns]
    outputs = {o["name"]: o for o in post(f"{url}/v2/models/{name}/infer", {"inputs": tensors})["outputs"]}
    assert outputs["predict"]["data"] == truth["labels"]
    wide = [x for p in truth["p"] for x in p]
    assert not differs(outputs["probabilities"]["data"], wide, 1e-12)


def test_pages_and_descriptions_name_no_other_host(tutorial):
    url, _, _ = tutorial
    for path in ("/", "/docs", "/openapi.json"):
        text = page(url + path)
        hosts = set(re.findall(r"(?:https?:)?//([\w.-]+\w)", text)) - {"127.0.0.1", "localhost"}
        assert not hosts, (path, hosts)


def test_the_openapi_example_is_answered_as_the_document_says(tutorial):
    url, truth, _ = tutorial
    document = json.loads(page(url + "/openapi.json"))
    post_predict = document["paths"]["/predict"]["post"]
    content = post_predict["requestBody"]["content"]["application/json"]
    examples = [content["example"]] if "example" in content else [e["value"] for e in content["examples"].values()]
    assert examples
    for example in examples:
        answer = post(url + "/predict", example)
        assert set(answer["predictions"]) <= set(truth["labels"])


def test_it_stays_in_the_store_and_starts_again(tutorial):
    url, truth, env = tutorial
    models = json.loads(subprocess.run([MLSHIP, "list", "--json"], env=env, capture_output=True, text=True).stdout)
    assert {m["ref"]: m["trust"] for m in models} == dict.fromkeys(("tumour@1", "tumour@2", "tumour-by-hand@1"),
                                                                   "trusted")
    started = time.monotonic()
    process = subprocess.Popen([MLSHIP, "serve", "tumour", "--port", "0"], env=env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        assert post(address + "/predict", truth["rows"][:1])["predictions"] == truth["labels"][:1]
        print(f"first answer after {time.monotonic() - started:.2f} s")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_an_unknown_parameter_and_a_failing_cell(tutorial, tmp_path):
    notebook, env = ROOT / "nbs/tutorials/01_first_model.ipynb", tutorial[2]
    done = subprocess.run([MLSHIP, "serve", str(notebook), "-p", "Q", "1", "--port", "0"], env=env,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "Q" in done.stderr and "C" in done.stderr and "Traceback" not in done.stderr
    done = subprocess.run([MLSHIP, "serve", str(notebook), "-p", "C", "-1", "--port", "0"], env=env,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode not in (0, 70) and not done.stdout
    assert re.search(r"cell \d+", done.stderr) and "InvalidParameterError" in done.stderr
