"""The container's first process: mlship on the port that the platform names, and ended by the first stop.

Process 1 has no default action for a signal: one that came before the server listens to it would be lost, and the
container would be killed after the engine's patience. So this listens from the first moment.
"""
import json
import os
import signal
import sys
from pathlib import Path

OURS, SAGEMAKERS = Path("/opt/mlship/model/bundle"), Path("/opt/ml/model")


def find_port():
    "mlship's own setting, Vertex AI's, then the one of Cloud Run, Heroku and others"
    for name in ("MLSHIP_PORT", "AIP_HTTP_PORT", "PORT"):
        if port := os.environ.get(name):
            if not (port.isdecimal() and 0 < int(port) < 65536):
                sys.exit(f"error: {name} is {port!r}, which is no port\n→ set {name} to a number, or leave it out")
            return port
    return "8080"


def find_bundle():
    "What SageMaker unpacked from ModelDataUrl, where there is a bundle in it; else the model of this image"
    there = [*SAGEMAKERS.glob("bundle.json"), *SAGEMAKERS.glob("*/bundle.json")]
    if not there and SAGEMAKERS.is_dir() and any(SAGEMAKERS.iterdir()):
        print(f"note: {SAGEMAKERS} holds no bundle; the model of this image serves", file=sys.stderr)
    return there[0].parent if there else OURS


def vertex_routes(bundle):
    "The paths at which Vertex AI asks, and ours that answer them"
    name = json.loads((bundle / "bundle.json").read_bytes())["name"]
    ours = {"AIP_HEALTH_ROUTE": "/readyz", "AIP_PREDICT_ROUTE": f"/v1/models/{name}:predict"}
    return " ".join(f"{os.environ[said]}={path}" for said, path in ours.items() if os.environ.get(said))


def is_ready(port):
    "For HEALTHCHECK: raises, and so ends with a code other than 0, until all workers answer"
    import urllib.request
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/readyz", timeout=4)


def prove(bundle):
    "For the build: the model loads and answers every kept example as the notebook did, or this ends with 1"
    from mlship.release import replay
    from mlship.shipping import load
    model = load(str(bundle))
    found = replay(model, model)
    if found.wrong or found.refused:
        sys.exit(f"error: {found.wrong} of {found.rows // 2} kept examples are answered otherwise than in the notebook,"
                 f" {found.refused} are refused")
    print(f"proven: {found.rows // 2} kept examples are answered as in the notebook")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if sys.argv[1:] == ["is-ready"]:
        is_ready(find_port())
    elif sys.argv[1:2] == ["prove"]:  # and perhaps where the bundle is, outside of an image
        prove(Path(*sys.argv[2:3]) if sys.argv[2:] else OURS)
    else:
        os.environ["MLSHIP_PORT"] = find_port()
        if not os.environ.get("MLSHIP_SERVE"):
            os.environ["MLSHIP_SERVE"] = str(find_bundle())
        if routes := vertex_routes(Path(os.environ["MLSHIP_SERVE"])) if "AIP_PREDICT_ROUTE" in os.environ else "":
            os.environ["MLSHIP_ROUTES"] = f"{os.environ.get('MLSHIP_ROUTES', '')} {routes}".strip()
        from mlship.cli import main
        main(prog_name="mlship")
