"""What everybody writes by hand: Flask, torch, one picture a request."""
import flask
import torch
from resnet import best, decode, resnet18, to_tensor

torch.set_num_threads(1)
model = resnet18()
app = flask.Flask(__name__)


@app.post("/predict")
def predict():
    with torch.inference_mode():
        found = best(model(to_tensor([decode(t) for t in flask.request.get_json()["inputs"]])))
    return {"predictions": found.tolist()}


@app.get("/ready")
def ready():
    return {}
