"""Our OpenAPI document against ourselves: whatever it allows is answered as it says."""
import numpy as np
import pandas as pd
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from schemathesis.specs.openapi.checks import status_code_conformance

from mlship.app import create_app
from mlship.shipping import load, ship

load_all_checks()
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    from sklearn.linear_model import LogisticRegression
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLSHIP_HOME", str(tmp_path_factory.mktemp("home")))
        X = pd.DataFrame({"age": [1.0, 2, np.nan, 4], "job": ["a", "b", "a", "b"], "n": [1, 2, 3, 4], "b": [True] * 4})
        ship(lambda f: (f["n"] % 2).to_numpy(), X, name="table", check=False)
        M = np.array([[0.0], [1], [2], [3]])
        ship(LogisticRegression().fit(M, ["x", "x", "y", "y"]), M, name="classes", check=False)
        yield create_app(load("table"), load("classes"))


@pytest.mark.slow
def test_every_operation_answers_as_the_document_says(app):
    seen = 0
    for result in schemathesis.openapi.from_wsgi("/openapi.json", app).get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def check(case):
            case.validate_response(case.call(), checks=CHECKS)
        check()
        seen += 1
    assert seen >= 8
