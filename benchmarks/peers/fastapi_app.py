"""The same with FastAPI and a pydantic model of the request."""
import os

import fastapi
import joblib
import pydantic
from inputs import rows_of

model = joblib.load(os.environ["MODEL"])
app = fastapi.FastAPI()


class Rows(pydantic.BaseModel):
    inputs: list[list[float]] | list[dict[str, float | str | None]]


@app.post("/predict")
def predict(rows: Rows):
    return {"predictions": model.predict(rows_of(rows.inputs)).tolist()}


@app.get("/ready")
def ready():
    return {}
