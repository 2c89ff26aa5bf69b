"""Where the time of a request goes: processor time of each part, in this process.

    python benchmarks/where.py lr one        lr, rf or mixed; one, json or arrow (10,000 rows)

Each part is repeated by itself, with all that it needs at hand; "all of it" is not, and takes more than their sum.
"""
import argparse
import json
import os
import tempfile
import time

from serve import arrow, made_models


def least(ask, times):
    "The least processor time of a call, in microseconds"
    best = float("inf")
    for _ in range(15):
        begun = time.process_time()
        for _ in range(times):
            ask()
        best = min(best, (time.process_time() - begun) / times)
    return best * 1e6


def parts(model, kind, rows):
    "(part, what does it) from the request's bytes to the answer's"
    from mlship.inputs import decode_rows
    from mlship.message import Request, dumps, loads
    from mlship.profile import outside
    from mlship.protocols import Service, handle
    from mlship.tables import ARROW, read_table

    service, signature = Service([model]), model.signature
    body = arrow(rows) if kind == "arrow" else json.dumps({"inputs": rows}).encode()
    headers = {"content-type": ARROW if kind == "arrow" else "application/json"}
    request, parsed = Request("POST", "/predict", headers=headers, body=body), None
    if kind == "arrow":
        yield "read and check", lambda: read_table(signature, ARROW, body, len(rows))
    else:
        parsed = loads(body)["inputs"]
        yield "parse", lambda: loads(body)
        yield "check", lambda: decode_rows(signature, parsed)
    batch = decode_rows(signature, rows)
    values, _ = model.answer(batch)
    yield "compare with training", lambda: outside(model.bundle.profile, signature, batch)
    yield "the model's plan", lambda: model.answer(batch)
    yield "write the answer", lambda: dumps({"predictions": values})
    yield "count", lambda: (service.metrics.answered("m", "1", "native", 200, .001),
                            service.metrics.of("rows", "m", "1").observe(1))
    yield "all of it", lambda: handle(service, request)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["lr", "rf", "mixed"])
    parser.add_argument("kind", choices=["one", "json", "arrow"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"MLSHIP_HOME": home, "PROMETHEUS_MULTIPROC_DIR": home}
        from mlship.shipping import load, ship

        pipeline, X, y = next((p, X, y) for name, _, p, X, y in made_models() if name == args.model)
        ship(pipeline, X, y, name="bench")
        rows = json.loads(X.to_json(orient="records")) if hasattr(X, "to_json") else X.tolist()
        rows = rows[:1] if args.kind == "one" else (rows * (10_000 // len(rows) + 1))[:10_000]
        for part, ask in parts(load("bench"), args.kind, rows):
            print(f"{part:24} {least(ask, 500 if args.kind == 'one' else 1):12,.1f} µs")


if __name__ == "__main__":
    main()
