"""The rules that keep the code readable, held by reading the notebooks and what they generate (CONTRIBUTING.md)."""
import ast
import configparser
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIB = "mlship"
HEAVY = {"torch", "sklearn", "pandas", "faiss", "flask"}
MAX_CELLS, MAX_LINES = 70, 320
CORE = range(0, 10)
ADAPTERS = range(10, 20)
NOTEBOOKS = sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))
GENERATED = sorted(p for p in (ROOT / LIB).rglob("*.py")
                   if p.name != "_modidx.py" and "templates" not in p.relative_to(ROOT / LIB).parts)
DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(\w+)[: ]*(.*?)\s*$", re.M)


def directives(source):
    "The `#| name value` lines at the top of a cell"
    return {name: value for name, value in DIRECTIVE.findall(source)}


def is_exported(source):
    "Whether nbdev writes this cell into the module"
    return any(name in ("export", "exporti", "exports") for name in directives(source))


def code_cells(path):
    "The sources of a notebook's code cells"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def parsed(source):
    "The syntax tree of a cell; magics and shell lines, and cells that are no Python, are left out"
    source = "\n".join("pass" if line.strip()[:1] in ("%", "!") else line for line in source.splitlines())
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse("")


def module_of(path):
    "The module that the notebook at `path` writes (`core`, `adapters.sklearn`, `__init__`), or None"
    for source in code_cells(path):
        if "default_exp" in directives(source):
            return directives(source)["default_exp"]


LAYER = {module_of(path): int(re.match(r"\d+", path.name).group()) for path in NOTEBOOKS}
COMMANDS = {module for module, layer in LAYER.items() if 80 <= layer <= 90}  # the command line: parse, call, print


def module_name(path):
    "The dotted name, within the package, of a generated file: `core`, `adapters.sklearn`, `adapters`, `__init__`"
    parts = path.relative_to(ROOT / LIB).with_suffix("").parts
    return ".".join(parts[:-1]) if len(parts) > 1 and parts[-1] == "__init__" else ".".join(parts)


def own(name, names):
    "The modules of ours that `from mlship.NAME import NAMES` reaches, `name` without the `mlship.`"
    if name and name in LAYER:
        return {name}
    found = set()
    for part in names:
        full = f"{name}.{part}".strip(".")
        if full in LAYER:
            found.add(full)
        elif not name and not part.startswith("_"):
            # a name that mlship/__init__.py hands on: it counts as the module it lives in
            home = getattr(getattr(importlib.import_module(LIB), part, None), "__module__", None) or ""
            found.add(home.removeprefix(f"{LIB}.") if home.startswith(f"{LIB}.") else "__init__")
    return found or ({name} if name else set())


def imports(tree, module="__init__"):
    """What `tree` imports, wherever in the file: modules of ours, and the top names of everybody else's.

    `module` is the module that the code belongs to, for relative imports.
    """
    ours, others = set(), set()
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in (alias.name for alias in node.names):
                if name.startswith(f"{LIB}."):
                    ours.add(name[len(LIB) + 1:])
                elif name != LIB:
                    others.add(name.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if node.level:
                above = package[:len(package) - (node.level - 1)]
                ours |= own(".".join([*above, *filter(None, [node.module])]), names)
            elif node.module == LIB or node.module.startswith(f"{LIB}."):
                ours |= own(node.module[len(LIB):].strip("."), names)
            else:
                others.add(node.module.split(".")[0])
        elif (isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in
              ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant)):
            name = str(node.args[0].value)
            if name.startswith(f"{LIB}."):
                ours.add(name[len(LIB) + 1:])
            elif name != LIB:
                others.add(name.split(".")[0])
    return ours, others


def star_imports(tree):
    "Star imports of our own modules"
    return [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            and (node.level or (node.module or "").split(".")[0] == LIB) and node.names[0].name == "*"]


def units():
    "(id, module, trees, whether it is exported) of every exported notebook part, every lesson part, every module"
    for path in NOTEBOOKS:
        cells = code_cells(path)
        module = module_of(path)
        yield f"{path.name}", module, [parsed(c) for c in cells if is_exported(c)], True
        yield f"{path.name} (lesson cells)", module, [parsed(c) for c in cells if not is_exported(c)], False
    for path in GENERATED:
        yield (path.relative_to(ROOT).as_posix(), module_name(path),
               [ast.parse(path.read_text(encoding="utf-8"))], True)


UNITS = list(units())
EXPORTED = [unit[:3] for unit in UNITS if unit[3]]
each_unit = pytest.mark.parametrize("module, trees, exported", [u[1:] for u in UNITS], ids=[u[0] for u in UNITS])
each_exported = pytest.mark.parametrize("module, trees", [u[1:] for u in EXPORTED], ids=[u[0] for u in EXPORTED])
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.name for p in NOTEBOOKS])


def test_there_is_something_to_check():
    assert NOTEBOOKS and GENERATED


def test_every_notebook_has_a_module_of_its_own():
    assert None not in LAYER, [p.name for p in NOTEBOOKS if module_of(p) is None]
    assert len(LAYER) == len(NOTEBOOKS), "two notebooks write one module"


@each_notebook
def test_a_notebook_is_called_as_its_module(path):
    module = module_of(path)
    assert module == "__init__" or re.sub(r"^\d+_", "", path.stem).split("_")[-1] in module.replace("_", "."), module


def test_every_generated_module_has_a_notebook():
    # packages' __init__ files are made by nbdev where no notebook makes them
    names = {module_name(path) for path in GENERATED if path.name != "__init__.py"}
    assert names <= set(LAYER), f"no notebook makes {sorted(names - set(LAYER))}"


@each_unit
def test_imports_go_down(module, trees, exported):
    "Number = layer: only lower-numbered modules are imported, late imports included; a lesson may use its own module"
    if module not in LAYER:
        return
    for tree in trees:
        for name in imports(tree, module)[0]:
            assert name in LAYER, f"{module} imports {LIB}.{name}, which no notebook makes"
            if not exported and name == module:
                continue
            assert LAYER[name] < LAYER[module], \
                f"{module} ({LAYER[module]:02}) imports {name} ({LAYER[name]:02}), which is not below it"


@each_exported
def test_adapters_import_the_core_only(module, trees):
    if LAYER.get(module) not in ADAPTERS:
        return
    for name in {name for tree in trees for name in imports(tree, module)[0]}:
        assert LAYER[name] in CORE, f"the adapter {module} imports {name}; adapters import the core, not each other"


@each_exported
@pytest.mark.parametrize("library, allowed", [
    ("flask", {"app", "demo"}), ("werkzeug", {"app", "demo", "uploads"}),
    ("subprocess", {"proc"}), ("multiprocessing", {"proc"}), ("pty", {"proc"}), ("granian", {"server"}),
    ("click", COMMANDS), ("argparse", COMMANDS),
], ids=lambda value: value if isinstance(value, str) else "")
def test_only_some_import(library, allowed, module, trees):
    "The shells are thin: Flask, processes and the command line stay in their places"
    if module in allowed:
        return
    assert not any(library in imports(tree, module)[1] for tree in trees), \
        f"{module} imports {library}; only {' and '.join(sorted(allowed))} may"


@each_exported
def test_only_proc_starts_processes(module, trees):
    if module == "proc":
        return
    names = {"system", "popen", "fork", "forkpty", "posix_spawn", "startfile"}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in names and not re.match(r"exec[lv]|spawn[lv]", node.attr), \
                f"{module}: os.{node.attr}; processes start in proc"
        elif isinstance(node, ast.Name):
            assert node.id != "ProcessPoolExecutor", f"{module}: ProcessPoolExecutor; processes start in proc"


@each_exported
def test_only_cli_prints(module, trees):
    "Everything else returns values"
    if module in COMMANDS:
        return
    for node in (node for tree in trees for node in ast.walk(tree)):
        assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"), \
            f"{module}, line {node.lineno}: print()"


@each_unit
def test_no_star_imports_of_our_own(module, trees, exported):
    assert not [star for tree in trees for star in star_imports(tree)]


@each_exported
def test_nothing_for_users_in_a_string(module, trees):
    "Dockerfiles and pages are files in templates/"
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.lower()
            assert not any(mark in text for mark in ("<html", "<!doctype", "from python:", "from python\n")), \
                f"{module}, line {node.lineno}: put it into templates/"


@each_exported
def test_no_patches(module, trees):
    "No @patch: a class is where it is defined"
    for node in (node for tree in trees for node in ast.walk(tree)):
        for decorator in getattr(node, "decorator_list", []):
            assert not ast.unparse(decorator).startswith("patch"), f"{module}: @patch on {node.name}"


@each_notebook
def test_public_names_have_a_docstring(path):
    missing = [node.name for source in code_cells(path) if is_exported(source) for node in parsed(source).body
               if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
               and not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not missing, f"{path.name}: no docstring: {', '.join(missing)}"


@each_notebook
def test_a_notebook_is_small(path):
    "One notebook, one idea: larger ones are split"
    cells = len(json.loads(path.read_text(encoding="utf-8"))["cells"])
    lines = sum(1 for source in code_cells(path) if is_exported(source) for line in source.splitlines()
                if line.strip() and not DIRECTIVE.match(line))
    assert cells < MAX_CELLS, f"{path.name} has {cells} cells"
    assert lines < MAX_LINES, f"{path.name} exports {lines} lines"


def loaded_by(code):
    "The heavy libraries that a new Python has loaded after `code`"
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(*(set(sys.modules) & set({HEAVY!r})))"],
                          cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_mlship_is_light():
    assert loaded_by(f"import {LIB}") == set()


def test_the_core_is_light():
    names = [f"{LIB}.{name}" for name, number in LAYER.items() if number in CORE and name != "__init__"]
    assert loaded_by(f"import {', '.join(names)}") == set()


def test_version_is_the_metadata():
    cfg = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    cfg.read(ROOT / "settings.ini", encoding="utf-8")
    package = importlib.import_module(LIB)
    assert package.__version__ == importlib.metadata.version(cfg["DEFAULT"]["name"]) == cfg["DEFAULT"]["version"]
