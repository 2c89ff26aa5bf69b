"""NVIDIA's Triton client against a served mlship: binary tensors and JSON, text, compression, metadata, errors."""

import sys

import numpy as np
import tritonclient.http as triton
from cases import load
from tritonclient.utils import InferenceServerException

url, cases = load()
client = triton.InferenceServerClient(url.removeprefix("http://"), concurrency=4)
assert (
    client.is_server_live()
    and client.is_server_ready()
    and client.is_model_ready("iris")
    and not client.is_model_ready("none")
)
assert (
    client.get_server_metadata()["name"] == "mlship"
    and "binary_tensor_data" in client.get_server_metadata()["extensions"]
)
about = client.get_model_metadata("iris")
assert about["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 4]}] and about["versions"] == ["1"]
assert {m["name"] for m in client.get_model_repository_index()} == {"iris", "mixed", "text", "image", "single"}


def tensor(name, values, kind, binary):
    t = triton.InferInput(name, list(values.shape), kind)
    t.set_data_from_numpy(values, binary_data=binary)
    return t


X = np.array(cases["iris"]["rows"])
for sent in (True, False):
    for back in (True, False):
        for packed in (None, "gzip", "deflate"):
            got = client.infer(
                "iris",
                [tensor("input-0", X, "FP64", sent)],
                request_id="7",
                outputs=[
                    triton.InferRequestedOutput("predict", binary_data=back),
                    triton.InferRequestedOutput("probabilities", binary_data=back),
                ],
                request_compression_algorithm=packed,
                response_compression_algorithm=packed,
            )
            labels = [v.decode() if isinstance(v, bytes) else v for v in got.as_numpy("predict").tolist()]
            assert labels == cases["iris"]["predictions"] and got.get_response()["id"] == "7"
            assert np.abs(got.as_numpy("probabilities") - cases["iris"]["probabilities"]).max() < 1e-6
got = client.infer("iris", [tensor("input-0", X, "FP64", True)], model_version="1")  # all outputs, binary by default
assert len(got.as_numpy("predict")) == len(X) and got.as_numpy("probabilities").shape == (len(X), 3)

words = np.array(cases["text"]["rows"], dtype=object)
for sent in (True, False):
    got = client.infer("text", [tensor(cases["text"]["name"], words, "BYTES", sent)]).as_numpy("predict").tolist()
    assert [v.decode() if isinstance(v, bytes) else v for v in got] == cases["text"]["predictions"], got
images = np.array(cases["image"]["rows"], dtype=np.uint8)
assert (
    client.infer("image", [tensor("input-0", images, "UINT8", True)]).as_numpy("predict").tolist()
    == cases["image"]["predictions"]
)
singles = np.array(cases["single"]["rows"], dtype=np.float32)
got = client.infer("single", [tensor("input-0", singles, "FP32", True)]).as_numpy("predict")
assert got.dtype == np.float32 and got.tolist() == cases["single"]["predictions"]

kinds = {"age": "FP64", "city": "BYTES", "member": "BOOL", "visits": "INT64"}
columns = [
    tensor(
        name,
        np.array(
            [np.nan if v is None else v for v in values],
            dtype=object if kinds[name] == "BYTES" else {"FP64": "f8", "BOOL": "?", "INT64": "i8"}[kinds[name]],
        ),
        kinds[name],
        True,
    )
    for name, values in cases["mixed"]["columns"].items()
]
got = client.infer("mixed", columns).as_numpy("predict").tolist()
assert [v.decode() for v in got] == cases["mixed"]["predictions"]

waiting = [client.async_infer("iris", [tensor("input-0", X[i : i + 1], "FP64", True)]) for i in range(8)]
assert [w.get_result().as_numpy("predict").tolist()[0].decode() for w in waiting] == cases["iris"]["predictions"][:8]

for wrong in (
    lambda: client.infer("iris", [tensor("input-0", X[:, :3], "FP64", True)]),
    lambda: client.infer("none", [tensor("input-0", X, "FP64", True)]),
    lambda: client.infer("iris", [tensor("input-0", X, "FP64", True)], model_version="9"),
    lambda: client.infer("iris", [tensor("input-0", X * np.nan, "FP64", True)]),
    lambda: client.infer("mixed", columns[:1]),
):
    try:
        wrong()
        sys.exit("this should have been refused")
    except InferenceServerException as e:
        assert e.status() in ("400", "404") and e.message()
