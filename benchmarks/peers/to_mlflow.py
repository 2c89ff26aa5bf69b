"""A joblib file as an MLflow model, with the signature that MLflow infers."""
import json
import sys
from pathlib import Path

import joblib
import mlflow.sklearn
import numpy as np
import pandas as pd

path = Path(sys.argv[1])
rows, model = json.loads(path.with_name("rows.json").read_text()), joblib.load(path)
table = pd.DataFrame(rows) if isinstance(rows[0], dict) else np.array(rows)
mlflow.sklearn.save_model(model, path.with_suffix(".mlflow"), serialization_format="cloudpickle",
                          signature=mlflow.models.infer_signature(table))
