"""The same with FastAPI and a pydantic model of the request."""
import os

import fastapi
import joblib
import numpy as np
import pydantic

model = joblib.load(os.environ["MODEL"])
app = fastapi.FastAPI()


class Rows(pydantic.BaseModel):
    inputs: list[list[float]]


@app.post("/predict")
def predict(rows: Rows):
    return {"predictions": model.predict(np.array(rows.inputs)).tolist()}


@app.get("/ready")
def ready():
    return {}
