# The order service. `make help` lists what there is; `make demo` and `make test` set up all they need.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
PB := order_service/pb
PROTOC = $(BIN)/python -m grpc_tools.protoc -I $(PB)=protos -I $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
	--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc

.PHONY: help setup demo up chaos test check format proto proto-check clean faults fuzz endurance bench bench-growth

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## install everything into .venv; the command is then .venv/bin/order-service

$(VENV)/.installed: pyproject.toml
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "Python 3.11 or newer is needed: apt-get install python3, or make PYTHON=/path/to/python3.11"; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "installing python3-venv with apt-get"; \
		if [ "$$(id -u)" = 0 ]; then apt-get update -q >/dev/null && apt-get install -y -q python3-venv >/dev/null; \
		elif command -v sudo >/dev/null; then sudo apt-get update -q >/dev/null && sudo apt-get install -y -q python3-venv >/dev/null; \
		else echo "python3-venv is needed, and apt-get needs root or sudo: apt-get install python3-venv"; exit 1; fi; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup ## run 500 orders through the saga on a real PostgreSQL and a real RabbitMQ, and count what became of them
	@exec $(BIN)/order-service demo

up: setup ## the same servers, api, worker and stock stand-in, until Ctrl-C
	@exec $(BIN)/order-service demo --keep-running

test: check ## format, lint, types, import rules, generated code, and all tests on private servers
	@exec $(BIN)/pytest -n 3 --dist loadscope

faults: setup ## kill, cut and hang at every message between the processes and their servers, and judge it (under an hour)
	@exec $(BIN)/python -m tests.faults

fuzz: setup ## garbage at every RPC and every consumed message for MINUTES=5; SEED=n repeats what was found
	@exec $(BIN)/python -m tests.fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

chaos: setup ## break everything under load, and let the judge decide (MINUTES=10, SEED=n)
	@exec $(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

bench: setup ## how close the service comes to what PostgreSQL, RabbitMQ and gRPC can do at all (ROWS="getorder relay", ROUNDS=5, SECONDS=5)
	@$(BIN)/python -c 'import dbos' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]' \
		|| echo "DBOS, which the saga is compared with, cannot be installed"
	@exec $(BIN)/python -m tests.bench $(addprefix --only ,$(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS))

bench-growth: setup ## how cost grows: 1 and 5 million orders, 1 to 8 workers, memory, start, idle (under an hour; SCALE=0.01, ONLY="start idle")
	@exec $(BIN)/python -m tests.bench.growth $(addprefix --only ,$(ONLY)) $(if $(SCALE),--scale $(SCALE))

endurance: setup ## a long backlog, stuck sagas, poison, and a hundred stops, each measured against its bound (15 minutes)
	@exec $(BIN)/python -m tests.endurance $(if $(SCALE),--scale $(SCALE))

check: setup proto-check ## all that needs no server: format, lint, types, import rules, generated code current
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo || $(BIN)/lint-imports

format: setup ## format the code, and mend what ruff can mend
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

proto: setup ## generate order_service/pb from protos/
	@$(PROTOC) --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:. $(PB)/order.proto

proto-check: setup # generated code is what protos/ says
	@rm -rf build/pb && mkdir -p build/pb
	@$(PROTOC) --python_out=build/pb --grpc_python_out=build/pb --mypy_out=quiet:build/pb --mypy_grpc_out=quiet:build/pb $(PB)/order.proto
	@diff -r -x __init__.py -x __pycache__ build/pb/$(PB) $(PB) || { echo "$(PB) is not current: run 'make proto'"; exit 1; }

clean: ## remove what was built, installed or left behind, within this folder
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
