"""A joblib file as ONNX, as skl2onnx's documentation shows it."""
import json
import sys
from pathlib import Path

import joblib
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType

path = Path(sys.argv[1])
row, model = json.loads(path.with_name("rows.json").read_text())[0], joblib.load(path)
if isinstance(row, dict):
    kinds = {c: StringTensorType if isinstance(v, str) else FloatTensorType for c, v in row.items()}
    types = [(c, kind([None, 1])) for c, kind in kinds.items()]
else:
    types = [("X", FloatTensorType([None, len(row)]))]
made = to_onnx(model, initial_types=types, options={id(model): {"zipmap": False}})
path.with_suffix(".onnx").write_bytes(made.SerializeToString())
