"""What an installed package has: templates, entry points, the extras; and that names are said in one place."""
import configparser
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = configparser.ConfigParser(delimiters=("=",), interpolation=None)
CONFIG.read(ROOT / "settings.ini", encoding="utf-8")
CFG = CONFIG["DEFAULT"]
SOURCES = ["settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE"]


def template_files(top):
    "The files under `top`, relative to it"
    return {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def wheel_of(folder, out):
    "Build the wheel of the project in `folder`; its path"
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet",
                           "--wheel-dir", str(out), str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.mark.parametrize("how", ["symlink", "text file"])
def test_the_wheel_has_the_templates(tmp_path, how):
    "From a usual checkout, and from one where git made a text file of the symlink (Windows)"
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "templates", copy / "templates")
    shutil.copytree(ROOT / "mlship", copy / "mlship", ignore=shutil.ignore_patterns("templates", "__pycache__"))
    if how == "symlink":
        try:
            (copy / "mlship" / "templates").symlink_to("../templates", target_is_directory=True)
        except OSError:
            pytest.skip("no symlinks here")
    else:
        (copy / "mlship" / "templates").write_text("../templates")
    with zipfile.ZipFile(wheel_of(copy, tmp_path / "out")) as wheel:
        names = set(wheel.namelist())
        entry_points = next(wheel.read(n).decode() for n in names if n.endswith("entry_points.txt"))
    packed = {n.removeprefix("mlship/templates/") for n in names if n.startswith("mlship/templates/")}
    assert packed == template_files(ROOT / "templates")
    assert not any(n.startswith(("tests", "nbs", "benchmarks", "templates")) for n in names)
    assert "mlship = mlship.cli:main" in entry_points and "[mlship.adapters]" in entry_points


@pytest.mark.parametrize("by_way_of", ["the checkout", "an sdist"])
def test_the_wheel_has_courses_as_students_get_them(tmp_path, by_way_of):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "mlship", copy / "mlship", ignore=shutil.ignore_patterns("templates", "__pycache__"))
    shutil.copytree(ROOT / "templates", copy / "mlship" / "templates")
    shutil.copytree(ROOT / "tests" / "courses" / "small", copy / "courses" / "small")
    if by_way_of == "an sdist":
        done = subprocess.run([sys.executable, "setup.py", "-q", "sdist", "-d", str(tmp_path)], cwd=copy, timeout=300,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        (copy,) = tmp_path.glob("*.tar.gz")
        with tarfile.open(copy) as source:
            assert not any("/courses/small/lessons" in n for n in source.getnames())
    with zipfile.ZipFile(wheel_of(copy, tmp_path / "out")) as wheel:
        course = {n.removeprefix("mlship/templates/courses/small/"): wheel.read(n).decode() for n in wheel.namelist()
                  if n.startswith("mlship/templates/courses/")}
    assert {"01_numbers.ipynb", "clean/02_tables.ipynb", "course.json", "data/points.csv"} <= set(course)
    assert not re.search("BEGIN SOLUTION|HIDDEN TESTS|Because every number", "".join(course.values()))


def test_every_entry_point_loads():
    entry_points = importlib.metadata.distribution(CFG["name"]).entry_points
    assert {e.name for e in entry_points if e.group == "mlship.adapters"} >= {"function", "sklearn"}
    for entry_point in entry_points:
        assert callable(entry_point.load()), entry_point


LARGE = {"boosting", "torch", "fastai", "transformers", "tensorflow"}   # gigabytes, and an environment of their own


def test_all_is_every_extra_but_dev_and_the_large_ones():
    requires = importlib.metadata.distribution(CFG["name"]).requires
    by_extra = {}
    for line in requires:
        if found := re.search(r"""extra == ["']([\w-]+)["']""", line):
            by_extra.setdefault(found[1], set()).add(re.split(r"\s*;", line)[0])
    assert {"all", "dev", "notebook", "sklearn"} <= set(by_extra)
    assert LARGE < set(by_extra)
    assert by_extra["all"] == set().union(*(reqs for name, reqs in by_extra.items()
                                            if name not in LARGE | {"all", "dev"}))


def test_the_name_is_said_once():
    "nbdev wants the name in pyproject.toml; it is the one in settings.ini. The other project's name is not installed"
    assert f'name = "{CFG["name"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wrong = re.compile(r"pip3? install (?:-\S+ )*[\"']?mlship(?![-\w./])")
    texts = [p for p in ROOT.iterdir() if p.suffix in (".md", ".ini", ".py") or p.name == "Makefile"]
    for folder in ("mlship", "nbs", "templates", "courses", "docs", ".github"):
        texts += [p for p in (ROOT / folder).rglob("*") if p.is_file()
                  and p.suffix in (".md", ".py", ".ipynb", ".yml", ".yaml", ".j2", ".toml", ".html", ".txt", "")]
    for path in texts:
        if found := wrong.search(path.read_text(encoding="utf-8", errors="ignore")):
            pytest.fail(f"{path.relative_to(ROOT)}: {found[0]!r} installs somebody else's package")


def test_constraints_cover_what_tests_install():
    places = [ROOT / "constraints.txt", *(ROOT / "tests" / "deep").glob("constraints*.txt")]
    text = "".join(p.read_text(encoding="utf-8") for p in places)
    text = re.sub(r"^(xgboost|tensorflow)-cpu==", r"\1==", text, flags=re.M)
    pinned = {re.sub("[-_.]+", "-", line.split("==")[0]) for line in text.splitlines()
              if "==" in line and not line.startswith("#")}
    wanted = {re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", line)[0].lower()) for key in CFG
              if key == "requirements" or key.startswith("extra_") for line in CFG[key].splitlines() if line.strip()}
    assert wanted <= pinned, f"not in constraints.txt: {sorted(wanted - pinned)}. Run: make constraints"
    assert not re.search(r"://| @ |^-", text, re.M)
