# Everything one does with this project. `make` alone lists it.
#
#   make book PROFILE=full     the papers' data and sizes      make test ARGS="-k masks"    extra options for pytest
#   make setup PYTHON=python3.12   another interpreter         make book VENV=/some/venv    another environment

ifeq ($(filter oneshell,$(.FEATURES)),)
$(error GNU make 3.82 or newer is needed; on macOS: brew install make, then type gmake)
endif
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PROFILE ?= quick
VENV ?= .venv
PORT ?= 8000
TEST_JOBS ?= 2
NUMERICAL := dynamics causality pruning diagnostics
# PYTHON: the interpreter that makes the environment; empty takes the first below that is 3.11 or newer.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14)
# TORCH_INDEX: where a Linux machine without an NVIDIA card gets torch, some gigabytes smaller; empty: PyPI.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# Kernels come from this environment, not from the user's home.
export JUPYTER_PREFER_ENV_PATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
BUILD := $(PY) book/build.py $(if $(JOBS),--jobs $(JOBS))

.PHONY: help setup book notebooks pairs test portable lint bench serve clean distclean retarget

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED) ## Make the virtual environment with every pinned package
	@echo "The environment $(VENV) is ready."

book: $(INSTALLED) ## Run the notebooks and build the website: _build/html/index.html
	@$(BUILD) --profile $(PROFILE) $(ARGS)

notebooks: $(INSTALLED) ## Run the notebooks only; PROFILE=full for the papers' data and sizes
	@$(BUILD) --profile $(PROFILE) --notebooks-only $(ARGS)

pairs: $(INSTALLED) ## Write notebooks/*.ipynb anew from book/*.md
	@$(BUILD) --pairs $(ARGS)

# One thread: small work gains nothing from more, and sums keep one order on every machine.
test: export OMP_NUM_THREADS ?= 1
test: export MKL_NUM_THREADS ?= 1
test: export OPENBLAS_NUM_THREADS ?= 1
test: $(INSTALLED) ## Run the tests; ARGS="-k masks" runs some of them
	@$(PY) -m pytest --numprocesses $(TEST_JOBS) --dist loadgroup $(ARGS)

# The same numbers to rounding, not to the bit, are promised on another processor: this plays one.
portable: export ATEN_CPU_CAPABILITY := default
portable: export ONEDNN_MAX_CPU_ISA := SSE41
portable: export MKL_ENABLE_INSTRUCTIONS := SSE4_2
portable: export OPENBLAS_CORETYPE := Nehalem
portable: export NPY_DISABLE_CPU_FEATURES := X86_V3 X86_V4 AVX512_ICL AVX512_SPR
portable: export OMP_NUM_THREADS := 2
portable: $(INSTALLED) ## Run the numerical tests as on a processor with few instructions, on two threads
	@$(PY) -m pytest --numprocesses $(TEST_JOBS) --dist loadgroup $(addprefix tests/,$(NUMERICAL)) $(ARGS)

lint: $(INSTALLED) ## Check style and format
	@$(PY) -m ruff check .
	$(PY) -m ruff format --check .

bench: $(INSTALLED) ## Run every benchmark, one after another
	@failed=
	for script in benchmarks/[!_]*.py; do
	  [ -e "$$script" ] || continue
	  echo "== $$script"
	  $(PY) "$$script" || failed="$$failed $$script"
	done
	if [ -n "$$failed" ]; then echo "Failed:$$failed" >&2; exit 1; fi

serve: $(INSTALLED) ## Show the built website on http://localhost:8000 (PORT=...)
	@if [ ! -e _build/html/index.html ]; then echo "Nothing to serve yet: run 'make book' first." >&2; exit 1; fi
	$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

clean: ## Remove what the build and the tests left; keep the environment
	@rm -rf _build build dist .pytest_cache .ruff_cache .hypothesis causalprune_lib.egg-info
	for folder in book causalprune_lib tests benchmarks; do
	  if [ -d $$folder ]; then find $$folder -name __pycache__ -type d -prune -exec rm -rf {} +; fi
	done

distclean: clean ## Also remove the environment .venv
	@rm -rf .venv

retarget: ## Point the book at your fork: REPO=https://github.com/you/your-fork
	@if [ -z "$(REPO)" ]; then echo "Name your fork: make retarget REPO=https://github.com/you/your-fork" >&2; exit 1; fi
	for name in $(CANDIDATES); do
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
	    exec "$$name" book/retarget.py "$(REPO)"
	  fi
	done
	echo "Python 3.11 or newer is needed; tried: $(CANDIDATES)." >&2
	exit 1

$(INSTALLED): requirements.txt pyproject.toml
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then
	  python=
	  for name in $(CANDIDATES); do
	    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi
	  done
	  if [ -z "$$python" ]; then
	    echo "Python 3.11 or newer is needed; tried: $(CANDIDATES)." >&2
	    echo "Install one, or name yours: make setup PYTHON=/path/to/python3.12" >&2
	    exit 1
	  fi
	  if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then
	    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	    echo "$$python cannot make virtual environments: its venv module is missing." >&2
	    echo "On Debian or Ubuntu: sudo apt install python3-venv    (or python$$version-venv)" >&2
	    exit 1
	  fi
	  echo "Making the environment $(VENV) with $$($$python --version)"
	  # a half-made environment is made anew; a folder that is no environment is never emptied
	  if [ -e $(VENV)/pyvenv.cfg ]; then "$$python" -m venv --clear $(VENV); else "$$python" -m venv $(VENV); fi
	fi
	torch=$$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.txt)
	have=$$($(PY) -c 'import importlib.metadata as m; print("torch==" + m.version("torch").split("+")[0])' 2>/dev/null || true)
	if [ "$$have" != "$$torch" ] && [ -n "$(TORCH_INDEX)" ] && [ "$$(uname -s)" = Linux ] && ! nvidia-smi >/dev/null 2>&1; then
	  echo "No NVIDIA card here: taking the CPU build of $$torch"
	  $(PY) -m pip install --no-deps --retries 1 --timeout 20 --index-url "$(TORCH_INDEX)" "$$torch" \
	    || echo "The CPU build could not be had from $(TORCH_INDEX); the larger build from PyPI serves as well."
	fi
	echo "Installing the pinned packages of requirements.txt; the first time this takes some minutes"
	$(PY) -m pip install -r requirements.txt
	$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
