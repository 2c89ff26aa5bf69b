"""MLflow's own client of a scoring server against a served mlship."""

import sys

import pandas as pd
from cases import load
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

url, cases = load()
host, port = url.removeprefix("http://").split(":")
client = ScoringServerClient(host, port)
client.ping()
assert client.get_version()
mixed = pd.DataFrame(cases["mixed"]["columns"])
for frame in (mixed, mixed[mixed.columns[::-1]], mixed.assign(id=range(len(mixed)))):  # any order, strangers dropped
    got = client.invoke(frame).get_predictions()
    assert got[got.columns[0]].tolist() == cases["mixed"]["predictions"], got
try:
    client.invoke(mixed.drop(columns="age"))
except Exception as e:
    assert "age: is not there" in str(e), e
else:
    sys.exit("this should have been refused")
