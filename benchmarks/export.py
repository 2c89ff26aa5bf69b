"""A forest in Java and C: mlship's tables beside m2cgen's code. Does it compile, how long, how large, how fast?

    python benchmarks/export.py               both forests
    python benchmarks/export.py --limit 600   give each compiler ten minutes instead of two

Needs a JDK (17 or newer) and gcc. Writes docs/export.md, docs/export.svg and docs/export.json.
"""
import argparse
import json
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from serve import python_of

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
FEATURES, ROWS = 20, 20_000
FORESTS = {"50 trees, at most 6 deep": dict(n_estimators=50, max_depth=6), "500 deep trees": dict(n_estimators=500)}
JAVA = """
import java.nio.*; import java.nio.file.*;
public class Bench {
    public static void main(String[] args) throws Exception {
        DoubleBuffer b = ByteBuffer.wrap(Files.readAllBytes(Path.of(args[0]))).asDoubleBuffer();
        double[][] rows = new double[b.limit() / %(features)d][%(features)d];
        for (double[] r : rows) b.get(r);
        double sum = 0; long done = 0, start = 0;
        for (int round = 0; ; round++) {
            if (round == 1) start = System.nanoTime();
            for (double[] r : rows) {
                sum += %(call)s[0];
                if (round > 0) done++;
                if (round > 0 && (done & 63) == 0 && System.nanoTime() - start > 3e9) {
                    System.out.println(done / ((System.nanoTime() - start) / 1e9) + " " + sum); return;
                }
            }
        }
    }
}"""
C = """
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
%(head)s
int main(int argc, char **argv) {
    static double rows[%(rows)d][%(features)d]; FILE *f = fopen(argv[argc - 1], "rb");
    size_t n = fread(rows, sizeof rows[0], %(rows)d, f), i;
    double p[2], sum = 0; long done = 0; clock_t start = clock();
    for (;;) for (i = 0; i < n; i++) {
        double *r = rows[i];
        %(call)s
        sum += p[0];
        if (!(++done & 63) && clock() - start > 3 * CLOCKS_PER_SEC) {
            printf("%%g %%g\\n", done / ((double)(clock() - start) / CLOCKS_PER_SEC), sum); return 0;
        }
    }
}"""


def timed(limit, *words):
    "(seconds, what it printed), or the reason why there is none"
    started = time.perf_counter()
    try:
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None, f"not in {limit} s"
    if done.returncode:
        lines = [x for x in (done.stderr + done.stdout).splitlines() if re.search("error|Error|Exception|Killed", x)]
        return None, re.sub(r"\S*/", "", lines[0])[:90] if lines else f"ended with {done.returncode}"
    return time.perf_counter() - started, done.stdout


def size(*paths):
    files = [f for p in paths for f in ([p] if p.is_file() else p.rglob("*"))]
    return sum(f.stat().st_size for f in files if f.is_file())


def write_ours(bundle, language, place):
    from mlship.export_c import export_c
    from mlship.export_java import export_java

    started = time.perf_counter()
    (export_java(bundle, place, "m") if language == "java" else export_c(bundle, place))
    return time.perf_counter() - started, "", size(place)


def write_theirs(model, language, place, limit):
    place.mkdir()
    seconds, said = timed(limit, python_of("m2cgen", ["m2cgen", "scikit-learn"]), HERE / "peers" / "m2cgen_export.py",
                          model, language, place / ("Model.java" if language == "java" else "model.c"))
    return (float(said), "", size(place)) if seconds else (None, f"writing the source: {said}", 0)


def measure(tool, language, place, rows, limit):
    "Compile with a harness, and run it: what compiling took, what came of it, rows a second"
    ours = tool == "mlship"
    if language == "java":
        setters = "".join(f".x{i}(r[{i}])" for i in range(FEATURES))
        call = f"m.Bench.predictProba(new m.Bench.Row(){setters})" if ours else "Model.score(r)"
        (place / "bench").mkdir()
        (place / "bench" / "Bench.java").write_text(JAVA % {"features": FEATURES, "call": call})
        seconds, said = timed(limit, "javac", "-J-Xmx4g", "-d", place / "classes",
                              *(place / "m" if ours else place).glob("*.java"))
        if seconds is None:
            return None, f"compiling: {said}", 0, None
        if ours:
            shutil.copy(place / "m" / "Bench.bin", place / "classes" / "m")
        made = size(place / "classes")
        timed(limit, "javac", "-cp", place / "classes", "-d", place / "bench", place / "bench" / "Bench.java")
        ran, out = timed(limit, "java", "-cp", f"{place / 'bench'}{os.pathsep}{place / 'classes'}", "Bench",
                         rows["java"])
        return seconds, out if ran is None else "", made, float(out.split()[0]) if ran else None
    fill = "bench_row b = {" + ", ".join(f"r[{i}]" for i in range(FEATURES)) + "}; bench_predict_proba(&b, p);"
    head = '#include "bench.h"' if ours else "void score(double *, double *);"
    (place / "main.c").write_text(C % {"head": head, "call": fill if ours else "score(r, p);", "rows": ROWS,
                                       "features": FEATURES})
    source = place / ("bench.c" if ours else "model.c")
    seconds, said = timed(limit, "gcc", "-std=c99", "-O2", "-c", "-o", place / "model.o", source)
    if seconds is None:
        return None, f"compiling: {said}", 0, None
    timed(limit, "gcc", "-std=c99", "-O2", "-I", place, "-o", place / "run", place / "main.c", place / "model.o", "-lm")
    ran, out = timed(limit, place / "run", rows["c"])
    return seconds, out if ran is None else "", size(place / "model.o"), float(out.split()[0]) if ran else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=120, help="seconds that each step may take")
    limit = parser.parse_args().limit
    missing = [t for t in ("javac", "java", "gcc") if not shutil.which(t)]
    if missing:
        sys.exit(f"SKIPPED: there is no {', '.join(missing)} here (apt-get install openjdk-17-jdk-headless gcc)")
    warnings.simplefilter("ignore")
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    from mlship.shipping import ship

    X, y = make_classification(ROWS, FEATURES, n_informative=10, flip_y=.2, random_state=0)
    found = []
    with tempfile.TemporaryDirectory(prefix="mlship-bench-") as tmp:
        tmp = Path(tmp)
        os.environ["MLSHIP_HOME"] = str(tmp / "home")
        rows = {"java": tmp / "rows.be", "c": tmp / "rows.le"}
        rows["java"].write_bytes(X.astype(">f8").tobytes())
        rows["c"].write_bytes(X.astype("=f8").tobytes())
        for name, kw in FORESTS.items():
            model = RandomForestClassifier(random_state=0, n_jobs=2, **kw).fit(X[:8000], y[:8000])
            model.n_jobs = None
            pickled = tmp / "model.pkl"
            pickled.write_bytes(pickle.dumps(model))
            bundle = ship(model, X[:8000], name="bench", check=False)
            nodes = int(sum(e.tree_.node_count for e in model.estimators_))
            for tool in ("mlship", "m2cgen"):
                for language in ("java", "c"):
                    place = tmp / f"{tool}-{language}-{kw['n_estimators']}"
                    write, why, source = (write_ours(bundle, language, place) if tool == "mlship"
                                          else write_theirs(pickled, language, place, limit))
                    compile_, why2, made, speed = (measure(tool, language, place, rows, limit) if write is not None
                                                   else (None, "", 0, None))
                    found.append({"forest": name, "nodes": nodes, "language": language, "tool": tool, "write": write,
                                  "source": source, "compile": compile_, "compiled": made, "rows": speed,
                                  "why": why or why2})
                    print(found[-1], flush=True)
    report(found, limit)


def report(found, limit):
    def run(*words):
        done = subprocess.run(words, capture_output=True, text=True)
        return (done.stdout + done.stderr).splitlines()[0]
    machine = (f"{platform.machine()}, {os.cpu_count()} cores; {run('javac', '-version')}; {run('gcc', '--version')}; "
               f"Python {platform.python_version()}, NumPy {np.__version__}; one thread; at most {limit} s a step")
    command = "python benchmarks/export.py" + (f" --limit {limit}" if limit != 120 else "")

    def s(v):
        return "—" if v is None else f"{v:.1f} s"

    def mb(v):
        return "—" if not v else f"{v / 1e6:.1f} MB"
    lines = ["# A forest in Java and in C", "",
             f"Made by `{command}` on {machine}. Timings on a shared machine are noisy.", "",
             "| forest | nodes | language | tool | written in | source | compiled in | compiled | rows a second | |",
             "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    lines += [f"| {r['forest']} | {r['nodes']:,} | {r['language']} | {r['tool']} | {s(r['write'])} | {mb(r['source'])} "
              f"| {s(r['compile'])} | {mb(r['compiled'])} | {'—' if r['rows'] is None else format(r['rows'], ',.0f')} "
              f"| {r['why']} |" for r in found]
    lines += ["", "mlship's Java source includes the resource that has the numbers, and so does what it compiles to. "
              "Rows go in through the named fields, with all checks; m2cgen's take an array and check nothing.", ""]
    DOCS.mkdir(exist_ok=True)
    (DOCS / "export.md").write_text("\n".join(lines), encoding="utf-8")
    everything = {"command": command, "machine": machine, "found": found}
    (DOCS / "export.json").write_text(json.dumps(everything, indent=1) + "\n")
    (DOCS / "export.svg").write_text(picture(found), encoding="utf-8")
    print("\n".join(lines))


def picture(found):
    "Seconds to compile, as bars; what did not compile says so"
    most = max(r["compile"] or 0 for r in found)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{60 + 26 * len(found)}" '
           'font-family="sans-serif" font-size="13">', '<rect width="100%" height="100%" fill="white"/>',
           '<text x="10" y="24" font-size="15">Seconds to compile a forest (javac, gcc -O2)</text>']
    for i, r in enumerate(found):
        y, colour = 44 + 26 * i, "#2a6f97" if r["tool"] == "mlship" else "#b0b0b0"
        out.append(f'<text x="330" y="{y + 14}" text-anchor="end">{r["forest"]}, {r["language"]}, {r["tool"]}</text>')
        if r["compile"] is None:
            out.append(f'<text x="340" y="{y + 14}" fill="#a33">does not compile</text>')
            continue
        width = max(2, 330 * r["compile"] / most)
        out.append(f'<rect x="340" y="{y}" width="{width:.0f}" height="18" fill="{colour}"/>')
        out.append(f'<text x="{345 + width:.0f}" y="{y + 14}">{r["compile"]:.1f} s</text>')
    return "\n".join([*out, "</svg>", ""])


if __name__ == "__main__":
    main()
