# One-word commands for people and for CI; `make help` lists them.
PY := .venv/bin/python
SOURCES := $(shell find native -name '*.cpp' -o -name '*.hpp' -o -name '*.c' -o -name '*.h' | sort)

.DEFAULT_GOAL := help
.PHONY: help setup demo test cluster-test cluster check fmt bench protos sanitize tidy wheel lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create .venv with the locked environment and build the native code
	@tools/setup

demo: setup ## make a simulated DGX H100 and hand its GPUs to pods (ARGS=--keep leaves it running)
	@.venv/bin/plumbline demo $(ARGS)

test: setup ## run the tests
	@$(PY) -m pytest $(ARGS)

cluster-test: setup ## boot a real Kubernetes node and run tests/cluster on it (KUBERNETES=1.34)
	@tools/cluster-test $(ARGS)

cluster: setup ## boot that node with the agent on it, to try things by hand (ARGS=--help)
	@PYTHONPATH=.:tests/cluster $(PY) -m testbed up $(ARGS)

check: setup ## ruff, mypy --strict, stubtest, import-linter, clang-format
	@.venv/bin/ruff format --check . && .venv/bin/ruff check .
	@$(PY) -m mypy
	@$(PY) -m mypy.stubtest agent._native
	@.venv/bin/lint-imports --no-cache
	@.venv/bin/clang-format --dry-run --Werror $(SOURCES)

fmt: setup ## format Python and C++
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .
	@.venv/bin/clang-format -i $(SOURCES)

bench: setup ## measure against floors taken in the same run; prints JSON
	@$(PY) -m bench $(ARGS)

protos: setup ## regenerate the gRPC messages from deviceplugin/protos
	@$(PY) tools/protos.py

sanitize: setup ## build the native code with ASan and UBSan and run its tests
	@tools/sanitize $(ARGS)

tidy: setup ## clang-tidy over the native code
	@PATH="$(CURDIR)/.venv/bin:$$PATH" cmake --workflow --preset tidy

wheel: setup ## build the wheel and run the main job from it alone
	@tools/try-wheel

lock: ## re-resolve requirements/*.txt
	@tools/lock

clean: ## remove what the other targets made
	@rm -rf .venv build dist
