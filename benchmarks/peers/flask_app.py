"""What everybody writes by hand: Flask, joblib, predict."""
import os

import flask
import joblib
import numpy as np

model = joblib.load(os.environ["MODEL"])
app = flask.Flask(__name__)


@app.post("/predict")
def predict():
    rows = np.array(flask.request.get_json()["inputs"], dtype=float)
    return {"predictions": model.predict(rows).tolist()}


@app.get("/ready")
def ready():
    return {}
