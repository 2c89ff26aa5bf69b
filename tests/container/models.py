"""What test_container.py builds images of. Run as a script, so that its classes and functions are of __main__."""
import time

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlship import ship

LIMIT = 3


class Clip(BaseEstimator, TransformerMixin):
    "Nothing that can be imported: its code travels with the bundle"
    def fit(self, X, y=None): return self
    def transform(self, X): return np.clip(X, -LIMIT, LIMIT)


def double(x):
    if x == 77:
        time.sleep(2)
    return 2 * x


X, y = load_breast_cancer(return_X_y=True, as_frame=True)
for C in (1.0, 0.1):  # two versions
    ship(make_pipeline(StandardScaler(), Clip(), LogisticRegression(C=C)).fit(X, y), X, y, name="tumour")
ship(double, [1.0, 2.5, -3.0], name="double", title='The "double", for $5')
ship(lambda x: x, [1], name="impossible", requirements=["scikit-learn==99.0"], check=False)

# a plan with trees, text and missing values: fit for a lean image
rng = np.random.default_rng(0)
people = pd.DataFrame({"age": rng.uniform(18, 90, 400), "income": rng.normal(3000, 500, 400),
                       "city": rng.choice(["Bonn", "Ulm", "Kiel"], 400)})
people.loc[::20, "income"] = np.nan
columns = make_column_transformer((SimpleImputer(), ["age", "income"]), (OneHotEncoder(), ["city"]))
old = make_pipeline(columns, RandomForestClassifier(20, random_state=0)).fit(people, people.age > 50)
ship(old, people, people.age > 50, name="people")
