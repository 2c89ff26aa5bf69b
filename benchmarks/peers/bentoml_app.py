"""BentoML, as its documentation shows it."""
import os

import bentoml
import joblib
from inputs import rows_of


@bentoml.service(workers=2)
class Model:
    def __init__(self):
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, inputs: list) -> dict:
        return {"predictions": self.model.predict(rows_of(inputs)).tolist()}
