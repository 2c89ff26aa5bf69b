"""How fast is `mlship serve`, beside what else there is? One run, one machine, one request a row.

    python benchmarks/serve.py                 all peers; each gets an environment of its own (minutes, the first time)
    python benchmarks/serve.py mlship flask    some of them

Needs wrk (apt-get install wrk). Writes docs/serve.md, docs/serve.svg and docs/serve.json. Run nothing else meanwhile.
"""
import argparse
import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS, DOCS = HERE / "peers", HERE.parent / "docs"
CACHE = Path(os.environ.get("MLSHIP_BENCH_CACHE", Path(tempfile.gettempdir()) / "mlship-bench"))
SKLEARN, NUMPY = "scikit-learn", "numpy"
WORKERS = "2"


def python_of(name, packages):
    "The python of an environment that has these packages at this interpreter's versions of scikit-learn and NumPy"
    from importlib.metadata import version

    wanted = [
        f"{p}=={version(p)}" if p in (SKLEARN, NUMPY, "joblib") else p for p in (*packages, SKLEARN, NUMPY, "joblib")
    ]
    place = CACHE / f"{name}-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:10]}"
    python = place / "bin" / "python"
    if not (place / "done").exists():
        print(f"   making an environment for {name}: {' '.join(packages)}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1][:300])
        (place / "done").touch()
    return python


def mlship(port, work, model):
    return (
        [Path(sys.executable).parent / "mlship", "serve", "bench", "--port", str(port), "--workers", WORKERS],
        "/predict",
        "/readyz",
        {},
    )


def limit(port, work, model):
    return (
        [
            Path(sys.executable).parent / "granian",
            "--interface",
            "wsgi",
            "--port",
            str(port),
            "--workers",
            WORKERS,
            "--no-log",
            "--working-dir",
            str(PEERS),
            "constant_app:app",
        ],
        "/predict",
        "/predict",
        {},
    )


def flask(port, work, model):
    python = python_of("flask", ["flask", "gunicorn"])
    return (
        [python, "-m", "gunicorn", "-w", WORKERS, "-b", f"127.0.0.1:{port}", "--chdir", PEERS, "flask_app:app"],
        "/predict",
        "/ready",
        {},
    )


def fastapi(port, work, model):
    python = python_of("fastapi", ["fastapi", "uvicorn[standard]"])
    return (
        [
            python,
            "-m",
            "uvicorn",
            "--workers",
            WORKERS,
            "--port",
            str(port),
            "--log-level",
            "error",
            "--app-dir",
            PEERS,
            "fastapi_app:app",
        ],
        "/predict",
        "/ready",
        {},
    )


def litserve(port, work, model):
    return [python_of("litserve", ["litserve"]), PEERS / "litserve_app.py", str(port)], "/predict", "/ready", {}


def bentoml(port, work, model):
    python = python_of("bentoml", ["bentoml"])
    return (
        [python, "-m", "bentoml", "serve", "bentoml_app:Model", "--working-dir", PEERS, "--port", str(port)],
        "/predict",
        "/readyz",
        {"BENTOML_HOME": str(work / "bentoml"), "BENTOML_DO_NOT_TRACK": "1"},
    )


def mlflow(port, work, model):
    python = python_of("mlflow", ["mlflow"])
    place = work / f"mlflow-{model.stem}"
    code = (
        "import joblib, mlflow.sklearn, sys; mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2],"
        " serialization_format='cloudpickle')"
    )
    done = subprocess.run([python, "-c", code, model, place], capture_output=True, text=True, cwd=work)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1][:300])
    return (
        [
            python,
            "-m",
            "mlflow",
            "models",
            "serve",
            "-m",
            place,
            "--env-manager",
            "local",
            "-p",
            str(port),
            "-w",
            WORKERS,
        ],
        "/invocations",
        "/ping",
        {"MLFLOW_DISABLE_ENV_CREATION": "1", "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"},
    )


def mlserver(port, work, model):
    python = python_of("mlserver", ["mlserver", "mlserver-sklearn"])
    place = work / f"mlserver-{model.stem}"
    place.mkdir(exist_ok=True)
    (place / "settings.json").write_text(
        json.dumps(
            {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2, "parallel_workers": 0, "debug": False}
        )
    )
    (place / "model-settings.json").write_text(
        json.dumps(
            {"name": "bench", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(model)}}
        )
    )
    return [Path(python).parent / "mlserver", "start", place], "/v2/models/bench/infer", "/v2/models/bench/ready", {}


ALL = dict(
    mlship=mlship,
    limit=limit,
    flask=flask,
    fastapi=fastapi,
    litserve=litserve,
    bentoml=bentoml,
    mlflow=mlflow,
    mlserver=mlserver,
)
NAMES = {
    "mlship": "mlship",
    "limit": "limit (Granian, a constant)",
    "flask": "Flask + gunicorn, by hand",
    "fastapi": "FastAPI + uvicorn, by hand",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "mlflow": "MLflow",
    "mlserver": "MLServer (in process)",
}


def body_for(name, rows):
    if name == "mlserver":
        return {
            "inputs": [
                {
                    "name": "x",
                    "shape": [len(rows), len(rows[0])],
                    "datatype": "FP64",
                    "data": [v for r in rows for v in r],
                }
            ]
        }
    return {"inputs": rows}


def post(url, body):
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as r:
        return r.read()


def wrk(url, body, connections, seconds, work):
    script = work / "post.lua"
    script.write_text(
        f'wrk.method="POST"\nwrk.body={json.dumps(body.decode())}\nwrk.headers["content-type"]="application/json"\n'
    )
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url],
        capture_output=True,
        text=True,
    ).stdout
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    def latency(which):
        value, unit = re.search(rf"{which}%\s+([\d.]+)(us|ms|s)", out).groups()
        return float(value) * units[unit]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {
        "p50_ms": latency(50),
        "p99_ms": latency(99),
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "errors": int(bad[1]) if bad else 0,
    }


def memory_mb(pid):
    import psutil
    root = psutil.Process(pid)
    total = 0
    for p in [root, *root.children(recursive=True)]:
        try:
            total += p.memory_full_info().pss
        except psutil.Error:
            pass
    return total / 1e6


def free_ports(n=3):
    "The first of n free ports in a row, below those that the system hands out by itself"
    for port in range(20_000, 30_000, n):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for i in range(n):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + i))
            return port
    raise RuntimeError("no free ports")


def measure(name, model, rows, truth, seconds, work):
    "One server, started, asked, ended"
    port = free_ports()
    command, route, ready, env = ALL[name](port, work, model)
    url, one = f"http://127.0.0.1:{port}", json.dumps(body_for(name, rows[:1])).encode()
    log = open(work / f"{name}.log", "wb")
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True, cwd=work,
                               env={**os.environ, "MODEL": str(model), **env})
    try:
        while True:
            try:
                answer = post(url + route, one)
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - started > 90:
                    raise RuntimeError(f"never answered: {(work / f'{name}.log').read_text()[-300:]}") from None
                time.sleep(.01)
        first = time.perf_counter() - started
        time.sleep(1)
        for _ in range(50):
            post(url + route, one)
        found = {
            "first_answer_s": first,
            "one": wrk(url + route, one, 1, seconds, work),
            "many": wrk(url + route, one, 32, seconds, work),
            "memory_mb": memory_mb(process.pid),
        }
        if name != "limit":
            answers = json.loads(post(url + route, json.dumps(body_for(name, rows)).encode()))
            got = answers["predictions"] if "predictions" in answers else answers["outputs"][0]["data"]
            assert [int(v) for v in got] == truth, f"{name} answers otherwise"
            big, times = json.dumps(body_for(name, (rows * (10_000 // len(rows) + 1))[:10_000])).encode(), []
            for _ in range(5):
                begun = time.perf_counter()
                post(url + route, big)
                times.append(time.perf_counter() - begun)
            found["rows_10000_ms"] = sorted(times)[2] * 1e3
        assert answer
        return found
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, how)
                process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        time.sleep(.5)


def table(results, model):
    base = results["flask"][model]
    lines = [
        (
            "| server | requests/s, 32 connections | × Flask | p50, 1 connection | ÷ Flask | p99, 32 connections |"
            " first answer | 10,000 rows | memory |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, r in results.items():
        if model not in r:
            continue
        if "failed" in r[model]:
            lines.append(f"| {NAMES[name]} | did not run: {r[model]['failed']} | | | | | | | |")
            continue
        m = r[model]
        rows = f"{m['rows_10000_ms']:.0f} ms" if "rows_10000_ms" in m else ""
        lines.append(
            f"| {NAMES[name]} | {m['many']['per_second']:,.0f} |"
            f" {m['many']['per_second'] / base['many']['per_second']:.1f} | {m['one']['p50_ms']:.2f} ms |"
            f" {m['one']['p50_ms'] / base['one']['p50_ms']:.2f} | {m['many']['p99_ms']:.1f} ms |"
            f" {m['first_answer_s']:.1f} s | {rows} | {m['memory_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def chart(results, models):
    "Bars of requests a second, on a logarithmic scale"
    import math
    width, bar, gap, left = 760, 18, 8, 230
    rows, y, parts = [], 34, []
    for model, title in models.items():
        parts.append(f'<text x="0" y="{y}" font-weight="600">{title}: requests/s, 32 connections</text>')
        y += 12
        for name, r in results.items():
            if model not in r or "failed" in r[model]:
                continue
            value = r[model]["many"]["per_second"]
            length = (width - left - 80) * max(0, math.log10(value) - 1) / 4
            colour = "#0b6e4f" if name == "mlship" else "#b9c3cc" if name == "limit" else "#7d8b99"
            parts.append(
                f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{NAMES[name]}</text><rect x="{left}" y="{y}"'
                f' width="{length:.0f}" height="{bar}" fill="{colour}"/><text x="{left + length + 6:.0f}"'
                f' y="{y + 13}">{value:,.0f}</text>'
            )
            y += bar + gap
        y += 34
    rows = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" font-family="system-ui,sans-serif"'
        f' font-size="13"><rect width="100%" height="100%" fill="#fff"/>\n{rows}\n<text x="0" y="{y - 16}"'
        ' fill="#5b6570">logarithmic scale</text></svg>\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", choices=[*ALL, []], help="default: all")
    parser.add_argument("--seconds", type=int, default=5, help="for each measurement")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("this needs wrk: apt-get install wrk")
    wanted = [n for n in ALL if not args.peers or n in args.peers or n == "flask"]
    import joblib
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from mlship.shipping import ship
    X, y = load_breast_cancer(return_X_y=True)
    models = {"lr": "scaler + logistic regression", "rf": "scaler + forest of 100 trees"}
    made = {"lr": LogisticRegression(), "rf": RandomForestClassifier(100, random_state=0)}
    results = {name: {} for name in wanted}
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        for model in models:
            pipeline = make_pipeline(StandardScaler(), made[model]).fit(X, y)
            joblib.dump(pipeline, work / f"{model}.joblib")
            os.environ["MLSHIP_HOME"] = str(work / f"home-{model}")
            ship(pipeline, X, y, name="bench")
            truth = pipeline.predict(X).tolist()
            for name in wanted:
                print(f"{model} {name}", flush=True)
                try:
                    results[name][model] = measure(
                        name, work / f"{model}.joblib", X.tolist(), truth, args.seconds, work
                    )
                    print("  ", json.dumps(results[name][model]), flush=True)
                except (RuntimeError, AssertionError) as e:
                    results[name][model] = {"failed": " ".join(str(e).split())[:160]}
                    print("   did not run:", e, flush=True)
    versions = {}
    for name in wanted:
        if name not in ("mlship", "limit"):
            for place in CACHE.glob(f"{name}-*"):
                code = f"from importlib.metadata import version; print(version({name!r}))"
                versions[name] = subprocess.run(
                    [place / "bin" / "python", "-c", code], capture_output=True, text=True
                ).stdout.strip()
    DOCS.mkdir(exist_ok=True)
    text = [
        "# How fast is `mlship serve`?",
        "",
        "![requests a second](serve.svg)",
        "",
        (
            "Breast-cancer data, 30 numbers, one row a request, two workers each; `wrk` on the same machine. Ratios"
            " are what matters: absolute numbers are of this machine on this day."
        ),
        "",
        f"Made by `python benchmarks/serve.py --seconds {args.seconds}` on {os.cpu_count()} cores,"
        f" {platform.machine()}, Python {platform.python_version()}; "
        + ", ".join(f"{k} {v}" for k, v in versions.items())
        + ".",
        "",
    ]
    for model, title in models.items():
        text += [f"## {title[0].upper()}{title[1:]}", "", table(results, model), ""]
    (DOCS / "serve.md").write_text("\n".join(text))
    (DOCS / "serve.svg").write_text(chart(results, models))
    (DOCS / "serve.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
