"""KServe's REST client against a served mlship: V1, and V2 in JSON and with binary tensors."""

import asyncio

import numpy as np
from cases import load
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

url, cases = load()
X = np.array(cases["iris"]["rows"])


async def main():
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await v1.is_model_ready(url, "iris")
    got = await v1.infer(url, {"instances": X.tolist()}, model_name="iris")
    assert got == {"predictions": cases["iris"]["predictions"]}
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await v2.is_server_live(url) and await v2.is_server_ready(url) and await v2.is_model_ready(url, "iris")
    for binary in (False, True):
        tensor = InferInput("input-0", list(X.shape), "FP64")
        tensor.set_data_from_numpy(X, binary_data=binary)
        request = InferRequest(
            "iris",
            [tensor],
            request_id="9",
            request_outputs=[
                RequestedOutput("predict", {"binary_data": False}),
                RequestedOutput("probabilities", {"binary_data": binary}),
            ],
        )
        got = await v2.infer(url, request, model_name="iris")
        assert got.id == "9" and got.outputs[0].data == cases["iris"]["predictions"], got
        assert isinstance(got.outputs[1], InferOutput)
        assert np.abs(got.outputs[1].as_numpy().reshape(-1, 3) - cases["iris"]["probabilities"]).max() < 1e-6


asyncio.run(main())
