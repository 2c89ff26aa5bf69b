"""What everybody writes by hand: Flask, joblib, predict."""
import os

import flask
import joblib
from inputs import rows_of

model = joblib.load(os.environ["MODEL"])
app = flask.Flask(__name__)


@app.post("/predict")
def predict():
    return {"predictions": model.predict(rows_of(flask.request.get_json()["inputs"])).tolist()}


@app.get("/ready")
def ready():
    return {}
