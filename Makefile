# PYTHON chooses the interpreter: PYTHON=python3.11 make test
# VENV and CONSTRAINTS (a pip constraints file) choose another environment. Environments are made once
# for all checkouts, in $ALBERT_ENVIRONMENTS or ~/.cache/albert-tf; $(VENV) is a link to one.

VENV ?= .venv
CONSTRAINTS ?= /dev/null

VERSIONS := 3.14 3.13 3.12 3.11 3.10 3.9 3.8
SUPPORTED := import sys; sys.exit(not (3, 8) <= sys.version_info < (3, 15))
VERSION_OF = "$(1)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
PYENV_ROOT := $(shell pyenv root 2>/dev/null)
# Paths of the interpreters of some versions, as far as they are here.
FOUND = $(foreach v,$(1),$(shell for p in python$(v) $(wildcard $(PYENV_ROOT)/versions/$(v).*/bin/python); \
	do "$$p" -c '' 2>/dev/null && echo "$$p" && break; done))
# Without a choice: the interpreter of the environment that is there, or the newest supported one.
CANDIDATES = "$$($(VENV)/bin/python -c 'import sys; print(sys._base_executable)' 2>/dev/null)" \
	$(foreach v,$(VERSIONS),python$(v) $(wildcard $(PYENV_ROOT)/versions/$(v).*/bin/python)) python3
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
ENVIRONMENT = "$(PYTHON)" .ci/environment.py $(VENV) --constraints=$(CONSTRAINTS)

# Graphs for Gaudi cards are tested with Habana's package, which exists for Python 3.10 alone.
HPU_VENV ?= .venv-hpu
HPU_PYTHON ?= $(call FOUND,3.10)

# What `make compare` compares with; the pinned PyTorch is a CPU build on this Python.
COMPARE_VENV ?= .venv-compare
COMPARE_PYTHON ?= $(firstword $(call FOUND,3.11) $(PYTHON))
COMPARE_FLAGS ?=

PYTEST_FLAGS := --numprocesses=2 --dist=loadgroup --no-loadscope-reorder --durations=20

.PHONY: setup supported dev horovod tools browser quickstart test test-examples test-one-process test-tensorflow \
	test-kills test-readme hpu test-hpu lint docs bench compare clean

setup: supported
	@$(ENVIRONMENT)

dev: supported
	@$(ENVIRONMENT) --level=dev

# HOROVOD_GPU_OPERATIONS and Horovod's other variables choose what is compiled.
horovod: supported
	@$(ENVIRONMENT) --level=horovod

supported:
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { \
		found="$$($(call VERSION_OF,$(PYTHON)))"; \
		[ -n "$$found" ] || found="$$($(call VERSION_OF,python3))"; \
		echo "This needs Python 3.8 to 3.14; $${found:+here is Python $$found, }PYTHON='$(PYTHON)'." \
			"Choose one (PYTHON=python3.12 make ...), or install one: apt-get install python3.12" \
			"python3.12-venv, or uv python install 3.12 and PYTHON=\"\$$(uv python find 3.12)\"" >&2; \
		exit 1; }

quickstart: setup
	$(VENV)/bin/python examples/quickstart.py

# Before the packages, which take minutes.
tools:
	@missing=""; \
	for tool in c++ mpicxx mpirun; do \
		command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	[ -z "$$missing" ] || { \
		echo "The tests need a C++ compiler and Open MPI, but there is no$$missing:" \
			"apt-get install g++ openmpi-bin libopenmpi-dev (or: make test-one-process)" >&2; exit 1; }

# Chromium, in which the tests of the report page run.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
		echo "The tests of the report page need Chromium: apt-get install chromium" \
			"chromium-driver" >&2; exit 1; }

# All but the programs in benchmarks/ and examples/: `make test-examples`, which .ci/run runs too.
test: tools browser horovod lint
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m "not examples"
	@$(MAKE) test-hpu

# Without the tests that start several processes with Horovod, and those of `tests/hpu`.
test-one-process: browser lint
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m "not horovod and not examples"

# The programs in benchmarks/ and examples/, the notebook, and the commands of the docs.
test-examples: horovod
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m examples

# What another TensorFlow could change: graphs and their numbers, record and checkpoint files, exported
# models, a run of each script. Not text, messages, downloads, signals and kills; not what is learned.
test-tensorflow: dev
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m "tensorflow and not horovod"

# All moments at which runs are killed; `make test` takes a share of them.
test-kills: dev
	ALL_KILLS=1 $(VENV)/bin/python -m pytest $(PYTEST_FLAGS) tests/kills tests/records/test_kills.py

# The longer trainings of the docs, as they are printed, and tiny models that learn each kind of task.
test-readme: dev
	$(VENV)/bin/python -m pytest --durations=0 --timeout=0 tests/readme

# The tests of graphs for an HPU need no card.
ifeq ($(HPU_PYTHON),)
hpu:
	@echo "Habana's package needs Python 3.10: HPU_PYTHON=... says where it is" >&2; exit 1

test-hpu:
	@echo "There is no Python 3.10 here: the tests of tests/hpu are left out."
else
hpu:
	@"$(HPU_PYTHON)" .ci/environment.py $(HPU_VENV) --requirements=requirements-hpu.txt --level=test

test-hpu: hpu
	$(HPU_VENV)/bin/python -m pytest --numprocesses=2 tests/hpu
endif

lint: dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@[ -x $(VENV)/bin/mypy ] || echo "mypy and import-linter need Python 3.11: left out."
	@[ ! -x $(VENV)/bin/mypy ] || { $(VENV)/bin/mypy && $(VENV)/bin/lint-imports; }

# The pages that are made from the code.
docs: setup
	$(VENV)/bin/python docs/make_flags_page.py

bench: horovod
	$(VENV)/bin/python benchmarks/run_all.py

# COMPARE_FLAGS="--squad_file=train-v1.1.json --spm_model_file=30k-clean.model" measures real text.
compare: setup
	@"$(COMPARE_PYTHON)" .ci/environment.py $(COMPARE_VENV) --requirements=requirements-compare.txt
	$(VENV)/bin/python benchmarks/compare.py \
		--transformers_python="$(COMPARE_VENV)/bin/python" $(COMPARE_FLAGS)

clean:
	rm -rf "$(VENV)" "$(HPU_VENV)" "$(COMPARE_VENV)" quickstart text_to_answers
