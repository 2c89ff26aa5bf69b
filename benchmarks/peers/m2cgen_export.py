"""m2cgen in a process of its own: MODEL.pkl LANGUAGE OUT; prints the seconds that writing the source took."""
import pickle
import sys
import time

import m2cgen

model, language, out = sys.argv[1:]
sys.setrecursionlimit(100_000)
with open(model, "rb") as f:
    model = pickle.load(f)
started = time.perf_counter()
source = m2cgen.export_to_java(model) if language == "java" else m2cgen.export_to_c(model)
with open(out, "w") as f:
    f.write(source)
print(time.perf_counter() - started)
