"""Ten minutes of everything at once: does memory grow, does an answer go wrong, does a request fail?

    python benchmarks/soak.py                  ten minutes, writes docs/soak.json
    python benchmarks/soak.py --seconds 20     the short form, which tests run

A served forest and a table model get right and wrong requests from many clients in every format, while another version
is promoted now and then. Every answer is compared with the model's own. At the end: how many of what, and how much
memory each worker had.
"""

import argparse
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import requests

MLSHIP = str(Path(sys.executable).parent / "mlship")


def models():
    "Ships two versions of a forest that answer differently, and a table model; gives the right answers of both"
    import pandas as pd
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    from mlship import ship

    X, y = load_breast_cancer(return_X_y=True)
    first, second = (
        RandomForestClassifier(30, random_state=0).fit(X, y),
        RandomForestClassifier(30, random_state=1).fit(X, 1 - y),
    )
    for model in first, second:
        ship(model, X, name="tumour", check=False)
    ship(
        lambda t: (t["n"] * 2).to_numpy(),
        pd.DataFrame({"n": [1.5, 2.5], "word": ["a", "ü"]}),
        name="table",
        check=False,
    )
    return X, {1: first.predict(X).tolist(), 2: second.predict(X).tolist()}


def npy(a):
    out = io.BytesIO()
    np.save(out, a)
    return out.getvalue()


def client(url, X, right, stop, seen, wrong, seed):
    "Asks in every way, at random, until told to stop"
    rng, session = random.Random(seed), requests.Session()
    bad = [
        b"{",
        b"[]x",
        b'{"inputs": [[1, 2]]}',
        b"\xff",
        b'{"inputs": [["x"]]}',
        b"[" * 5000,
        gzip.compress(bytes(10**8)),
    ]
    while not stop.is_set():
        start = rng.randrange(len(X) - 20)
        rows = slice(start, start + rng.choice([1, 1, 1, 5, 20]))
        way, version = rng.choice(["json", "npy", "csv", "v2", "table", "bad", "page", "health", "proba"]), None
        try:
            if way in ("json", "proba"):
                r = session.post(url + "/predict" + "?proba=1" * (way == "proba"), json={"inputs": X[rows].tolist()})
            elif way == "npy":
                r = session.post(url + "/predict", data=npy(X[rows]), headers={"content-type": "application/x-npy"})
            elif way == "csv":
                text = "\n".join(
                    [",".join(f"c{i}" for i in range(30)), *(",".join(map(repr, r)) for r in X[rows].tolist())]
                )
                r = session.post(
                    url + "/predict",
                    data=gzip.compress(text.encode()),
                    headers={"content-type": "text/csv", "content-encoding": "gzip"},
                )
            elif way == "v2":
                r = session.post(
                    url + "/v2/models/tumour/infer",
                    json={
                        "inputs": [
                            {
                                "name": "input-0",
                                "shape": list(X[rows].shape),
                                "datatype": "FP64",
                                "data": X[rows].ravel().tolist(),
                            }
                        ]
                    },
                )
            elif way == "table":
                r = session.post(url + "/models/table/predict", json=[{"n": float(start), "word": "x" * start}])
                if r.status_code != 200 or r.json()["predictions"] != [start * 2.0]:
                    wrong.append((way, r.status_code, r.text[:200]))
            elif way == "bad":
                r = session.post(
                    url + "/predict", data=rng.choice(bad), headers=rng.choice([{}, {"content-encoding": "gzip"}])
                )
                if not 400 <= r.status_code < 500:
                    wrong.append((way, r.status_code, r.text[:200]))
            else:
                r = session.get(url + (rng.choice(["/", "/docs", "/openapi.json"]) if way == "page" else "/readyz"))
                if r.status_code != 200:
                    wrong.append((way, r.status_code, r.text[:200]))
        except requests.RequestException as e:
            wrong.append((way, "failed", str(e)[:200]))
            continue
        seen[way, r.status_code] += 1
        if way in ("json", "proba", "npy", "csv", "v2"):
            a = r.json() if r.status_code == 200 else {}
            version = int(a.get("version") or a.get("model_version") or 0)
            got = a.get("predictions") or (a["outputs"][0]["data"] if a else None)
            if not version or got != right[version][rows]:
                wrong.append((way, r.status_code, version, r.text[:200]))


def memory(process):
    "Megabytes of each worker"
    return sorted(round(p.memory_info().rss / 2**20, 1) for p in process.children())


def soak(seconds, clients=6):
    "What happened, as plain values"
    X, right = models()
    log = tempfile.TemporaryFile("w+")  # not a pipe: one that nobody reads holds up who writes into it
    server = subprocess.Popen([MLSHIP, "serve", "tumour", "table", "--port", "0", "--access-log", "off"],
                              stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        url, parent = server.stdout.readline().strip(), psutil.Process(server.pid)
        stop, seen, wrong, sizes = threading.Event(), Counter(), [], []
        threads = [threading.Thread(target=client, args=(url, X, right, stop, seen, wrong, i)) for i in range(clients)]
        for t in threads:
            t.start()
        end, version = time.monotonic() + seconds, 1
        while time.monotonic() < end:
            time.sleep(min(5, seconds / 8))
            sizes.append(memory(parent))
            version = 3 - version
            subprocess.run([MLSHIP, "promote", f"tumour@{version}", "--force"], capture_output=True, check=True)
            if sys.stderr.isatty():
                print(
                    f"\r{end - time.monotonic():5.0f} s left, {sum(seen.values()):,} answers, {len(wrong)} wrong, "
                    f"{sizes[-1]} MB",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
        stop.set()
        for t in threads:
            t.join()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(40)
    log.seek(0)
    third = max(1, len(sizes) // 3)
    return {
        "seconds": seconds,
        "answers": sum(seen.values()),
        "by way and status": {f"{w} {s}": n for (w, s), n in sorted(seen.items())},
        "wrong": wrong[:20],
        "number of wrong": len(wrong),
        "exit code": server.returncode,
        "promotions": len(sizes),
        "tracebacks": log.read().count("Traceback"),
        "MB of each worker": {
            "after a third": sizes[third - 1], "after two thirds": sizes[2 * third - 1], "at the end": sizes[-1]
        },
    }


def main():
    "Parse the command line and soak"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("-o", "--output", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["MLSHIP_HOME"] = home
        found = soak(args.seconds)
    text = json.dumps(found, indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")
    if found["number of wrong"] or found["exit code"] or found["tracebacks"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
