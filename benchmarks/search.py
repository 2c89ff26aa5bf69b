"""How good and how fast is the index, beside faiss alone and hnswlib? One thread, 200,000 × 128 clustered vectors.

    python benchmarks/search.py      needs faiss-cpu and, for its line of the chart, hnswlib (pip install hnswlib)

Structures are built once and kept in MLSHIP_BENCH_CACHE. faiss alone searches the very structure that our index holds.
Writes docs/search.md, docs/search.svg and docs/search.json. Run nothing else meanwhile.
"""
import os

os.environ["OMP_NUM_THREADS"] = "1"   # before any library is there

import argparse
import json
import math
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parent.parent / "docs"
CACHE = Path(os.environ.get("MLSHIP_BENCH_CACHE", Path(tempfile.gettempdir()) / "mlship-bench"))
K, QUERIES, EF = 10, 1000, (16, 32, 64, 128, 256)
GRID = {"HNSW32": ("efSearch", EF), "IVF1024,Flat": ("nprobe", (1, 4, 16, 64))}
NAMES = {"mlship": "mlship Index", "faiss": "faiss alone", "hnswlib": "hnswlib"}


def data(n, dim=128, clusters=1000):
    "Vectors and queries around the same centres, the same each time"
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(clusters, dim))
    x = centres[rng.integers(0, clusters, n + QUERIES)] + .7 * rng.normal(size=(n + QUERIES, dim))
    return x[:n].astype("float32"), x[n:].astype("float32")


def ours(x, factory):
    from mlship import Index
    place = CACHE / f"search-{len(x)}-{factory}"
    if not (place / "index.json").exists():
        print(f"   building {factory}", flush=True)
        Index.build(x, factory=factory).save(place)
    return Index.load(place, mmap=False)


def hnsw(x):
    try:
        import hnswlib
    except ModuleNotFoundError:
        print("!! hnswlib is not installed, so its line is missing: pip install hnswlib", flush=True)
        return None
    index, place = hnswlib.Index("l2", x.shape[1]), CACHE / f"search-{len(x)}.hnswlib"
    if place.exists():
        index.load_index(str(place), max_elements=len(x))
    else:
        print("   building hnswlib", flush=True)
        index.init_index(len(x), M=32, ef_construction=40, random_seed=0)
        index.set_num_threads(1)
        index.add_items(x)
        index.save_index(str(place))
    index.set_num_threads(1)
    return index


def recall(found, truth):
    return float(np.mean([len(set(f) & set(t)) / K for f, t in zip(found.tolist(), truth.tolist())]))


def batch(n, repeats):
    "Recall and queries a second of each library at each parameter; the libraries take turns"
    x, q = data(n)
    import faiss
    faiss.omp_set_num_threads(1)
    truth, other, results = faiss.knn(q, x, K)[1], hnsw(x), []
    for factory, (key, values) in GRID.items():
        index = ours(x, factory)
        raw = index._state.shards[0].index
        for value in values:
            def ask_raw():
                if key == "efSearch":
                    raw.hnsw.efSearch = value
                else:
                    raw.nprobe = value
                return raw.search(q, K)[1]

            def ask_hnswlib():
                other.set_ef(value)
                return other.knn_query(q, K)[0]

            ask = {"mlship": lambda: index.search(q, K, **{key: value}).ids, "faiss": ask_raw}
            if other is not None and key == "efSearch":
                ask["hnswlib"] = ask_hnswlib
            found, seconds = {name: f() for name, f in ask.items()}, {name: [] for name in ask}
            for turn in range(repeats):
                for name in sorted(ask, reverse=turn % 2):     # nobody is always first
                    began = time.thread_time()     # of the processor: others on the machine do not count
                    ask[name]()
                    seconds[name].append(time.thread_time() - began)
            share = statistics.median(a / b for a, b in zip(seconds["mlship"], seconds["faiss"]))
            for name in ask:
                results.append({"library": name, "factory": factory, "parameter": key, "value": value,
                                "recall": recall(found[name], truth),
                                "per_second": len(q) / statistics.median(seconds[name]),
                                **({"time_by_faiss": share} if name == "mlship" else {})})
                print("  ", json.dumps(results[-1]), flush=True)
    return results


def p50(ask, n=QUERIES):
    times = []
    for i in range(n):
        began = time.perf_counter()
        ask(i % QUERIES)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def single(n):
    "One query at a time, in this process and over HTTP (a kept connection, JSON both ways)"
    from mlship import ship
    x, q = data(n)
    index = ours(x, "HNSW32")
    index.params = {"efSearch": 64}
    with tempfile.TemporaryDirectory() as home:
        os.environ["MLSHIP_HOME"] = home
        ship(index, name="bench", check=False, plan=False)
        command = [Path(sys.executable).parent / "mlship", "serve", "bench", "--port", "0", "--workers", "1",
                   "--access-log", "off"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            host, port = server.stdout.readline().strip().rpartition("/")[2].split(":")
            ask = socket.create_connection((host, int(port)))
            ask.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bodies = [json.dumps({"vector": v.tolist(), "k": K}).encode() for v in q]
            head = b"POST /search HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
            sent = [head + b"%d\r\n\r\n%b" % (len(b), b) for b in bodies]

            def http(i):
                ask.sendall(sent[i])
                said = ask.recv(2**16)
                head, _, body = said.partition(b"\r\n\r\n")
                while len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]):
                    body += ask.recv(2**16)
                assert head.startswith(b"HTTP/1.1 200"), said
                return body

            truth = index.search(q[:1], K).ids[0].tolist()
            assert [h["id"] for h in json.loads(http(0))["results"]] == truth
            raw = index._state.shards[0].index
            raw.hnsw.efSearch = 64
            rounds = [(p50(http), p50(lambda i: index.search(q[i], K)), p50(lambda i: raw.search(q[i:i + 1], K)))
                      for _ in range(5)]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    http_ms, index_ms, faiss_ms = map(statistics.median, zip(*rounds))
    return {"http_ms": http_ms, "index_ms": index_ms, "faiss_ms": faiss_ms,
            "overhead_ms": statistics.median(a - b for a, b, _ in rounds)}


def chart(results):
    "Recall against queries a second, a line for each library and structure"
    width, height, left, bottom = 760, 420, 70, 50
    low, high = (f(math.log10(r["per_second"]) for r in results) for f in (min, max))
    worst = min(r["recall"] for r in results)
    def at(r):
        return (left + (width - left - 190) * (r["recall"] - worst) / (1 - worst or 1),
                20 + (height - bottom - 20) * (high - math.log10(r["per_second"])) / (high - low))
    parts = [f'<text x="{width / 2 - 60:.0f}" y="{height - 8}" text-anchor="middle">recall@{K}</text>',
             '<text x="4" y="14">queries/s, one thread</text>']
    for share in np.linspace(worst, 1, 5):
        x = left + (width - left - 190) * (share - worst) / (1 - worst or 1)
        parts.append(f'<text x="{x:.0f}" y="{height - 28}" text-anchor="middle">{share:.2f}</text>')
    for power in np.arange(math.ceil(low * 2) / 2, high, .5):
        y = 20 + (height - bottom - 20) * (high - power) / (high - low)
        parts.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{10 ** power:,.0f}</text>'
                     f'<path d="M{left} {y:.0f}H{width - 190}" stroke="#e3e6e9"/>')
    colours = {"mlship": "#0b6e4f", "faiss": "#7d8b99", "hnswlib": "#b4610a"}
    lines = sorted({(r["library"], r["factory"]) for r in results})
    for i, (name, factory) in enumerate(lines):
        points = [at(r) for r in results if (r["library"], r["factory"]) == (name, factory)]
        dash = ' stroke-dasharray="5 4"' if factory.startswith("IVF") else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colours[name]}"/>' for x, y in points]
        y, x = 40 + 22 * i, width - 180
        parts.append(f'<path d="M{x} {y - 4}h24" stroke="{colours[name]}" stroke-width="2"{dash}/>'
                     f'<text x="{x + 30}" y="{y}">{name} {factory}</text>')
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui,sans-serif"'
            f' font-size="12"><rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n')


def installed(name):
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--build", action="store_true", help="only build what is missing in the cache")
    args = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    if args.build:
        x, _ = data(args.rows)
        hnsw(x)
        return [ours(x, factory) for factory in GRID] and None
    results, one = batch(args.rows, args.repeats), single(args.rows)
    print("  ", json.dumps(one), flush=True)
    shares = [r["time_by_faiss"] for r in results if r["library"] == "mlship"]
    rows = [f"| {r['factory']} | {r['parameter']} = {r['value']} | {NAMES[r['library']]} | {r['recall']:.3f} |"
            f" {r['per_second']:,.0f} | {r.get('time_by_faiss', 0):.3f} |".replace("| 0.000 |", "| |") for r in results]
    worst, typical = max(shares), statistics.median(shares)
    met = lambda good: "met" if good else "**missed**"
    text = [
        "# How good and how fast is search?", "", "![recall against queries a second](search.svg)", "",
        f"{args.rows:,} × 128 vectors around 1,000 centres (seed 0), {QUERIES:,} queries from around the same centres,"
        f" recall@{K} against comparing with all; one thread. faiss alone searches the very structure that our index"
        " holds; hnswlib has one of its own with the same M (32) and ef_construction (40). The libraries take turns;"
        f" time is that of the processor, the median of {args.repeats} rounds. Ratios are what matters: absolute"
        " numbers are of this machine on this day.", "",
        f"Made by `python benchmarks/search.py` on {os.cpu_count()} cores, {platform.machine()}, Python"
        f" {platform.python_version()}; {', '.join(map(installed, ('faiss-cpu', 'hnswlib', 'numpy')))}.", "",
        "## A batch of queries", "",
        "| structure | parameter | | recall@10 | queries/s | time ÷ faiss's |", "| --- " * 6 + "|", *rows, "",
        "## One query at a time", "", "HNSW32, efSearch = 64; p50.", "",
        "| faiss alone | mlship Index | over HTTP (JSON, one kept connection) | what HTTP adds |", "| --- " * 4 + "|",
        f"| {one['faiss_ms']:.3f} ms | {one['index_ms']:.3f} ms | {one['http_ms']:.3f} ms"
        f" | {one['overhead_ms']:.3f} ms |",
        "", "## What was aimed at", "", "| aim | wanted | measured | |", "| --- " * 4 + "|",
        f"| time of a batch ÷ faiss's, equal parameters, median | ≤ 1.05 | {typical:.3f} | {met(typical <= 1.05)} |",
        f"| the same, worst of the grid | ≤ 1.05 | {worst:.3f} | {met(worst <= 1.05)} |",
        f"| what HTTP adds to a query, p50 | ≤ 0.4 ms | {one['overhead_ms']:.3f} ms"
        f" | {met(one['overhead_ms'] <= .4)} |", "",
    ]
    (DOCS / "search.md").write_text("\n".join(text))
    (DOCS / "search.svg").write_text(chart(results))
    (DOCS / "search.json").write_text(json.dumps({"batch": results, "single": one}, indent=1) + "\n")


if __name__ == "__main__":
    main()
