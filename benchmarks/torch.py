"""A network of ResNet's size, served on the CPU: with and without batching, beside LitServe and Flask by hand.

    .venv-deep/bin/python benchmarks/torch.py      (make deep makes that environment; needs wrk)

Each server has 2 processes of one thread each and gets the same picture as base64 in JSON, from 32 connections.
Writes docs/torch.md. Run nothing else meanwhile.
"""
import sys

sys.path.pop(0)   # this file's folder: it would be found for `import torch`
import argparse
import base64
import importlib.util
import io
import json
import os
import platform
import signal
import subprocess
import tempfile
import time
import urllib.error
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


serve = module_of(HERE / "serve.py")


def python_with_torch(name, packages):
    "An environment with these packages, which finds this one's torch behind its own"
    import sysconfig
    shared = sysconfig.get_path("purelib")
    serve.SAME = ()
    python = serve.python_of(f"torch-{name}", packages)
    place = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                           capture_output=True, text=True, check=True).stdout.strip()
    Path(place, "zz_shared_torch.pth").write_text(shared + "\n")
    return python


def commands(port, work):
    mlship = [Path(sys.executable).parent / "mlship", "serve", "resnet", "--port", port, "--workers", 2,
              "--access-log", "off"]
    flask = python_with_torch("flask", ["flask", "gunicorn"])
    lit = [python_with_torch("litserve", ["litserve"]), HERE / "peers" / "resnet_litserve.py", port]
    one = {"OMP_NUM_THREADS": "1"}
    return {
        "mlship": (mlship, "/readyz", {}),
        "mlship, batching off": ([*mlship, "--batching", "off"], "/readyz", {}),
        "mlship, batching on": ([*mlship, "--batching", "on"], "/readyz", {}),
        "LitServe": (lit, "/ready", one),
        "LitServe, batches of 8": (lit, "/ready", {**one, "BATCH": "8"}),
        "Flask + gunicorn": ([flask, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "--chdir",
                              HERE / "peers", "resnet_flask:app"], "/ready", one),
    }


def measure(name, seconds, body, truth, work):
    port = serve.free_ports()
    command, ready, env = commands(port, work)[name]
    url, log = f"http://127.0.0.1:{port}", open(work / "log", "wb")
    begun = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True, cwd=work,
                               env={**os.environ, **env})
    try:
        while True:
            try:
                with serve.urllib.request.urlopen(url + ready, timeout=2):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError, OSError):
                if process.poll() is not None or time.perf_counter() - begun > 120:
                    raise RuntimeError(f"{name} did not start: {(work / 'log').read_text()[-800:]}") from None
                time.sleep(.05)
        started = time.perf_counter() - begun
        answer = json.loads(serve.post(url + "/predict", body))["predictions"]
        assert answer == truth, (name, answer, truth)
        serve.wrk(url + "/predict", body, 32, 2, work)
        many, one = (serve.wrk(url + "/predict", body, n, seconds, work) for n in (32, 1))
        return {"per_second": many["per_second"], "p50_ms": many["p50_ms"], "one_p50_ms": one["p50_ms"],
                "errors": many["errors"] + one["errors"], "start_s": started, "MB": serve.memory_mb(process.pid)}
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these servers")
    parser.add_argument("--seconds", type=int, default=10)
    args = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print("SKIPPED: there is no torch here; make deep, then .venv-deep/bin/python benchmarks/torch.py")
        return
    sys.path.append(str(HERE / "peers"))
    import resnet
    import torch
    from PIL import Image

    from mlship import ship
    picture = Image.effect_mandelbrot((96, 96), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    out = io.BytesIO()
    picture.save(out, "PNG")
    model = resnet.resnet18()
    with torch.inference_mode():
        truth = resnet.best(model(resnet.to_tensor([picture]))).tolist()
    results = {}
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        os.environ["MLSHIP_HOME"] = str(work / "home")
        ship(model, [picture], name="resnet", before=resnet.to_tensor, after=resnet.best)
        body = json.dumps({"inputs": [base64.b64encode(out.getvalue()).decode()]}).encode()
        names = args.names or list(commands(1, work))
        for name in names:
            results[name] = measure(name, args.seconds, body, truth, work)
            print(f"{name:24} {results[name]}", flush=True)
    if args.names:
        return
    base = results["Flask + gunicorn"]
    lines = ["# A network of ResNet's size on the CPU", "",
             "ResNet-18 (11.7 million weights), one picture of 224 × 224 a request, 32 connections, 2 processes of one "
             f"thread each, {os.cpu_count()} cores. Made by `.venv-deep/bin/python benchmarks/torch.py`, the servers "
             "one after another in one run.", "",
             "| server | requests a second | × Flask by hand | p50, 32 connections | p50, one | MB |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    lines += [f"| {name} | {r['per_second']:.1f} | {r['per_second'] / base['per_second']:.2f} | {r['p50_ms']:.0f} ms | "
              f"{r['one_p50_ms']:.0f} ms | {r['MB']:.0f} |" for name, r in results.items()]

    def v(name, python=None):
        if python:
            done = subprocess.run([python, "-c", f"from importlib.metadata import version; print(version('{name}'))"],
                                  capture_output=True, text=True)
            return f"{name} {done.stdout.strip()}"
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return name
    joined = results["mlship"]["per_second"] / results["mlship, batching off"]["per_second"]
    lines += ["", "By itself (`--batching auto`) mlship measures, when it loads a model, whether joining requests "
              f"pays. Here it gave {joined:.1f} times the throughput, for the memory that a batch's layers take.", "",
              f"{v('torch')}, {v('litserve', python_with_torch('litserve', ['litserve']))}, "
              f"{v('gunicorn', python_with_torch('flask', ['flask', 'gunicorn']))}, "
              f"Python {platform.python_version()}."]
    (HERE.parent / "docs" / "torch.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
