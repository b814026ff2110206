# PYTHON chooses the interpreter: PYTHON=python3.10 make test
# VENV and CONSTRAINTS (a pip constraints file) choose another environment.

VENV ?= .venv
CONSTRAINTS ?= /dev/null

SUPPORTED := import sys; sys.exit(not (3, 8) <= sys.version_info < (3, 12))
# Without a choice: the interpreter of the environment that is there, or the first that will do.
CANDIDATES := "$$($(VENV)/bin/python -c 'import sys; print(sys._base_executable)' 2>/dev/null)" \
	python3 python3.11 python3.10 python3.9 python3.8
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
STAMP := $(VENV)/installed-$(shell "$(PYTHON)" -c \
	'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

# Graphs for Gaudi cards are tested with Habana's package, for which there is no other Python.
HPU_VENV ?= .venv-hpu
HPU_PYTHON ?= $(shell for p in python3.10 "$$(pyenv root 2>/dev/null)"/versions/3.10*/bin/python3.10; \
	do "$$p" -c '' 2>/dev/null && echo "$$p" && break; done)

MPICXX := $(shell command -v mpicxx)
PYTEST_FLAGS := --numprocesses=2 --dist=loadgroup --durations=20

.PHONY: setup supported quickstart horovod test test-one-process test-tensorflow hpu test-hpu lint bench clean

setup: $(STAMP)

supported:
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { \
		echo "There is no Python 3.8, 3.9, 3.10 or 3.11 at PYTHON='$(PYTHON)', and TensorFlow" \
			"with Estimators runs on no other: PYTHON=python3.11 make ... chooses one" >&2; \
		exit 1; }

$(STAMP): requirements.txt $(filter-out /dev/null,$(CONSTRAINTS)) | supported
	@echo "Installing requirements.txt into $(VENV) with $$("$(PYTHON)" --version) ..."
	@if [ ! -e $@ ]; then rm -rf "$(VENV)" && "$(PYTHON)" -m venv "$(VENV)"; fi
	@$(PIP) install -r requirements.txt -c $(CONSTRAINTS)
	@touch $@

$(STAMP)-dev: $(STAMP) requirements-dev.txt
	@$(PIP) install -r requirements-dev.txt -c $(CONSTRAINTS)
	@touch $@

# Horovod is compiled against the TensorFlow of the environment: pip must not take what it compiled
# for another one (--no-cache-dir).
horovod: $(STAMP)-horovod

$(STAMP)-horovod: $(STAMP) requirements-horovod.txt requirements-horovod-build.txt
	@command -v c++ >/dev/null || { echo "Horovod needs a C++ compiler: apt-get install g++" >&2; exit 1; }
	@echo "Building Horovod with Gloo$(if $(MPICXX), and MPI,; without MPI, as there is no mpicxx) ..."
	@$(PIP) install -r requirements-horovod-build.txt -c $(CONSTRAINTS)
	@HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
		HOROVOD_WITH_GLOO=1 $(if $(MPICXX),HOROVOD_WITH_MPI=1,HOROVOD_WITHOUT_MPI=1) \
		HOROVOD_CMAKE="$(abspath $(VENV))/bin/cmake" MAKEFLAGS=-j$$(nproc) \
		$(PIP) install -r requirements-horovod.txt \
		--no-build-isolation --no-cache-dir --force-reinstall --no-deps
	@touch $@

quickstart: setup
	$(VENV)/bin/python examples/quickstart.py

test: lint horovod
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS)
	@$(MAKE) test-hpu

# All but the tests that start several processes with Horovod, and those of `tests/hpu`.
test-one-process: lint
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m "not horovod"

# Those of one process that another TensorFlow could change: not text, messages and downloads.
SAME_WITH_ANY_TENSORFLOW := download glue squad devices/test_distributed.py \
	pretraining/test_instances.py records/test_workers.py test_classifier_bad_input.py \
	test_create_pretraining_data.py test_examples.py test_tokenization.py

test-tensorflow: lint
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m "not horovod" \
		$(SAME_WITH_ANY_TENSORFLOW:%=--ignore=tests/%)

hpu: $(HPU_VENV)/installed

$(HPU_VENV)/installed: requirements-hpu.txt requirements-dev.txt
	@if [ -z "$(HPU_PYTHON)" ]; then \
		echo "Habana's package needs Python 3.10: HPU_PYTHON=... says where it is" >&2; exit 1; fi
	@echo "Installing requirements-hpu.txt into $(HPU_VENV) with $$("$(HPU_PYTHON)" --version) ..."
	@rm -rf "$(HPU_VENV)" && "$(HPU_PYTHON)" -m venv "$(HPU_VENV)"
	@$(HPU_VENV)/bin/python -m pip --disable-pip-version-check --quiet install \
		-r requirements-hpu.txt $$(grep ^pytest requirements-dev.txt)
	@touch $@

# They need no card: graphs can be built and looked at without.
ifeq ($(HPU_PYTHON),)
test-hpu:
	@echo "There is no Python 3.10 here: the tests of tests/hpu are left out."
else
test-hpu: hpu
	$(HPU_VENV)/bin/python -m pytest --numprocesses=2 tests/hpu
endif

lint: $(STAMP)-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

bench: horovod
	$(VENV)/bin/python benchmarks/run_all.py

clean:
	rm -rf "$(VENV)" "$(HPU_VENV)" quickstart text_to_answers
