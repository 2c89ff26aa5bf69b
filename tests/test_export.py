"""Exported models, compiled by javac and gcc, answer 10,000 awkward rows as scikit-learn does: |difference| <= 1e-9."""
import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets, decomposition, ensemble, feature_selection, impute, linear_model, preprocessing, svm, tree
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline

from mlship.challenge import challenge
from mlship.compile import _candidates
from mlship.export import CannotExport, type_name
from mlship.export_c import c_text, export_c
from mlship.export_java import export_java
from mlship.export_onnx import export_onnx
from mlship.inputs import decode_rows
from mlship.schema import is_missing
from mlship.shipping import ship
from mlship.steps import flatten_steps

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]
ROWS = 10_000
TOOLS = {"java": ("javac", "java"), "c": ("gcc",)}
rng = np.random.default_rng(0)
n = 400
iris, iris_y = datasets.load_iris(return_X_y=True)
cancer, cancer_y = datasets.load_breast_cancer(return_X_y=True, as_frame=True)
diabetes, diabetes_y = datasets.load_diabetes(return_X_y=True)
holes = np.where(rng.random(diabetes.shape) < .1, np.nan, diabetes.round(2))
people = pd.DataFrame({
    "age": rng.integers(18, 90, n), "net pay": np.where(rng.random(n) < .2, np.nan, rng.lognormal(3, 1, n).round(2)),
    "class": rng.choice(["cook", "Kö\"chin", "smith", "a\\b"], n), "home": rng.random(n) < .5,
    "kids": pd.array(np.where(rng.random(n) < .1, None, rng.integers(0, 4, n)), dtype="Int64"),
    "town": rng.choice(["A", "B", None], n)})
people["kids"] = people["kids"].astype("float64")
label = np.where((people.age > 40) & (people["class"] != "cook") | (people["net pay"].fillna(0) > 40), "yes", "no")
missing = np.nan if not isinstance(people.town[people.town.isna()].iloc[0], type(None)) else None


def mixed(last):
    words = make_pipeline(impute.SimpleImputer(strategy="most_frequent", missing_values=missing),
                          preprocessing.OneHotEncoder(handle_unknown="ignore"))
    numbers = make_pipeline(impute.SimpleImputer(strategy="median"), preprocessing.StandardScaler())
    return make_pipeline(make_column_transformer(
        (numbers, ["age", "net pay", "kids"]), (words, ["town"]), ("passthrough", ["home"]),
        (preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["class"])), last)


def strict(last):
    return make_pipeline(make_column_transformer(
        (preprocessing.OneHotEncoder(drop="first"), ["class", "home"]),
        (preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["kids", "town"]),
        (preprocessing.RobustScaler(), ["age"])), preprocessing.MaxAbsScaler(), last)


MODELS = {
    "logistic": (make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), cancer, cancer_y),
    "multinomial": (linear_model.LogisticRegression(max_iter=1000), iris, iris_y),
    "one against rest": (linear_model.SGDClassifier(loss="log_loss", random_state=0), iris, iris_y),
    "no probabilities": (make_pipeline(preprocessing.MinMaxScaler(clip=True), decomposition.PCA(3, whiten=True),
                                       preprocessing.Normalizer(), svm.LinearSVC()), iris, iris_y * 2.0),
    "binary sign": (linear_model.RidgeClassifier(), cancer, cancer_y == 1),
    "poisson": (linear_model.PoissonRegressor(), diabetes, diabetes_y),
    "two outputs": (linear_model.Ridge(), diabetes, np.c_[diabetes_y, -diabetes_y]),
    "mixed, linear": (mixed(linear_model.LogisticRegression()), people, label),
    "mixed, forest": (mixed(ensemble.RandomForestClassifier(30, random_state=0)), people, label),
    "mixed, histogram": (mixed(ensemble.HistGradientBoostingClassifier(max_iter=20)), people, label),
    "strict, linear": (strict(linear_model.Ridge()), people.drop(columns="net pay"), people.age * 2.0),
    "strict, boosting": (strict(ensemble.GradientBoostingClassifier(n_estimators=20)), people.drop(columns="net pay"),
                         label == "yes"),
    "tree with holes": (tree.DecisionTreeRegressor(random_state=0), holes, diabetes_y),
    "forest with holes": (ensemble.RandomForestRegressor(20, random_state=0), holes, diabetes_y),
    "tree, rounded": (tree.DecisionTreeClassifier(random_state=0), iris, iris_y),
    "extra trees": (make_pipeline(feature_selection.SelectKBest(k=5),
                                  ensemble.ExtraTreesClassifier(30, random_state=0)), cancer,
                    np.where(cancer_y == 1, "good", "bad")),
    "boosting": (ensemble.GradientBoostingClassifier(n_estimators=20), iris, iris_y),
    "boosting, numbers": (make_pipeline(decomposition.TruncatedSVD(5),
                                        ensemble.GradientBoostingRegressor(n_estimators=20)), diabetes, diabetes_y),
    "histogram, three": (ensemble.HistGradientBoostingClassifier(max_iter=10), iris, iris_y),
    "histogram, poisson": (ensemble.HistGradientBoostingRegressor(max_iter=20, loss="poisson"), holes, diabetes_y),
}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    "A model by name: bundle, fitted model, and 10,000 rows with the library's own answers (None: it refuses)"
    place, made = tmp_path_factory.mktemp("store"), {}

    def get(name):
        if name not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model, X, y = MODELS[name]
                model.fit(X, y)
                b = ship(model, X, name="model-1", check=False, store=place / name.replace(" ", "-"))
                made[name] = b, model, *drawn(b, model)
        return made[name]
    return get


def drawn(b, model):
    "Rows as a client sends them, and what the library itself says to them"
    s = b.signature
    X = decode_rows(s, b.examples["rows"])
    *front, last = flatten_steps(model)
    _, thresholds, back, _ = _candidates(last, front, s, hasattr(model, "predict_proba"))[0]
    columns = challenge(s, X.columns, X.n, thresholds, back, rows=ROWS, seed=1)
    if s.container == "array":
        rows = [[None if math.isnan(v) else v for v in r] for r in columns["input-0"].tolist()]
    else:
        lists = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in columns.items()}
        rows = [dict(zip(lists, r)) for r in zip(*lists.values())]
        rows = [{k: None if is_missing(v) else v for k, v in r.items()} for r in rows]
    return rows, truth(model, s, rows)


def truth(model, s, rows):
    def ask(rows):
        X = decode_rows(s, rows).X
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = model.predict(X).tolist()
            return list(zip(answers, model.predict_proba(X).tolist() if hasattr(model, "predict_proba")
                            else [()] * len(rows)))

    def decides(row):   # what a strict encoder or model refuses: a word it has not seen, a hole
        values = row.values() if isinstance(row, dict) else row
        return tuple(v if v is None or isinstance(v, str) else "number" for v in values)
    takes = {}
    for row in rows:
        if decides(row) not in takes:
            try: takes[decides(row)] = bool(ask([row]))
            except ValueError: takes[decides(row)] = False
    answers = iter(ask([r for r in rows if takes[decides(r)]]))
    return [next(answers) if takes[decides(r)] else None for r in rows]


def harness_java(t, package, name):
    setters = "\n".join(
        f'            if (!v[{i}].equals("?")) row.{c.id}('
        + {"text": f"v[{i}].substring(1)", "bool": f'v[{i}].equals("1.0")',
           "number": f"Double.parseDouble(v[{i}])"}[c.kind]
        + ");" for i, c in enumerate(t.columns))
    answers = {True: "double[] a = {A.predict(row)};", False: "double[] a = A.predict(row);"}[t.last["flat"]]
    if t.labels is not None:
        answers = "Object label = A.predict(row); double[] a = {java.util.Arrays.asList(boxed).indexOf(label)};"
    boxed = "" if t.labels is None else ("Object[] boxed = new Object[A.labels().length];"
                                         " for (int i = 0; i < boxed.length; i++) boxed[i] = A.labels()[i];")
    proba = "p = A.predictProba(row);" if t.proba else ""
    return f"""package {package};
import java.io.*; import java.nio.charset.StandardCharsets; import java.nio.file.*;
class Harness {{
    public static void main(String[] args) throws IOException {{
        {boxed}
        PrintStream out = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
        for (String line : Files.readAllLines(Path.of(args[0]), StandardCharsets.UTF_8)) {{
            String[] v = line.split("\\t", -1);
            {name}.Row row = new {name}.Row();
{setters}
            try {{
                double[] p = {{}};
                {answers} {proba}
                for (double x : a) out.print(x + " ");
                for (double x : p) out.print(x + " ");
                out.println();
            }} catch (IllegalArgumentException e) {{ out.println("!" + e.getMessage()); }}
        }}
        out.flush();
    }}
}}""".replace("A.", f"{name}.")


def harness_c(t, id):
    setters = "\n".join(
        f'        if (strcmp(v[{i}], "?")) row.{c.id} = '
        + (f"v[{i}] + 1;" if c.kind == "text" else f"strtod(v[{i}], NULL);")
        for i, c in enumerate(t.columns))
    up, n = id.upper(), t.outputs
    if t.labels is None:
        answers = f"code = {id}_predict(&row, a);"
    else:
        kind = {str: "const char *", int: "long long ", float: "double ", bool: "int "}[type(t.labels[0])]
        same = f"!strcmp(l, {id}_labels[i])" if kind == "const char *" else f"l == {id}_labels[i]"
        answers = (f"{{ {kind}l; code = {id}_predict(&row, &l);"
                   f" if (!code) for (i = 0; i < {up}_OUTPUTS; i++) if ({same}) a[0] = i; }}")
    proba = f"if (!code) code = {id}_predict_proba(&row, p);" if t.proba else ""
    return f"""#include "{id}.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
int main(int argc, char **argv) {{
    static char line[1 << 16];
    FILE *f = fopen(argv[argc - 1], "rb");
    while (fgets(line, sizeof line, f)) {{
        char *v[{len(t.columns)}], *at = line; int i, code; double a[{n}] = {{0}}, p[{n}] = {{0}};
        {id}_row row = {id}_missing();
        line[strcspn(line, "\\n")] = 0;
        for (i = 0; i < {len(t.columns)}; i++) {{ v[i] = at; at += strcspn(at, "\\t"); if (*at) *at++ = 0; }}
{setters}
        {answers}
        {proba}
        if (code) {{ printf("!%s %s\\n", {id}_field(code), {id}_why(code)); continue; }}
        for (i = 0; i < {1 if t.labels is not None else n}; i++) printf("%.17g ", a[i]);
        for (i = 0; i < {n if t.proba else 0}; i++) printf("%.17g ", p[i]);
        printf("\\n");
    }}
    return 0;
}}"""


def run(*words, cwd=None):
    done = subprocess.run([*map(str, words)], capture_output=True, cwd=cwd, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()[-3000:]
    return done.stdout.decode("utf-8")


def need_tools(language):
    for tool in TOOLS[language]:
        if not shutil.which(tool):
            print(f"!!!! SKIPPED: there is no {tool} here, so the exported {language} was not proven", file=sys.stderr)
            pytest.skip(f"there is no {tool} here")


def compiled(language, b, place, package="com.example.m"):
    "The exported model, compiled with a harness: (tables, the command that answers a file of rows)"
    fields = {"class": "kind"} if any(f.name == "class" for f in b.signature.inputs) else None
    if language == "java":
        t, name = export_java(b, place / "java", package, fields), type_name(b.name)
        at = place / "java" / "com" / "example" / "m"
        (at / "Harness.java").write_text(harness_java(t, package, name), encoding="utf-8")
        run("javac", "-J-XX:TieredStopAtLevel=1", "--release", "17", "-Xlint:all", "-Werror", "-d", place / "classes",
            *at.glob("*.java"))
        shutil.copy(at / f"{name}.bin", place / "classes" / "com" / "example" / "m")
        java = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", place / "classes")
        assert f"{len(b.examples['rows'])} examples" in run(*java, f"{package}.{name}", "--selftest")
        return t, (*java, f"{package}.Harness")
    t = export_c(b, place / "c", fields)
    (place / "c" / "harness.c").write_text(harness_c(t, "model_1"), encoding="utf-8")
    cc = ("gcc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2")
    run(*cc, "-o", place / "harness", place / "c" / "harness.c", place / "c" / "model_1.c", "-lm")
    run(*cc, "-DMODEL_1_MAIN", "-o", place / "self", place / "c" / "model_1.c", "-lm")
    assert f"{len(b.examples['rows'])} examples" in run(place / "self")
    return t, (place / "harness",)


def write_rows(t, rows, path):
    def cell(c, v):
        return "?" if v is None else "=" + v if c.kind == "text" else repr(float(v))
    lines = ["\t".join(cell(c, r[c.name] if isinstance(r, dict) else r[i]) for i, c in enumerate(t.columns))
             for r in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("language", TOOLS)
def test_compiled_it_answers_as_the_model(language, name, shipped, tmp_path):
    need_tools(language)
    b, model, rows, want = shipped(name)
    t, command = compiled(language, b, tmp_path)
    write_rows(t, rows, tmp_path / "rows.tsv")
    got = run(*command, tmp_path / "rows.tsv").splitlines()
    assert len(got) == len(rows) == ROWS
    refused, worst = 0, 0.0
    for i, (g, w) in enumerate(zip(got, want)):
        if w is None or g.startswith("!"):
            assert w is None and g.startswith("!"), (rows[i], g, w)
            refused += 1
            continue
        answer, p = w
        numbers = [float(x) for x in g.split()]
        if t.labels is None:
            expected = answer if isinstance(answer, list) else [answer]
        else:
            assert t.labels[int(numbers[0])] == answer, (rows[i], g, w)
            numbers, expected = numbers[1:], p
        assert len(numbers) == len(expected)
        worst = max([worst, *(abs(a - e) / max(1, abs(e)) for a, e in zip(numbers, expected))])
    assert worst <= 1e-9, worst
    assert refused < ROWS * .5
    has_holes = any(None in (r.values() if isinstance(r, dict) else r) for r in rows)
    assert has_holes or not any(f.nullable for f in b.signature.inputs)


@pytest.mark.parametrize("name", MODELS)
def test_as_onnx_it_answers_as_the_model(name, shipped, tmp_path):
    report = export_onnx(shipped(name)[0], tmp_path / "onnx")
    assert report["compared_with"] == "model" and report["rows"] > 3000 and report["ties"] < 5


def test_a_row_that_does_not_fit_is_told_by_its_field(shipped, tmp_path):
    b, *_ = shipped("mixed, forest")
    good = dict(zip([f.name for f in b.signature.inputs], [30, 20.0, "cook", True, 1.0, "A"]))
    wrong = [({"age": None}, "age is missing"), ({"age": 30.5}, "age is no whole number"),
             ({"home": None}, "home is missing"), ({"net pay": math.inf}, "net pay is infinite"), ({}, "")]
    for language in TOOLS:
        need_tools(language)
        t, command = compiled(language, b, tmp_path)
        write_rows(t, [good | w for w, _ in wrong], tmp_path / "rows.tsv")
        text = (tmp_path / "rows.tsv").read_text(encoding="utf-8").replace("\tinf\t", "\tInfinity\t")
        (tmp_path / "rows.tsv").write_text(text, encoding="utf-8")
        for line, (_, words) in zip(run(*command, tmp_path / "rows.tsv").splitlines(), wrong):
            assert words in line and line.startswith("!") == bool(words), (language, line)


@pytest.mark.parametrize("write", [export_java, export_c, export_onnx])
def test_what_cannot_leave_is_named_and_nothing_is_written(write, home, tmp_path):
    X = people[["age", "net pay"]].fillna(0)
    model = make_pipeline(preprocessing.KBinsDiscretizer(3), linear_model.LogisticRegression()).fit(X, label)
    b = ship(model, X, name="bins", check=False)
    with pytest.raises(CannotExport, match="KBinsDiscretizer"):
        write(b, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))
    model = linear_model.LogisticRegression().fit(X, label)
    b = ship(model, X, name="plain", check=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(Exception, match="not empty"):
        write(b, tmp_path / "full")
    path = next((b.folder / "plan").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(Exception, match="not what was signed"):
        write(b, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_and_labels_that_mean_something_in_the_other_language(home, tmp_path):
    "Comment ends, quotes, escapes and line ends in columns, labels and title cannot leave their place"
    X = pd.DataFrame({'*/ int x; /* "': [1.0, 2, 3, 4], "\\u000a} ü": [1.0, 0, 1, 0]})
    labels = np.array(['a"; }', "\\", '??/"', "ü\n"])
    b = ship(tree.DecisionTreeClassifier().fit(X, labels), X, name="class", title='*/"', check=False)
    for language in TOOLS:
        need_tools(language)
        if language == "java":
            export_java(b, tmp_path / "java")
            at = tmp_path / "java" / "classmodel"
            run("javac", "-Xlint:all", "-Werror", "-d", tmp_path / "classes", *at.glob("*.java"))
            shutil.copy(at / "Class.bin", tmp_path / "classes" / "classmodel")
            assert "4 examples" in run("java", "-cp", tmp_path / "classes", "classmodel.Class", "--selftest")
        else:
            export_c(b, tmp_path / "c")
            source = (tmp_path / "c" / "class.c").read_text(encoding="utf-8")
            assert all(c_text(v) in source for v in labels.tolist())
            run("gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-DCLASS_MAIN", "-o", tmp_path / "t",
                tmp_path / "c" / "class.c", "-lm")
            assert "4 examples" in run(tmp_path / "t")


@pytest.mark.e2e
def test_from_the_command_line(shipped, tmp_path):
    cli = [sys.executable, "-m", "mlship.cli"] if os.name == "nt" else [str(Path(sys.executable).parent / "mlship")]
    b, *_ = shipped("logistic")

    def mlship(*words):
        done = subprocess.run([*cli, *map(str, words)], capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr
    for language in ("java", "c", "onnx"):
        code, said = mlship("export", b.folder, "--to", language)
        assert code == 0, said
        assert (tmp_path / f"model-1-{language}").is_dir()
    assert "field 'mean radius' is called mean_radius" in mlship("export", b.folder, "--to", "c", "-o", "again")[1]
    report = json.loads((tmp_path / "model-1-onnx" / "parity.json").read_text())
    assert report["rows"] > 3000 and report["difference"] <= 1e-9 and report["other_labels"] == 0
    assert mlship("export", b.folder, "--to", "java")[0] == 2   # there already
    code, said = mlship("export", b.folder, "--to", "java", "-o", "x", "--field", "mean radius=class")
    assert code == 2 and "'class'" in said and not (tmp_path / "x").exists()
