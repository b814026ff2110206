# PYTHON chooses the interpreter: PYTHON=python3.11 make test
# VENV and CONSTRAINTS (a pip constraints file) choose another environment.

VENV ?= .venv
CONSTRAINTS ?= /dev/null

VERSIONS := 3.13 3.12 3.11 3.10 3.9 3.8
SUPPORTED := import sys; sys.exit(not (3, 8) <= sys.version_info < (3, 14))
VERSION_OF = "$(1)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
# Without a choice: the interpreter of the environment that is there, or the newest supported one.
PYENV_ROOT := $(shell pyenv root 2>/dev/null)
CANDIDATES = "$$($(VENV)/bin/python -c 'import sys; print(sys._base_executable)' 2>/dev/null)" \
	$(foreach v,$(VERSIONS),python$(v) $(wildcard $(PYENV_ROOT)/versions/$(v).*/bin/python)) python3
PYTHON ?= $(shell for p in $(CANDIDATES); do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
STAMP := $(VENV)/installed-$(shell $(call VERSION_OF,$(PYTHON)))

# Graphs for Gaudi cards are tested with Habana's package, which exists for Python 3.10 alone.
HPU_VENV ?= .venv-hpu
HPU_PYTHON ?= $(shell for p in python3.10 $(wildcard $(PYENV_ROOT)/versions/3.10.*/bin/python); \
	do "$$p" -c '' 2>/dev/null && echo "$$p" && break; done)

# What `make compare` compares with; the pinned PyTorch is a CPU build on this Python.
COMPARE_VENV ?= .venv-compare
COMPARE_PYTHON ?= $(shell for p in python3.11 $(wildcard $(PYENV_ROOT)/versions/3.11.*/bin/python) \
	"$(PYTHON)"; do "$$p" -c '' 2>/dev/null && echo "$$p" && break; done)
COMPARE_FLAGS ?=

MPICXX := $(shell command -v mpicxx)
PYTEST_FLAGS := --numprocesses=2 --dist=loadgroup --durations=20

.PHONY: setup supported tools quickstart horovod browser test test-one-process test-tensorflow test-kills test-readme hpu test-hpu lint docs bench \
	compare clean

setup: $(STAMP)

supported:
	@"$(PYTHON)" -c '$(SUPPORTED)' 2>/dev/null || { \
		found="$$($(call VERSION_OF,$(PYTHON)))"; \
		[ -n "$$found" ] || found="$$($(call VERSION_OF,python3))"; \
		echo "This needs Python 3.8 to 3.13; $${found:+here is Python $$found, }PYTHON='$(PYTHON)'." \
			"Choose one (PYTHON=python3.12 make ...), or install one: apt-get install python3.12" \
			"python3.12-venv, or uv python install 3.12 and PYTHON=\"\$$(uv python find 3.12)\"" >&2; \
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
# for another one (--no-cache-dir). From TensorFlow 2.16 on it builds without its XLA op alone, which
# is not used here and needs headers that TensorFlow no longer ships.
horovod: $(STAMP)-horovod

$(STAMP)-horovod: SOURCE = $(VENV)/horovod-source
$(STAMP)-horovod: $(STAMP) requirements-horovod.txt requirements-horovod-build.txt
	@command -v c++ >/dev/null || { echo "Horovod needs a C++ compiler: apt-get install g++" >&2; exit 1; }
	@echo "Building Horovod with Gloo$(if $(MPICXX), and MPI,; without MPI, as there is no mpicxx) ..."
	@$(PIP) install -r requirements-horovod-build.txt -c $(CONSTRAINTS)
	@rm -rf $(SOURCE) && mkdir $(SOURCE)
	@$(PIP) download --no-deps --no-build-isolation --no-binary=:all: --dest $(SOURCE) \
		-r requirements-horovod.txt
	@tar -xzf $(SOURCE)/horovod-*.tar.gz -C $(SOURCE) --strip-components=1
	@sed -i '/xla_mpi_ops\.cc/d' $(SOURCE)/horovod/tensorflow/CMakeLists.txt
	@HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
		HOROVOD_WITH_GLOO=1 $(if $(MPICXX),HOROVOD_WITH_MPI=1,HOROVOD_WITHOUT_MPI=1) \
		HOROVOD_CMAKE="$(abspath $(VENV))/bin/cmake" MAKEFLAGS=-j$$(nproc) \
		$(PIP) install ./$(SOURCE) --no-build-isolation --no-cache-dir --force-reinstall --no-deps
	@rm -rf $(SOURCE)
	@touch $@

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

test: tools browser lint horovod
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS)
	@$(MAKE) test-hpu

# All but the tests that start several processes with Horovod, and those of `tests/hpu`.
test-one-process: browser lint
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m "not horovod"

# What another TensorFlow could change: graphs and their numbers, record and checkpoint files, exported
# models, a run of each script. Not text, messages, downloads, signals and kills; not what is learned.
CHANGED_BY_TENSORFLOW := nn devices/test_bfloat16.py devices/test_fusion.py \
	records/test_record_files.py records/test_static_batches.py \
	runs/test_checkpoint_files.py runs/test_checkpoints.py runs/test_hooks.py runs/test_serving.py \
	runs/test_tflite.py squad/test_answers.py race/test_features.py \
	test_modeling.py test_optimization.py test_custom_layer_norm.py test_estimators.py \
	test_run_squad_v1.py test_run_squad_v2.py test_run_race.py test_run_classifier.py \
	test_run_pretraining.py test_convert_checkpoint.py

test-tensorflow: lint
	$(VENV)/bin/python -m pytest $(PYTEST_FLAGS) -m "not horovod" \
		-k "not killed and not learns and not bad and not damaged and not truncated and not dry_run" \
		$(CHANGED_BY_TENSORFLOW:%=tests/%)

# All moments at which runs are killed; `make test` takes a share of them.
test-kills: $(STAMP)-dev
	ALL_KILLS=1 $(VENV)/bin/python -m pytest $(PYTEST_FLAGS) tests/kills tests/runs/test_evaluation.py

# README's longer trainings, as they are printed.
test-readme: $(STAMP)-dev
	$(VENV)/bin/python -m pytest --durations=0 --timeout=0 tests/readme

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

# The pages that are made from the code.
docs: setup
	$(VENV)/bin/python docs/make_flags_page.py

lint: $(STAMP)-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

bench: horovod
	$(VENV)/bin/python benchmarks/run_all.py

# COMPARE_FLAGS="--squad_file=train-v1.1.json --spm_model_file=30k-clean.model" measures real text.
compare: setup $(COMPARE_VENV)/installed
	$(VENV)/bin/python benchmarks/compare.py \
		--transformers_python="$(COMPARE_VENV)/bin/python" $(COMPARE_FLAGS)

$(COMPARE_VENV)/installed: requirements-compare.txt
	@echo "Installing requirements-compare.txt into $(COMPARE_VENV) ..."
	@rm -rf "$(COMPARE_VENV)" && "$(COMPARE_PYTHON)" -m venv "$(COMPARE_VENV)"
	@$(COMPARE_VENV)/bin/python -m pip --disable-pip-version-check --quiet install \
		-r requirements-compare.txt
	@touch $@

clean:
	rm -rf "$(VENV)" "$(HPU_VENV)" "$(COMPARE_VENV)" quickstart text_to_answers
