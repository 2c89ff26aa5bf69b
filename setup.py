"""Builds the package from settings.ini, the one place of its metadata."""
import configparser
import os
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
# '=' only, and no interpolation: a requirement may contain ':' or '%'
CONFIG = configparser.ConfigParser(delimiters=("=",), interpolation=None)
CONFIG.read(HERE / "settings.ini", encoding="utf-8")
CFG = CONFIG["DEFAULT"]
LIB = CFG["lib_name"]


def lines(key):
    "The non-empty lines of the setting `key`"
    return [line.strip() for line in CFG.get(key, "").splitlines() if line.strip()]


def groups(prefix):
    "The settings that start with `prefix`, by the rest of their name"
    return {key[len(prefix):]: lines(key) for key in CFG if key.startswith(prefix)}


def extras():
    "Every extra, and `all`: whatever most users may want"
    found = groups("extra_")
    apart = {"dev", "boosting", "torch", "fastai", "transformers", "tensorflow"}
    found["all"] = sorted({req for name, reqs in found.items() if name not in apart for req in reqs})
    return found


def place_templates():
    """Make sure that `mlship/templates` is a folder.

    In git it is a symlink to ../templates. Git on Windows makes a small text file of a symlink unless it may do
    better, and then a package without templates would be built without a word.
    """
    here, real = HERE / LIB / "templates", HERE / "templates"
    if here.is_dir() or not here.parent.is_dir():
        return
    if not real.is_dir():
        sys.exit(f"{here} is not a folder, and there is no {real} to take its place: the checkout is not complete.")
    if os.path.lexists(here):
        here.unlink()
    try:
        os.symlink(os.path.join("..", "templates"), here, target_is_directory=True)
        how = "a symlink"
    except OSError:
        try:
            import _winapi
            _winapi.CreateJunction(str(real), str(here))  # needs no rights on Windows, and follows edits
            how = "a junction"
        except (ImportError, AttributeError, OSError):
            shutil.copytree(real, here)
            how = "a copy; after editing templates/, delete it and install again"
    print(f"{here} was not a folder; it is now {how} ({real}). "
          "To keep git quiet about it: git config core.symlinks true, then git checkout -- .", file=sys.stderr)


def templates():
    "The files under `mlship/templates`, hidden ones too, relative to the package"
    top = HERE / LIB
    return [(Path(folder) / name).relative_to(top).as_posix()
            for folder, _, names in os.walk(top / "templates", followlinks=True)
            for name in sorted(names) if not name.endswith(".pyc")]


def place_courses(top):
    """Write the courses as students get them, without solutions and hidden tests, below `top`, a package that is built.

    An editable install has none: there `mlship course start NAME` takes them from courses/.
    """
    for toml in sorted((HERE / "courses").glob("*/course.toml")):
        sys.path.insert(0, str(HERE))
        try:
            from mlship.course import load_course
            from mlship.handout import build_course
        finally:
            sys.path.remove(str(HERE))
        folder = Path(top) / "templates" / "courses" / toml.parent.name
        shutil.rmtree(folder, ignore_errors=True)
        build_course(load_course(toml.parent), folder)


class BuildPackage(build_py):
    "And the courses"
    def run(self):
        super().run()
        if not self.editable_mode:
            place_courses(Path(self.build_lib) / LIB)


class BuildSource(sdist):
    "And the courses: a wheel made from it has them, too, without their sources"
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        place_courses(Path(base_dir) / LIB)


place_templates()
readme = HERE / "README.md"
setup(
    name=CFG["name"],
    version=CFG["version"],
    description=CFG["description"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else CFG["description"],
    long_description_content_type="text/markdown",
    author=CFG["author"],
    license=CFG["license"],
    license_files=["LICENSE"],
    keywords=CFG["keywords"].split(),
    classifiers=lines("classifiers"),
    python_requires=f">={CFG['min_python']}",
    # LIB itself also before the first nbdev-export, so that an editable install of then goes on working after it
    packages=sorted({LIB, *find_packages(include=[LIB, f"{LIB}.*"])}),
    package_data={LIB: templates()},
    include_package_data=False,
    install_requires=lines("requirements"),
    extras_require=extras(),
    entry_points={"console_scripts": lines("console_scripts"), **groups("entry_points_")},
    zip_safe=False,
    cmdclass={"build_py": BuildPackage, "sdist": BuildSource},
)
