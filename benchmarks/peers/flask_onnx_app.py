"""Flask by hand, with ONNX Runtime in the view instead of scikit-learn."""
import os
from pathlib import Path

import flask
import numpy as np
import onnxruntime
from inputs import DTYPES, rows_of

session = onnxruntime.InferenceSession(Path(os.environ["MODEL"]).with_suffix(".onnx"))
app = flask.Flask(__name__)


@app.post("/predict")
def predict():
    rows = rows_of(flask.request.get_json()["inputs"])
    if DTYPES is None:
        feed = {"X": rows.astype(np.float32)}
    else:
        feed = {c: rows[[c]].to_numpy(np.float32 if rows[c].dtype == float else object) for c in rows}
    return {"predictions": session.run(None, feed)[0].tolist()}


@app.get("/ready")
def ready():
    return {}
