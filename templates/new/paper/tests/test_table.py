"""The paper's table comes out again, and its model has a page."""
import shutil
from pathlib import Path

import pandas as pd
from mlship.notebook import run_notebook

HERE = Path(__file__).parent


def test_the_table_comes_out_again(tmp_path, monkeypatch):
    monkeypatch.setenv("MLSHIP_HOME", str(tmp_path / "home"))
    shutil.copy(HERE.parent / "notebook.ipynb", tmp_path)
    ran = run_notebook(tmp_path / "notebook.ipynb")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), pd.read_csv(HERE / "expected.csv"), atol=0.01)
    assert [s["name"] for s in ran.shipped] == ["{{ name }}"]
