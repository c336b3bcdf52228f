# Everything a person or CI does here. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv makes a second environment cost seconds; where it is absent it comes from PyPI into a small venv of its own.
UV := $(or $(shell command -v uv 2>/dev/null),.cache/uv/bin/uv)
ACTIVATE := VIRTUAL_ENV=$(abspath $(VENV)) PATH="$(abspath $(BIN)):$(abspath $(dir $(UV))):$$PATH"
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust cuda -name '*.rs' -o -name '*.cu*' -o -name Cargo.toml)
# Kernels are compiled where there is an nvcc: yours, by CUDA_HOME or on the PATH, or PyPI's after `make kernels`.
TOOLKIT := $(abspath .cache/kernels/nvidia/cu13)
ifneq ($(wildcard $(TOOLKIT)/bin/nvcc),)
export CUDA_HOME ?= $(TOOLKIT)
endif
# One thread a worker: two workers with two threads each would fight over two cores.
WORKERS ?= 2
PYTEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PYTEST := $(PYTEST_ENV) $(BIN)/pytest -n $(WORKERS) --dist worksteal
LATEST := .venv-latest
SERVING := .venv-serving
# vLLM takes all threads it finds, and ten times as long for it where they are not its own.
SERVING_ENV := OMP_NUM_THREADS=2 TOKENIZERS_PARALLELISM=false VLLM_CPU_KVCACHE_SPACE=1

.PHONY: help demo serving test test-latest test-rust test-serving test-slow lint format build kernels pins sdist wheel \
  check-sdist check-wheel clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: build ## Set everything up and run the whole way on a small model and real speeches
	$(BIN)/perce demo

serving: $(SERVING)/.built ## Set up the server on vLLM for CPU, in an environment of its own

test: test-rust $(VENV)/.dev build ## Set everything up and run the fast tests
	$(PYTEST)
	cd serving && $(subst $(BIN),../$(BIN),$(PYTEST))

test-slow: $(VENV)/.dev build ## The minutes-long tests, and a million hostile inputs for the Rust core
	cargo test --quiet --release -p perce-core --test fuzz -- --ignored
	$(PYTEST) -m slow

test-latest: | $(UV) ## The fast tests on the newest torch, transformers and peft
	$(UV) venv --quiet --clear --no-python-downloads --python $(PYTHON) $(LATEST)
	grep -vE '^(torch|transformers|peft|accelerate)[=~]' requirements/demo.in > $(LATEST)/demo.in
	$(UV) pip install --quiet --upgrade --python $(LATEST)/bin/python \
	  -r pyproject.toml --all-extras -r $(LATEST)/demo.in -r requirements/dev.in
	$(subst $(VENV),$(LATEST),$(ACTIVATE)) maturin develop --quiet --release --uv
	$(LATEST)/bin/perce env
# What the newest versions deprecate is shown, not an error: some of it is between those packages.
	$(PYTEST_ENV) $(LATEST)/bin/pytest -n $(WORKERS) --dist worksteal -W default::FutureWarning -W default::DeprecationWarning

test-serving: serving ## The tests of the server, with vLLM on the CPU
	cd serving && $(SERVING_ENV) ../$(SERVING)/bin/pytest tests/engine

test-rust: ## The tests of the Rust crates
	PERCE_CUDA=off cargo test --quiet -p perce-core -p perce-cuda

# The kernels' image is data to Rust: lints without it miss nothing, and do not wait for nvcc.
lint: $(VENV)/.dev build ## Check style, types, stubs and lints; rewrites nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd serving && ../$(BIN)/mypy
	cd python && ../$(BIN)/python -m mypy.stubtest perce._core
	cargo fmt --all --check
	PERCE_CUDA=off cargo clippy --quiet --workspace --all-targets -- -D warnings
	PERCE_CUDA=off RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps

format: $(VENV)/.dev ## Rewrite Python and Rust in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cargo fmt --all

build: $(VENV)/.built ## Build the Rust core into the environment

kernels: .cache/kernels/.done ## Install nvcc from PyPI into .cache; builds from now on have the CUDA kernels

sdist: $(VENV)/.demo ## Build a source archive into dist/
	@rm -f dist/*.tar.gz
	$(ACTIVATE) maturin sdist --out dist

# Built from a source archive, which proves that whole. Zig links against the glibc of torch's own wheels.
wheel: .cache/kernels/.done .cache/linker/.done $(VENV)/.demo ## Build a release wheel with the CUDA kernels into dist/
	@rm -f dist/*.whl
	$(ACTIVATE) CARGO_TARGET_DIR=$(abspath target) CARGO_ZIGBUILD_ZIG_PATH=$(abspath .cache/linker/ziglang/zig) \
	  CUDA_HOME="$${CUDA_HOME:-$(TOOLKIT)}" PERCE_CUDA=required \
	  maturin build --release --sdist --zig --compatibility manylinux_2_28 --auditwheel check --out dist

check-sdist: sdist ## Install the source archive, without kernels, into a bare environment and try it there
	$(ACTIVATE) CARGO_TARGET_DIR=$(abspath target) PERCE_CUDA=off python scripts/check_wheel.py dist/*.tar.gz --kernels without

check-wheel: wheel ## Look at the wheel's tags, size and links, install it into a bare environment and try it there
	$(ACTIVATE) python scripts/check_wheel.py dist/*.whl --kernels with

# dev.txt keeps to demo.txt's versions: what the demo runs with is what the tests test.
pins: .cache/uv/bin/uv ## Compile requirements/*.in into exact versions
	@for name in demo dev; do \
	  $(UV) pip compile --quiet --upgrade pyproject.toml requirements/demo.in \
	    $$([ $$name = dev ] && echo "requirements/dev.in --all-extras -c requirements/demo.txt" || echo "--extra demo --extra hub") \
	    --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	    --no-emit-find-links --output-file requirements/$$name.txt; \
	done
	@$(UV) pip compile --quiet --upgrade pyproject.toml serving/pyproject.toml requirements/serving-cpu.in \
	  --extra retrieval --override requirements/serving-cpu-override.txt \
	  --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --output-file requirements/serving-cpu.txt
	@for name in kernels linker; do \
	  $(UV) pip compile --quiet --upgrade requirements/$$name.in --universal --python-version 3.11 --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links --output-file requirements/$$name.txt; \
	done

clean: ## Remove the environment and all build products
	rm -rf $(VENV) $(LATEST) $(SERVING) .cache target dist python/perce/_core*.so

.cache/uv/bin/uv:
	@echo "Installing uv into .cache/uv"
	@$(PYTHON) -m venv .cache/uv
	@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check uv

.cache/kernels/.done .cache/linker/.done: .cache/%/.done: requirements/%.txt | $(UV)
	@echo "Installing the packages of requirements/$*.txt"
	@rm -rf $(@D)
	@$(UV) pip install --quiet --python $(PYTHON) --target $(@D) -r $<
	@touch $@

$(VENV)/pyvenv.cfg: | $(UV)
	@$(UV) venv --quiet --no-python-downloads --python $(PYTHON) $(VENV)

$(VENV)/.demo: requirements/demo.txt $(VENV)/pyvenv.cfg
	@echo "Installing the packages of requirements/demo.txt"
	@$(UV) pip install --quiet --python $(BIN)/python -r $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.demo
	@echo "Installing the packages of requirements/dev.txt"
	@$(UV) pip install --quiet --python $(BIN)/python -r $<
	@touch $@

$(VENV)/.built: $(RUST_SOURCES) $(wildcard .cache/kernels/.done) pyproject.toml $(VENV)/.demo
	@echo "Building the Rust core"
	@$(ACTIVATE) maturin develop --quiet --release --uv
	@touch $@

# perce itself renders the prompts; what it needs is in the list.
$(SERVING)/.built: requirements/serving-cpu.txt requirements/serving-cpu-override.txt serving/pyproject.toml pyproject.toml $(RUST_SOURCES) | $(UV)
	@echo "Installing vLLM for CPU and the server"
	@$(UV) venv --quiet --clear --no-python-downloads --python $(PYTHON) $(SERVING)
	@$(UV) pip install --quiet --python $(SERVING)/bin/python --override requirements/serving-cpu-override.txt \
	  -r requirements/serving-cpu.txt --editable serving
	@$(subst $(VENV),$(SERVING),$(ACTIVATE)) maturin develop --quiet --release --uv
	@touch $@
