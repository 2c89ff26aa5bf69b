"""How fast is `mlship serve`, beside what else there is? One run, one machine, one request a row.

    python benchmarks/serve.py                 all peers; each gets an environment of its own (minutes, the first time)
    python benchmarks/serve.py mlship flask    some of them
    python benchmarks/serve.py mlship limit --only lr --seconds 1 --docs /tmp/short     one model, written elsewhere

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
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS, DOCS = HERE / "peers", HERE.parent / "docs"
CACHE = Path(os.environ.get("MLSHIP_BENCH_CACHE", Path(tempfile.gettempdir()) / "mlship-bench"))
SAME = ("scikit-learn", "numpy", "joblib", "pandas")  # what loads the model, in every environment at this one's version
WORKERS = "2"
NUMBERS, CATEGORIES = [f"number_{i}" for i in range(6)], ["colour", "shop", "day"]


def python_of(name, packages):
    "The python of an environment with these packages, and with this interpreter's versions of what loads the model"
    wanted = [*packages, *(f"{p}=={version(p)}" for p in SAME)]
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
    # no peer here logs its requests either
    return ([Path(sys.executable).parent / "mlship", "serve", "bench", "--port", port, "--workers", WORKERS,
             "--access-log", "off"], "/predict", "/readyz", {})


def limit(port, work, model):
    return ([Path(sys.executable).parent / "granian", "--interface", "wsgi", "--port", port, "--workers", WORKERS,
             "--no-log", "--working-dir", PEERS, "constant_app:app"], "/predict", "/predict", {})


def gunicorn(python, port, app):
    return [python, "-m", "gunicorn", "-w", WORKERS, "-b", f"127.0.0.1:{port}", "--chdir", PEERS, app]


def flask(port, work, model):
    return gunicorn(python_of("flask", ["flask", "gunicorn"]), port, "flask_app:app"), "/predict", "/ready", {}


def flask_onnx(port, work, model):
    python = python_of("flask_onnx", ["flask", "gunicorn", "onnxruntime", "skl2onnx"])
    prepare(python, "to_onnx.py", model, work)
    return gunicorn(python, port, "flask_onnx_app:app"), "/predict", "/ready", {}


def fastapi(port, work, model):
    python = python_of("fastapi", ["fastapi", "uvicorn[standard]"])
    return ([python, "-m", "uvicorn", "--workers", WORKERS, "--port", port, "--log-level", "error", "--app-dir", PEERS,
             "fastapi_app:app"], "/predict", "/ready", {})


def litserve(port, work, model):
    return [python_of("litserve", ["litserve"]), PEERS / "litserve_app.py", port], "/predict", "/ready", {}


def bentoml(port, work, model):
    python = python_of("bentoml", ["bentoml"])
    return ([python, "-m", "bentoml", "serve", "bentoml_app:Model", "--working-dir", PEERS, "--port", port],
            "/predict", "/readyz", {"BENTOML_HOME": str(work / "bentoml"), "BENTOML_DO_NOT_TRACK": "1"})


def mlflow(port, work, model):
    python = python_of("mlflow", ["mlflow"])
    prepare(python, "to_mlflow.py", model, work)
    return ([python, "-m", "mlflow", "models", "serve", "-m", model.with_suffix(".mlflow"), "--env-manager", "local",
             "-p", port, "-w", WORKERS], "/invocations", "/ping",
            {"MLFLOW_DISABLE_ENV_CREATION": "1", "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"})


def mlserver(port, work, model):
    python = python_of("mlserver", ["mlserver", "mlserver-sklearn"])
    place = work / f"mlserver-{model.stem}"
    place.mkdir(exist_ok=True)
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    (place / "settings.json").write_text(json.dumps({**ports, "parallel_workers": 0, "debug": False}))
    settings = {"name": "bench", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(model)}}
    (place / "model-settings.json").write_text(json.dumps(settings))
    return [Path(python).parent / "mlserver", "start", place], "/v2/models/bench/infer", "/v2/models/bench/ready", {}


def prepare(python, script, model, work):
    "What a peer needs from the model before it starts, made with its own python; rows.json lies beside the model"
    done = subprocess.run([python, PEERS / script, model], capture_output=True, text=True, cwd=work)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1][:300])


NAMES = {
    "mlship": "mlship",
    "limit": "limit (Granian, a constant)",
    "flask": "Flask + gunicorn, by hand",
    "flask_onnx": "the same with ONNX Runtime",
    "fastapi": "FastAPI + uvicorn, by hand",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "mlflow": "MLflow",
    "mlserver": "MLServer (in process)",
}
ALL = {name: globals()[name] for name in NAMES}
BY_HAND = ("flask", "flask_onnx", "fastapi")


def body_for(name, rows):
    "These rows as a request that this server takes; a mixed row is a record"
    mixed = isinstance(rows[0], dict)
    if name == "mlflow" and mixed:
        return {"dataframe_records": rows}
    if name != "mlserver":
        return {"inputs": rows}
    if not mixed:
        data = [v for r in rows for v in r]
        return {"inputs": [{"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": data}]}
    columns = [{"name": c, "shape": [len(rows), 1], "datatype": "FP64" if c in NUMBERS else "BYTES",
                "data": [r[c] for r in rows], **({} if c in NUMBERS else {"parameters": {"content_type": "str"}})}
               for c in rows[0]]
    return {"parameters": {"content_type": "pd"}, "inputs": columns}


def post(url, body, content_type="application/json"):
    request = urllib.request.Request(url, body, {"content-type": content_type})
    with urllib.request.urlopen(request, timeout=120) as r:
        return r.read()


def wrk(url, body, connections, seconds, work):
    script = work / "post.lua"
    script.write_text(
        f'wrk.method="POST"\nwrk.body={json.dumps(body.decode())}\nwrk.headers["content-type"]="application/json"\n'
    )
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s",
                          script, url], capture_output=True, text=True).stdout
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


def median_ms(ask, times=7):
    def once():
        begun = time.perf_counter()
        ask()
        return (time.perf_counter() - begun) * 1e3
    return statistics.median(once() for _ in range(times))


def arrow(rows):
    "The rows as an Arrow stream: what a client that holds a table sends"
    import pyarrow as pa

    named = rows if isinstance(rows[0], dict) else [{f"x{i}": v for i, v in enumerate(r)} for r in rows]
    table, sink = pa.Table.from_pylist(named), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def measure(name, model, rows, truth, seconds, work):
    "One server, started, asked, ended"
    port = free_ports()
    command, route, ready, env = ALL[name](port, work, model)
    url, one = f"http://127.0.0.1:{port}", json.dumps(body_for(name, rows[:1])).encode()
    log = open(work / f"{name}.log", "wb")
    mixed = {"DTYPES": json.dumps(dtypes())} if isinstance(rows[0], dict) else {}
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True, cwd=work,
                               env={**os.environ, "MODEL": str(model), **mixed, **env})
    try:
        while True:
            try:
                post(url + route, one)
                break
            except urllib.error.HTTPError as e:
                if e.code not in (404, 503):  # 503: not ready yet
                    raise RuntimeError(f"answers {e.code}: {e.read()[:200]!r}") from None
            except OSError:
                pass
            if process.poll() is not None or time.perf_counter() - started > 90:
                raise RuntimeError(f"never answered: {(work / f'{name}.log').read_text()[-300:]}")
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
            if [int(v) for v in got] != truth:
                differ = sum(int(a) != b for a, b in zip(got, truth))
                raise RuntimeError(f"answers otherwise than the model for {differ} of {len(truth)} rows")
            many = (rows * (10_000 // len(rows) + 1))[:10_000]
            big = json.dumps(body_for(name, many)).encode()
            found["rows_10000_ms"] = median_ms(lambda: post(url + route, big))
            if name == "mlship":
                stream = arrow(many)
                for _ in range(6):  # the first in each worker imports pyarrow
                    post(url + route, stream, "application/vnd.apache.arrow.stream")
                found["rows_10000_arrow_ms"] = median_ms(
                    lambda: post(url + route, stream, "application/vnd.apache.arrow.stream"))
        return found
    except urllib.error.HTTPError as e:
        raise RuntimeError(f"answers {e.code}: {e.read()[:200]!r}") from None
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
        "| server | requests/s, 32 connections | × Flask | p50, 1 connection | ÷ Flask | p99, 32 connections |"
        " first answer | 10,000 rows | ÷ Flask | memory |",
        "| --- " * 10 + "|",
    ]
    for name, found in results.items():
        if "failed" in found.get(model, {}):
            lines.append(f"| {NAMES[name]} | did not run: {found[model]['failed']} |" + " |" * 8)
        elif model in found:
            m = found[model]
            cells = [NAMES[name], f"{m['many']['per_second']:,.0f}", times(m, base, "many", "per_second"),
                     f"{m['one']['p50_ms']:.2f} ms", times(m, base, "one", "p50_ms"), f"{m['many']['p99_ms']:.1f} ms",
                     f"{m['first_answer_s']:.1f} s",
                     *((f"{m['rows_10000_ms']:.0f} ms", times(m, base, "rows_10000_ms")) if name != "limit" else "  "),
                     f"{m['memory_mb']:.0f} MB"]
            lines.append(f"| {' | '.join(cells)} |")
            if "rows_10000_arrow_ms" in m:
                ratio = m["rows_10000_arrow_ms"] / base["rows_10000_ms"]
                milliseconds = f"{m['rows_10000_arrow_ms']:.0f} ms"
                lines.append(f"| … as an Arrow stream | | | | | | | {milliseconds} | {ratio:.2f} | |")
    return "\n".join(lines)


def times(m, base, *keys):
    "The ratio of two measurements, as text"
    for key in keys:
        m, base = m[key], base[key]
    return f"{m / base:.2f}" if m < 3 * base else f"{m / base:.1f}"


def targets(results):
    "What was aimed at, and what was measured: (model, target, wanted, measured, met)"
    for model in results["mlship"]:
        ok = {name: r[model] for name, r in results.items() if model in r and "failed" not in r[model]}
        mine, by_hand = ok["mlship"], ok["flask"]
        rate = {name: r["many"]["per_second"] for name, r in ok.items()}
        peers = {n: v for n, v in rate.items() if n not in ("mlship", "limit", *BY_HAND)}
        wanted = {"lr": (8, 15), "rf": (35, 35)}.get(model)
        if wanted:
            yield model, "requests/s ÷ Flask by hand", f"≥ {wanted[0]}", rate["mlship"] / rate["flask"], 1
            if peers:
                best = max(peers, key=peers.get)
                yield (model, f"requests/s ÷ the best other peer ({NAMES[best]})", f"≥ {wanted[1]}",
                       rate["mlship"] / peers[best], 1)
        yield model, "p50 at 1 connection ÷ Flask", "≤ 0.45", mine["one"]["p50_ms"] / by_hand["one"]["p50_ms"], -1
        if "limit" in rate:
            yield model, "requests/s ÷ the limit", "≥ 0.6", rate["mlship"] / rate["limit"], 1
        yield model, "first answer, s", "≤ 2", mine["first_answer_s"], -1
        yield model, "first answer ÷ Flask", "≤ 1", mine["first_answer_s"] / by_hand["first_answer_s"], -1
        for key, way, bound in (("rows_10000_ms", "JSON", .5), ("rows_10000_arrow_ms", "Arrow", .2)):
            yield model, f"10,000 rows as {way} ÷ Flask", f"≤ {bound}", mine[key] / by_hand["rows_10000_ms"], -1


WHERE_TIME_GOES = """## Where the time goes where an aim is missed

`python benchmarks/where.py lr one` prints the processor time of a request's parts (`lr`, `rf`, `mixed`; `one`, `json`,
`arrow`).

- **requests/s ÷ the limit**: the limit parses nothing, checks nothing, asks no model and counts nothing. Of what
  mlship adds to it for a row, the plan is the largest part (NumPy's and ONNX Runtime's fixed cost for each call on
  arrays of one row), then the checks, the counters, the comparison with training; as much again is Python's way from
  one part to the next. Each worker stays on a core of its own here, since there are as many cores as workers: with
  its threads on both cores a request took a third more processor time. Fewer threads (`granian --blocking-threads`)
  then gain nothing more. Granian's asynchronous interface, RSGI, took 143 µs for an answer that takes 31 µs to work
  out, 109 with uvloop, and WSGI 98.
- **10,000 rows as JSON**: more than two thirds is `orjson.loads` making 300,000 Python floats; turning them into a
  checked array is a quarter.
- **10,000 rows through a forest**: ONNX Runtime's walk through the trees in double precision, which scikit-learn does
  in single; it is spread over the cores, so an idle machine answers sooner than a busy one.
"""


def dtypes():
    return {**dict.fromkeys(NUMBERS, "float64"), **dict.fromkeys(CATEGORIES, "object")}


def mixed_table(rows=569, seed=0):
    "A table as businesses have: numbers with holes, categories; and whether it was bought"
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    X = pd.DataFrame({c: rng.normal(size=rows).round(3) for c in NUMBERS})
    y = X[NUMBERS[0]] + X[NUMBERS[1]] * 2
    for c, values in zip(CATEGORIES, (["red", "green", "blue"], [f"shop {i}" for i in range(12)],
                                      ["Mon", "Tue", "Wed", "Thu", "Fri"])):
        chosen = rng.integers(len(values), size=rows)
        X[c], y = np.array(values, dtype=object)[chosen], y + chosen / len(values)
    X[NUMBERS] = X[NUMBERS].mask(rng.random((rows, len(NUMBERS))) < .05)
    return X.astype(dtypes()), (y > y.median()).astype(int).to_numpy()


def made_models():
    "(name, title, fitted pipeline, its table or array, y)"
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X, y = load_breast_cancer(return_X_y=True)
    yield "lr", "scaler + logistic regression", make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y), X, y
    forest = RandomForestClassifier(100, random_state=0)
    yield "rf", "scaler + forest of 100 trees", make_pipeline(StandardScaler(), forest).fit(X, y), X, y
    X, y = mixed_table()
    columns = ColumnTransformer([("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
                                 ("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES)])
    title = "mixed table: imputer, scaler, one-hot, logistic regression"
    yield "mixed", title, make_pipeline(columns, LogisticRegression()).fit(X, y), X, y


def chart(results, models):
    "Bars of requests a second; the limit is in the tables only, where it dwarfs nobody"
    width, bar, gap, left, y, parts = 760, 18, 8, 230, 34, []
    for model, title in models.items():
        rates = {name: r[model]["many"]["per_second"] for name, r in results.items()
                 if name != "limit" and model in r and "failed" not in r[model]}
        parts.append(f'<text x="0" y="{y}" font-weight="600">{title}: requests/s, 32 connections</text>')
        y += 12
        for name, rate in rates.items():
            colour = "#0b6e4f" if name == "mlship" else "#7d8b99"
            length = max(1, (width - left - 80) * rate / max(rates.values()))
            parts.append(
                f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{NAMES[name]}</text><rect x="{left}" y="{y}"'
                f' width="{length:.0f}" height="{bar}" fill="{colour}"/>'
                f'<text x="{left + length + 6:.0f}" y="{y + 13}">{rate:,.0f}</text>'
            )
            y += bar + gap
        y += 34
    rows = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y - 40}" font-family="system-ui,sans-serif"'
        f' font-size="13"><rect width="100%" height="100%" fill="#fff"/>\n{rows}\n</svg>\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", choices=[*ALL, []], help="default: all")
    parser.add_argument("--seconds", type=int, default=5, help="for each measurement")
    parser.add_argument("--only", nargs="*", choices=["lr", "rf", "mixed"], help="these models; default: all")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the tables and the chart go")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("this needs wrk: apt-get install wrk")
    wanted = [n for n in ALL if not args.peers or n in args.peers or n in ("mlship", "flask")]
    import joblib

    from mlship.shipping import ship

    results, titles = {name: {} for name in wanted}, {}
    with tempfile.TemporaryDirectory() as place:
        for model, title, pipeline, X, y in made_models():
            if args.only and model not in args.only:
                continue
            titles[model], work = title, Path(place) / model
            work.mkdir()
            joblib.dump(pipeline, work / f"{model}.joblib")
            rows = json.loads(X.to_json(orient="records")) if hasattr(X, "to_json") else X.tolist()
            (work / "rows.json").write_text(json.dumps(rows))
            os.environ["MLSHIP_HOME"] = str(work / "home")
            ship(pipeline, X, y, name="bench")
            truth = pipeline.predict(X).tolist()
            for name in wanted:
                print(f"{model} {name}", flush=True)
                try:
                    results[name][model] = measure(name, work / f"{model}.joblib", rows, truth, args.seconds, work)
                    print("  ", json.dumps(results[name][model]), flush=True)
                except RuntimeError as e:
                    results[name][model] = {"failed": " ".join(str(e).split())[:160]}
                    print("   did not run:", e, flush=True)
    versions = {name: found for name in wanted if (found := version_of(name))}
    text = [
        "# How fast is `mlship serve`?",
        "",
        "![requests a second](serve.svg)",
        "",
        "One row a request, two workers each, no request log; `wrk` on the same machine. Ratios are what matters:"
        " absolute numbers are of this machine on this day. Before a server is timed, its answers to all rows are"
        " compared with the model's own. The limit is the server under mlship, answering a constant.",
        "",
        f"Made by `python benchmarks/serve.py --seconds {args.seconds}` on {os.cpu_count()} cores,"
        f" {platform.machine()}, Python {platform.python_version()}; "
        + ", ".join(f"{k} {v}" for k, v in versions.items()) + ".",
    ]
    for model, title in titles.items():
        text += ["", f"## {title[0].upper()}{title[1:]}", "", table(results, model)]
    aims = [(model, aim, wanted, got, got >= float(wanted[2:]) if sign > 0 else got <= float(wanted[2:]))
            for model, aim, wanted, got, sign in targets(results)]
    text += ["", "## What was aimed at", "", "| model | | aim | measured | |", "| --- " * 5 + "|",
             *(f"| {model} | {aim} | {wanted} | {got:.2f} | {'met' if met else '**missed**'} |"
               for model, aim, wanted, got, met in aims), ""]
    if not all(met for *_, met in aims):
        text += [WHERE_TIME_GOES]
    args.docs.mkdir(parents=True, exist_ok=True)
    (args.docs / "serve.md").write_text("\n".join(text))
    (args.docs / "serve.svg").write_text(chart(results, titles))
    (args.docs / "serve.json").write_text(json.dumps(results, indent=1) + "\n")


def version_of(name):
    "The version of the peer that was measured"
    package = "flask" if name == "flask_onnx" else name
    code = f"from importlib.metadata import version; print(version({package!r}))"
    for place in CACHE.glob(f"{name}-*"):
        return subprocess.run([place / "bin" / "python", "-c", code], capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
