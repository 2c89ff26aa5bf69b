"""Checks that what is generated is what its source says: mlship/ and README.md come from nbs/.

    python tests/check_generated.py                      check; changes nothing
    python tests/check_generated.py --write-readme       README.md from nbs/index.ipynb
    python tests/check_generated.py --write-constraints  constraints.txt from settings.ini, by uv
"""
import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIB = "mlship"
NOTE = "<!-- Made from nbs/index.ipynb by `make docs`; edit that. -->\n\n"
CONSTRAINTS_NOTE = """\
# Exact versions that the tests run with, on Python 3.10 and newer. Made by `make constraints`; not edited by hand.
# Users get loose bounds (settings.ini); these are for tests: pip install -c constraints.txt -e '.[all,dev]'
"""


def modules(top):
    "What is generated in the package at `top`: text by path relative to it, templates left out"
    return {path.relative_to(top).as_posix(): path.read_text(encoding="utf-8") for path in sorted(top.rglob("*.py"))
            if path.relative_to(top).parts[0] != "templates"}


def exported():
    "What nbdev makes of the notebooks, in a copy, with nothing there before: a module without a notebook shows"
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp) / "copy"
        shutil.copytree(ROOT / "nbs", copy / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "*.out.ipynb"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        # neither a developer's own nbdev settings, nor the variable that switches export off, may decide
        env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"XDG_CONFIG_HOME": str(Path(tmp) / "config")}
        done = subprocess.run([sys.executable, "-c", "from nbdev.doclinks import nbdev_export; nbdev_export()"],
                              cwd=copy, env=env, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"nbdev-export failed:\n{done.stdout}{done.stderr}")
        return modules(copy / LIB)


def readme():
    "README.md as nbs/index.ipynb says it: cells marked `#| hide` left out, other directives' lines too"
    import nbformat
    from nbconvert import MarkdownExporter

    nb = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    nb.metadata["language_info"] = {"name": "python"}  # nbconvert writes it behind the ``` of a code block
    nb.cells = [cell for cell in nb.cells if not re.match(r"#\s*\|\s*hide\s*$", cell.source, re.M)]
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r"^#\s*\|.*\n?", "", cell.source, flags=re.M).strip()
    nb.cells = [cell for cell in nb.cells if cell.source]
    text, resources = MarkdownExporter().from_notebook_node(nb)
    if resources.get("outputs"):
        sys.exit("nbs/index.ipynb has a picture as a cell's output. Put the picture into docs/ and link it instead.")
    # nbconvert leaves runs of empty lines and spaces at line ends; front matter is not for readers
    text = re.sub(r"[ \t]+$", "", re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S), flags=re.M)
    return NOTE + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def differences(want, have, title):
    "The unified diff, at most 40 lines of it"
    diff = list(difflib.unified_diff(have.splitlines(), want.splitlines(), f"{title} (in the tree)",
                                     f"{title} (from the notebooks)", lineterm="", n=1))
    return diff[:40] + ([f"... and {len(diff) - 40} lines more"] if len(diff) > 40 else [])


def check():
    "Print what differs; how many files do"
    want, have, wrong = exported(), modules(ROOT / LIB), 0
    for name in sorted(want.keys() | have.keys()):
        if want.get(name) == have.get(name):
            continue
        wrong += 1
        if name not in want:
            print(f"{LIB}/{name}: no notebook makes this file. Delete it, or write its notebook.")
        elif name not in have:
            print(f"{LIB}/{name}: a notebook makes this file, and it is not there.")
        else:
            print("\n".join(differences(want[name], have[name], f"{LIB}/{name}")))
    if not (ROOT / "nbs" / "index.ipynb").exists():
        wrong += 1
        print("nbs/index.ipynb is not there; README.md is made from it.")
    else:
        path = ROOT / "README.md"
        have_readme, want_readme = path.read_text(encoding="utf-8") if path.exists() else "", readme()
        if have_readme != want_readme:
            wrong += 1
            print("\n".join(differences(want_readme, have_readme, "README.md")))
    return wrong


def constraints():
    "The text of constraints.txt: one version of everything, with markers where one version does not fit every Python"
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp) / "constraints.txt"
        uv = Path(sys.executable).with_name("uv")
        # --refresh-package: uv looks at setup.py, not settings.ini
        subprocess.run([uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.10", "--no-annotate",
                        "--no-header", "--refresh-package", "mlship-jupyter",
                        "--extra", "all", "--extra", "dev", "setup.py", "-o", str(out)],
                       cwd=ROOT, check=True)
        lines = out.read_text(encoding="utf-8").splitlines()
    # browsers' Python is no place for tests, and no address of a package index goes into the repository
    lines = [line for line in lines
             if "sys_platform == 'emscripten'" not in line and not line.startswith("-") and " @ " not in line]
    return CONSTRAINTS_NOTE + "\n".join(lines) + "\n"


def main():
    "Parse the command line and do what it says"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-readme", action="store_true")
    parser.add_argument("--write-constraints", action="store_true")
    args = parser.parse_args()
    if args.write_readme:
        (ROOT / "README.md").write_text(readme(), encoding="utf-8", newline="\n")
    if args.write_constraints:
        (ROOT / "constraints.txt").write_text(constraints(), encoding="utf-8", newline="\n")
    if args.write_readme or args.write_constraints:
        return
    if wrong := check():
        sys.exit(f"\n{wrong} generated file(s) are not what the notebooks say. Run: make docs (or nbdev-export, then\n"
                 "python tests/check_generated.py --write-readme), look at the difference, and commit it.")
    print("mlship/ and README.md are what the notebooks say")


if __name__ == "__main__":
    main()
