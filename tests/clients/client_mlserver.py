"""MLServer's types, codecs and its `mlserver infer` against a served mlship."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import requests
from cases import load
from mlserver.codecs import NumpyCodec, NumpyRequestCodec, PandasCodec, StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RepositoryIndexResponse,
)

url, cases = load()
MetadataServerResponse.model_validate(requests.get(url + "/v2").json())
MetadataModelResponse.model_validate(requests.get(url + "/v2/models/mixed").json())
RepositoryIndexResponse.model_validate(requests.post(url + "/v2/repository/index", json={"ready": True}).json())


def infer(model, request):
    r = requests.post(
        f"{url}/v2/models/{model}/infer", data=request.model_dump_json(), headers={"content-type": "application/json"}
    )
    assert r.status_code == 200, r.text
    return InferenceResponse.model_validate(r.json())


def output(response, name="predict"):
    return next(o for o in response.outputs if o.name == name)


X = np.array(cases["iris"]["rows"])
got = infer("iris", NumpyRequestCodec.encode_request(X))
assert StringCodec.decode_output(output(got)) == cases["iris"]["predictions"]
assert np.abs(NumpyCodec.decode_output(output(got, "probabilities")) - cases["iris"]["probabilities"]).max() < 1e-6
got = infer("iris", InferenceRequest(inputs=[NumpyCodec.encode_input("input-0", X)], id="8"))
assert got.id == "8" and got.model_version == "1"
mixed = pd.DataFrame(cases["mixed"]["columns"])
assert (
    StringCodec.decode_output(output(infer("mixed", PandasCodec.encode_request(mixed))))
    == cases["mixed"]["predictions"]
)
for base64 in (False, True):
    words = StringCodec.encode_input(cases["text"]["name"], cases["text"]["rows"], use_bytes=base64)
    if base64 and any(isinstance(w, bytes) for w in words.data.root):
        words.data.root = [w.decode() for w in words.data.root]
    assert (
        StringCodec.decode_output(output(infer("text", InferenceRequest(inputs=[words]))))
        == cases["text"]["predictions"]
    )

with tempfile.TemporaryDirectory() as folder:  # the command: one request a line in, one answer a line out
    folder = Path(folder)
    rows = [NumpyRequestCodec.encode_request(X[i : i + 1]) for i in range(5)]
    (folder / "in.txt").write_text("".join(r.model_dump_json() + "\n" for r in rows))
    done = subprocess.run(
        [
            Path(sys.executable).parent / "mlserver",
            "infer",
            "-u",
            url.removeprefix("http://"),
            "-m",
            "iris",
            "-i",
            folder / "in.txt",
            "-o",
            folder / "out.txt",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "out.txt").read_text().splitlines()]
    assert sorted(line["outputs"][0]["data"][0] for line in lines) == sorted(cases["iris"]["predictions"][:5]), lines
