"""The notebook runs, and what it ships answers."""
from pathlib import Path

import pandas as pd
from mlship import load
from mlship.notebook import run_notebook

NOTEBOOK = Path(__file__).parent.parent / "notebook.ipynb"


def test_what_the_notebook_ships_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("MLSHIP_HOME", str(tmp_path))
    ran = run_notebook(NOTEBOOK, {"C": 0.5})
    assert [s["name"] for s in ran.shipped] == ["{{ name }}"]
    columns = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
    assert list(load("{{ name }}").predict(pd.DataFrame([[5.1, 3.5, 1.4, 0.2]], columns=columns))) == [0]
