"""The models of test_adapters.py. Run as a script in a folder that is deleted afterwards: MAKE.PY TRUTH.JSON"""
import json, os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd
from sklearn import cluster, compose, datasets, decomposition, ensemble, feature_extraction, impute, linear_model
from sklearn import model_selection, neighbors, neural_network, pipeline, preprocessing, svm, tree
from sklearn.base import BaseEstimator, TransformerMixin
from mlship import ship
from mlship.shipping import rows_json
from mlship.outputs import answers, to_list
from mlship.schema import infer, length
import helper

rng = np.random.default_rng(0)
X, y = datasets.load_iris(return_X_y=True)
iris = pd.DataFrame(X, columns=["a b", "c", "d", "e"])
Xd, yd = datasets.load_diabetes(return_X_y=True)
digits = datasets.load_digits().images[:60].astype("uint8")
n = 120
table = pd.DataFrame(
    {
        "age": rng.integers(18, 90, n),
        "pay": np.where(rng.random(n) < 0.2, np.nan, rng.lognormal(3, 1, n)),
        "job": rng.choice(["cook", "nurse", "smith"], n),
        "town": rng.choice(["A", "B", None], n),
        "kids": pd.array(rng.choice([0, 1, 2], n), dtype="Int64"),
        "home": rng.random(n) < 0.5,
        "level": pd.Categorical(rng.choice(["low", "high"], n), categories=["low", "mid", "high"], ordered=True),
        "since": pd.date_range("2020-01-01", periods=n),
    }
)
table.loc[3, "kids"] = pd.NA
label = np.where(table.age > 50, "old", "young")

class Days(BaseEstimator, TransformerMixin):
    def fit(self, X, y=None): return self
    def transform(self, X):
        X = X.assign(since=(X["since"] - pd.Timestamp("2020-01-01")).dt.days, kids=X["kids"].astype("float64"),
                     level=X["level"].cat.codes, home=X["home"].astype(int))
        return X
class Doubler:
    def predict(self, X): return np.asarray(X)[:, 0] * 2
    def fit(self, X, y=None): return self

words = ["good film", "bad film", "good plot", "dull bad plot"] * 8
mood = np.array(["+", "-", "+", "-"] * 8)
texts = lambda: pipeline.make_pipeline(feature_extraction.text.TfidfVectorizer(), linear_model.LogisticRegression())
encode = compose.make_column_transformer(
    (pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()), ["age", "pay", "kids", "since"]),
    (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["job", "town"]), ("passthrough", ["home", "level"]))
mixed = pipeline.make_pipeline(Days(), encode, linear_model.LogisticRegression())
simple = compose.make_column_transformer(
    (impute.SimpleImputer(), ["age", "pay"]), (preprocessing.OneHotEncoder(), ["job"])
)
scaler = preprocessing.StandardScaler().fit(X)
bare = linear_model.LogisticRegression().fit(scaler.transform(X), y)
trained = linear_model.Ridge().fit(Xd, yd)
def risk(age, pay=None): return {"risk": age / 100, "rich": pay is not None and pay > 20}
def closure(by):
    def shifted(X): return trained.predict(X) + by
    return shifted

MODELS = {
    "lr": (linear_model.LogisticRegression(max_iter=500).fit(X, y), X),
    "lr-names": (linear_model.LogisticRegression(max_iter=500).fit(iris, y), iris),
    "rf": (ensemble.RandomForestClassifier(20, random_state=0).fit(iris, y), iris),
    "hgb": (ensemble.HistGradientBoostingRegressor(max_iter=20).fit(Xd, yd), Xd),
    "svc": (svm.SVC().fit(X, y), X),
    "knn": (neighbors.KNeighborsClassifier().fit(X, y), X),
    "mlp": (neural_network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=20, random_state=0).fit(Xd, yd), Xd),
    "kmeans": (cluster.KMeans(3, n_init=1, random_state=0).fit(X), X),
    "pca": (decomposition.PCA(2).fit(X), X),
    "two-outputs": (linear_model.Ridge().fit(Xd, np.c_[yd, -yd]), Xd),
    "float32": (linear_model.Ridge().fit(Xd.astype("float32"), yd.astype("float32")), Xd.astype("float32")),
    "text-list": (texts().fit(words, mood), words),
    "text-series": (texts().fit(pd.Series(words), mood), pd.Series(words, name="review")),
    "mixed": (mixed.fit(table, label), table),
    "simple": (
        pipeline.make_pipeline(simple, tree.DecisionTreeClassifier(random_state=0)).fit(
            table[["age", "pay", "job"]], label
        ),
        table[["age", "pay", "job"]],
    ),
    "grid": (
        model_selection.GridSearchCV(linear_model.LogisticRegression(max_iter=500), {"C": [0.1, 1]}, cv=2).fit(X, y),
        X,
    ),
    "lambda-step": (
        pipeline.make_pipeline(preprocessing.FunctionTransformer(lambda M: M**2), linear_model.Ridge()).fit(Xd, yd),
        Xd,
    ),
    "own-class": (Doubler(), X),
    "batch": (lambda M: M.sum(axis=1), X),
    "row": (lambda text: len(text), ["a", "bcd", ""]),
    "one-value": (str.upper, "text"),
    "arguments": (risk, [{"age": 30, "pay": 50.5}, {"age": 40, "pay": None}]),
    "columns": (lambda c: np.array(c["a"]) + np.array(c["b"]), {"a": [1, 2], "b": [3.5, 4]}),
    "images": (lambda images: images.reshape(len(images), -1).sum(axis=1), digits),
    "closure": (closure(5), Xd),
    "helper": (lambda x: helper.times(x), [1.0, 2.0]),
    "helper-object": (helper.Shift(5), [1, 2]),
    "odd-answers": (lambda x: [np.float32(0.1), np.int64(2**62 + 1), float("nan"), None, np.bool_(True), "ü"], ["x"]),
}
only = os.environ.get("ONLY")
for name, (model, rows) in MODELS.items():
    if only and name != only: continue
    bundle = ship(model, rows, name=name, check=name in ("mixed", "helper"))
before = ship(bare, X, name="before", before=scaler.transform, after=lambda k: ["label %d" % i for i in k], check=False)
MODELS["before"] = (lambda M: ["label %d" % i for i in bare.predict(scaler.transform(M))], X)

truth = {}
def call(model, batch, name):
    if name == "pca": return model.transform(batch)
    if name == "arguments": return [risk(**r) for r in batch]
    if hasattr(model, "predict"): return model.predict(batch)
    if name in ("row", "one-value", "helper", "odd-answers"): return [model(x) for x in batch]
    return model(batch)
for name, (model, rows) in MODELS.items():
    signature, batch = infer(rows)
    entry = {"rows": rows_json(signature, batch), "answers": to_list(answers(call(model, batch, name), length(batch)))}
    if hasattr(model, "predict_proba"): entry["probabilities"] = to_list(model.predict_proba(batch))
    truth[name] = entry
json.dump(truth, open(sys.argv[1], "w"))
