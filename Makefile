# make demo    a model from a notebook, served, on a fresh machine with only Python, git and make
# make test    everything that must hold before a commit lands; what .ci/run calls
# The rest is listed by `make help`. GNU Make 3.81 (macOS) is enough. On Windows: CONTRIBUTING.md has the plain commands.

PYTHON ?= python3
VENV   ?= .venv
# more arguments for pytest: make pytest PYTEST_ARGS="-k bundle -x"
PYTEST_ARGS ?=

# many machines for CI set this: each of thousands of processes would compile scikit-learn anew, two seconds a time
unexport PYTHONDONTWRITEBYTECODE

BIN  := $(VENV)/bin
DEMO := nbs/tutorials/01_first_model.ipynb
# what was installed for another settings.ini or other constraints is installed anew
KEY  := $(shell cat settings.ini setup.py pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
FOR_DEMO := $(VENV)/.for-demo-$(KEY)
FOR_TEST := $(VENV)/.for-test-$(KEY)

# a developer's own store, keys and settings take no part in tests, and are not changed by them
OWN_HOME = home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && trap 'exit 130' INT TERM && \
	MLSHIP_HOME="$$home" && export MLSHIP_HOME && unset MLSHIP_STORE IN_TEST &&

NBVAL := pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 -p no:cacheprovider
ALONE := $(shell grep -l 'mark\.alone' tests/test_*.py)
DEEP_TUTORIALS := $(shell grep -lE '^ *"(import torch|from fastai)' nbs/tutorials/*.ipynb)

# what is installed: in variables, because a comma would end an argument of $(call)
ALL  := -c constraints.txt -e '.[all,dev]'
SOME := -c constraints.txt -e '.[notebook,sklearn]'

# uv is quicker where it can be had; where it cannot reach what pip can, pip does it. $(1): environment, $(2): what
define install
	@uv=$$(command -v uv) || { $(1)/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt uv \
	2>/dev/null && uv=$(1)/bin/uv; }; if [ -n "$$uv" ] && "$$uv" pip install --quiet --python $(1)/bin/python $(2); then :; \
	else $(1)/bin/python -m pip install -qq --disable-pip-version-check $(2); fi
endef

.PHONY: help demo test check lint nbtest pytest tutorials clients deep course warm tensorflow browser container export docs bench constraints clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	{ echo "mlship needs Python 3.10 or newer; '$(PYTHON)' is not. Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	echo "No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(FOR_TEST): | $(BIN)/python
	@echo "== installing $(ALL) into $(VENV)"
	$(call install,$(VENV),$(ALL))
	@rm -f $(VENV)/.for-*; touch $@ $(FOR_DEMO)

$(FOR_DEMO): | $(BIN)/python
	@echo "== installing $(SOME) into $(VENV)"
	$(call install,$(VENV),$(SOME))
	@rm -f $(VENV)/.for-*; touch $@

# In a terminal the server gets a process group of its own (set -m), so that Ctrl-C reaches it and not make, which
# would end with an error; what it ends with then (0, or 130 for "interrupted") is fine.
demo: $(FOR_DEMO)  ## run the first tutorial, ship its model, serve it (Ctrl-C ends it)
	@if [ -t 0 ]; then set -m; $(BIN)/mlship serve $(DEMO); rc=$$?; [ $$rc -eq 130 ] || exit $$rc; \
	else exec $(BIN)/mlship serve $(DEMO); fi

test: check lint nbtest pytest tutorials  ## all of the following, up to tutorials

check: $(FOR_TEST)  ## the package and the README are what the notebooks say
	@echo "== check"; $(BIN)/python tests/check_generated.py

lint: $(FOR_TEST)  ## ruff, on the notebooks' code too
	@echo "== lint"; $(BIN)/ruff check --no-cache .

nbtest: $(FOR_TEST)  ## the asserts in the notebooks that make the package (nbdev-test)
	@echo "== nbtest"; $(OWN_HOME) $(BIN)/nbdev-test nbs --n-workers 2

pytest: $(FOR_TEST)  ## what crosses modules
	@echo "== pytest"; $(OWN_HOME) if [ -n '$(PYTEST_ARGS)' ]; then $(BIN)/python -m pytest $(PYTEST_ARGS); else \
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not alone and not lessons" && $(BIN)/python -m pytest -q -m alone $(ALONE); fi

tutorials: $(FOR_TEST)  ## the tutorials, as notebooks, in a real kernel (nbval)
	@echo "== tutorials"; for n in $(DEEP_TUTORIALS); do echo "SKIPPED here, make deep runs it: $$n"; done
	@$(OWN_HOME) $(BIN)/python -m $(NBVAL) -n 2 --dist loadfile $(filter-out $(DEEP_TUTORIALS),$(wildcard nbs/tutorials/*.ipynb))

clients: $(FOR_TEST)  ## other people's clients and checkers, in environments of their own
	@echo "== clients"; $(OWN_HOME) $(BIN)/python -m pytest tests/clients tests/deployments

# Deep learning has an environment of its own: torch for the CPU first, because the index's newest build brings CUDA.
DEEP     := .venv-deep
ALL_DEEP := -c constraints.txt -c tests/deep/constraints.txt -e '.[all,dev,torch,fastai,transformers]' xgboost-cpu lightgbm
DEEP_KEY := $(shell cat settings.ini setup.py constraints.txt tests/deep/constraints.txt tests/deep/sitecustomize.py | cksum | cut -d' ' -f1)
$(DEEP)/.for-$(DEEP_KEY):
	@$(PYTHON) -m venv $(DEEP)
	@echo "== installing torch and what stands on it into $(DEEP)"
	@$(DEEP)/bin/python -m pip install -qq --disable-pip-version-check "$$(grep ^torch== tests/deep/constraints.txt)"
	$(call install,$(DEEP),$(ALL_DEEP))
	@cp tests/deep/sitecustomize.py $$($(DEEP)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	@rm -f $(DEEP)/.for-*; touch $@

deep: $(DEEP)/.for-$(DEEP_KEY)  ## torch, fastai, transformers, XGBoost, LightGBM: adapters and what they ship
	@echo "== deep"; $(OWN_HOME) for n in $$(grep -lE '"#\| (torch|fastai|transformers|boosting)' nbs/*.ipynb); do \
	$(DEEP)/bin/nbdev-test "$$n" --flags "torch fastai transformers boosting" || exit 1; done && \
	$(DEEP)/bin/python -m pytest tests/deep $(PYTEST_ARGS) && $(DEEP)/bin/python -m $(NBVAL) $(DEEP_TUTORIALS)

course: $(FOR_TEST) $(DEEP)/.for-$(DEEP_KEY)  ## prove the courses: every exercise fails as handed out, passes solved; lessons run
	@echo "== course"; $(OWN_HOME) for c in $(dir $(wildcard courses/*/course.toml)); do \
	basename -s .ipynb $$c/lessons/*.ipynb | xargs -n 1 -P 2 $(DEEP)/bin/mlship course verify $$c || exit 1; done && $(BIN)/python -m pytest -q -n 2 --dist worksteal -m lessons tests/test_warm_kernel.py

warm: $(DEEP)/.for-$(DEEP_KEY)  ## papermill's --engine mlship beside the usual kernel, cell by cell, for what needs torch
	@echo "== warm"; $(OWN_HOME) $(DEEP)/bin/python -m pytest tests/test_warm_kernel.py -k "tutorial or lesson or training"

TENSORFLOW     := .venv-tensorflow
ALL_TENSORFLOW := -c constraints.txt -c tests/deep/constraints-tensorflow.txt tensorflow-cpu keras -e '.[dev,sklearn]'
$(TENSORFLOW)/.for-$(DEEP_KEY):
	@$(PYTHON) -m venv $(TENSORFLOW)
	@echo "== installing TensorFlow into $(TENSORFLOW)"
	$(call install,$(TENSORFLOW),$(ALL_TENSORFLOW))
	@rm -f $(TENSORFLOW)/.for-*; touch $@

tensorflow: $(TENSORFLOW)/.for-$(DEEP_KEY)  ## Keras and TensorFlow: the adapter and what it ships
	@echo "== tensorflow"; $(OWN_HOME) export TF_CPP_MIN_LOG_LEVEL=3 && \
	$(TENSORFLOW)/bin/nbdev-test nbs/16_keras.ipynb --flags tensorflow && \
	$(TENSORFLOW)/bin/python -m pytest tests/deep/test_keras.py $(PYTEST_ARGS)

browser: $(FOR_TEST)  ## the page in a real Chromium (Debian: apt install chromium)
	@echo "== browser"; [ -d $(VENV)/browser ] || $(BIN)/python -m pip install -qq --disable-pip-version-check \
		--target $(VENV)/browser playwright==1.65.2 axe-playwright-python==0.1.8
	@$(OWN_HOME) PYTHONPATH=$(VENV)/browser $(BIN)/python -m pytest $(PYTEST_ARGS) tests/browser

container: $(FOR_TEST)  ## build images, run them, ask them (docker or podman, or root on Debian)
	@echo "== container"; PYTHON=$(BIN)/python bash tests/container/prove.sh

export: $(FOR_TEST)  ## write mlship/ from the notebooks
	@$(BIN)/nbdev-export

docs: export  ## write mlship/ and README.md from the notebooks
	@$(BIN)/python tests/check_generated.py --write-readme

bench: $(FOR_TEST)  ## run every benchmark; each says where it writes its table
	@found=; for f in benchmarks/*.py; do [ -e "$$f" ] || continue; found=1; \
	echo "== $$f"; ( $(OWN_HOME) $(BIN)/python "$$f" ) || exit 1; done; \
	[ -n "$$found" ] || echo "SKIPPED: there is no benchmark yet"

constraints: $(FOR_TEST)  ## find today's versions for tests, on Python 3.10 and newer
	@$(BIN)/python tests/check_generated.py --write-constraints

clean:  ## remove what was built or cached; .venv stays
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print | xargs rm -rf
