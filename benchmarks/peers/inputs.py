"""The rows of a request, as one writes it by hand: an array, or a table where the model learnt from one."""
import json
import os

import numpy as np

DTYPES = json.loads(os.environ.get("DTYPES", "null"))


def rows_of(inputs):
    if DTYPES is None:
        return np.array(inputs, dtype=float)
    import pandas as pd

    return pd.DataFrame(inputs).astype(DTYPES)
