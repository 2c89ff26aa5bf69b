"""BentoML, as its documentation shows it."""
import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=2)
class Model:
    def __init__(self):
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, inputs: np.ndarray) -> dict:
        return {"predictions": self.model.predict(inputs).tolist()}
