"""Boosted trees of both libraries, with missing values, labels of text, early stopping, and in a pipeline."""
import json
import sys

import numpy as np
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import DMatrix, XGBClassifier, XGBRegressor

from mlship import ship

truth = {}
flowers, kind = load_iris(return_X_y=True)
cells, sick = load_breast_cancer(return_X_y=True, as_frame=True)
holes = cells.mask(np.random.default_rng(0).random(cells.shape) < .05)
rows, course = load_diabetes(return_X_y=True)
few = dict(n_estimators=30)
for name, model, X, y, plan in (
    ("x-flowers", XGBClassifier(**few), flowers, kind, "trees"),
    ("x-holes", XGBClassifier(**few), holes, sick, "trees"),
    ("x-course", XGBRegressor(**few), rows, course, "trees"),
    ("x-counts", XGBRegressor(objective="count:poisson", **few), rows, course, "trees"),
    ("x-forest", XGBRegressor(num_parallel_tree=4, **few), rows, course, "trees"),
    ("x-booster", None, rows, course, "trees"),
    ("x-linear", XGBRegressor(booster="gblinear", **few), rows, course, "none"),
    ("x-minus", XGBRegressor(missing=-1, **few), np.where(flowers < 1, -1, flowers), kind, "none"),
    ("x-several", XGBClassifier(**few), flowers, np.c_[kind > 0, kind > 1].astype(int), "none"),
    ("l-flowers", LGBMClassifier(verbose=-1, **few), flowers, load_iris().target_names[kind], "trees"),
    ("l-holes", LGBMClassifier(verbose=-1, **few), holes, sick, "trees"),
    ("l-course", LGBMRegressor(verbose=-1, **few), rows, course, "trees"),
    ("l-tweedie", LGBMRegressor(objective="tweedie", verbose=-1, **few), rows, course, "trees"),
    ("l-zeros", LGBMRegressor(zero_as_missing=True, verbose=-1, **few), rows, course, "none"),
    ("l-pipe", make_pipeline(StandardScaler(), LGBMClassifier(verbose=-1, **few)), cells, sick, "trees"),
):
    model = model.fit(X, y) if model is not None else XGBRegressor(**few).fit(X, y).get_booster()
    bundle = ship(model, X, name=name)
    ask = DMatrix(X) if name == "x-booster" else X
    kept = np.unique(np.linspace(0, len(X) - 1, 100).astype(int))[:20]   # the rows that ship keeps
    truth[name] = {"rows": bundle.examples["rows"][:20], "plan": bundle.manifest["plan"]["kind"], "wanted": plan,
                   "why": bundle.manifest["plan"]["why"], "runs code": "l-pipe" == name,
                   "said": np.asarray(model.predict(ask))[kept].tolist()}
    if hasattr(model, "predict_proba") and name != "x-several":   # it has no classes
        truth[name]["proba"] = np.asarray(model.predict_proba(X))[kept].tolist()
json.dump(truth, open(sys.argv[1], "w"))
