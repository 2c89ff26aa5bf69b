"""LitServe, as its documentation shows it; BATCH pictures at once."""
import os
import sys

import litserve
import torch
from resnet import best, decode, resnet18, to_tensor

BATCH = int(os.environ.get("BATCH", "1"))


class Model(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(1)
        self.model = resnet18()

    def decode_request(self, request):
        return decode(request["inputs"][0])

    def predict(self, images):
        with torch.inference_mode():
            found = best(self.model(to_tensor(images if BATCH > 1 else [images]))).tolist()
        return found if BATCH > 1 else found[0]

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"predictions": [output]}


if __name__ == "__main__":
    many = dict(max_batch_size=BATCH, batch_timeout=.01) if BATCH > 1 else {}
    server = litserve.LitServer(Model(**many), accelerator="cpu", workers_per_device=2, healthcheck_path="/ready")
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, num_api_servers=2)
