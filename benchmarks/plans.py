"""Which of scikit-learn's estimators get a plan, and what each one without misses.

    python benchmarks/plans.py      writes docs/plans.md

Every estimator of the installed scikit-learn that predicts is fitted and shipped; every transformer in front of a
logistic regression. A plan counts only when `ship` proved it equal to the model.
"""
import inspect
import os
import tempfile
import time
import warnings
from pathlib import Path

import sklearn
from sklearn.base import is_classifier
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import all_estimators

from mlship import MlshipError, ship

DOCS = Path(__file__).resolve().parent.parent / "docs"
TWO_COLUMNS = {"CCA", "PLSCanonical", "PLSRegression", "PLSSVD", "IsotonicRegression"}


def measured(model, X, y):
    "(the plan's report, the microseconds that one row takes by the model itself)"
    model.fit(X, y)
    report = ship(model, X, name="estimator", check=False).manifest["plan"]
    begun = time.perf_counter()
    for row in X[:20].reshape(20, 1, -1):
        model.predict(row)
    return report, (time.perf_counter() - begun) / 20 * 1e6


def rows():
    "(estimator, group, report, microseconds a row by the model) of all that can be shipped"
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:300, :8], y[:300] + 1  # some regressors want what is above zero
    for name, cls in all_estimators():
        needs = [p for p in inspect.signature(cls).parameters.values() if p.default is p.empty and p.name[0] != "_"]
        if name in TWO_COLUMNS or any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in needs):
            continue  # meta-estimators: what they hold decides
        try:
            one = cls(**({"random_state": 0} if "random_state" in inspect.signature(cls).parameters else {}))
            if hasattr(one, "predict"):
                yield name, "classifiers" if is_classifier(one) else "others that predict", *measured(one, X, y)
            elif hasattr(one, "transform"):
                yield name, "transformers", *measured(make_pipeline(one, LogisticRegression()), X, y)
        except (MlshipError, ValueError, TypeError, AttributeError) as e:
            print(f"{name} takes other data: {str(e)[:90]}")


def main():
    "Write docs/plans.md"
    warnings.simplefilter("ignore")
    groups = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["MLSHIP_HOME"] = home
        for name, group, report, model_us in rows():
            groups.setdefault(group, []).append((name, report, model_us))
            print(f"{name:34} {report['kind']:8} {report.get('why', '')[:80]}", flush=True)
    text = ["# Which models have a plan?", "",
            "A plan is what `mlship serve` runs instead of the model where `ship` proved that both answer the same:"
            " some NumPy steps, or one ensemble of trees in ONNX Runtime. A model without one is served as it is,"
            " by its own library. `mlship show REF` says it of your model.", "",
            f"Made by `python benchmarks/plans.py` with scikit-learn {sklearn.__version__}: every estimator with its"
            " defaults on eight numbers a row; transformers stand in front of a logistic regression. Times are for"
            " one row."]
    for group, found in groups.items():
        have = [f for f in found if f[1]["kind"] != "none"]
        text += ["", f"## {group[0].upper()}{group[1:]}: {len(have)} of {len(found)}", "",
                 "| with a plan | kind | the plan | the model |", "| --- | --- | --- | --- |"]
        text += [f"| {name} | {r['kind']} | {r['microseconds']:.0f} µs | {us:.0f} µs |" for name, r, us in have]
        text += ["", "| without | why |", "| --- | --- |"]
        text += [f"| {name} | {r['why']} |" for name, r, _ in found if r["kind"] == "none"]
    (DOCS / "plans.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
