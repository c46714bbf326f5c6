# Each target makes .venv by itself; python3 (3.11 or newer) and make are all it takes. uv is used where installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers

.PHONY: demo test test-part test-all test-versions check mutants fuzz soak bench format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train a table and a network, and see how far each is from the truth (3 minutes)"
	@echo "make test    the tests, but for slow evidence (some minutes)"
	@echo "make test-part   make test, then a fourth of the slow evidence, another one at each commit"
	@echo "make test-all    make test, then all slow evidence (over an hour)"
	@echo "make test-versions    the tests with the lowest and the newest dependencies, on each Python that is installed"
	@echo "make mutants plant faults in a copy of the code, and see the tests catch them (half an hour)"
	@echo "make fuzz    load ten thousand changed files (half an hour)"
	@echo "make soak    long runs, to see that memory and speed stay flat (half an hour; resumes where it was stopped)"
	@echo "make check   format, lint, types"
	@echo "make bench   speed, side by side with C, MushroomRL, QuantEcon, Stable-Baselines3, SBX, Rejax (fetches PyTorch)"

$(STAMP): pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	  test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); \
	  uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	else \
	  test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

$(PEERS)/.installed: bench/peers/requirements.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers/requirements.txt
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps mushroom-rl==1.10.2
	@touch $@

demo: $(STAMP)
	@$(BIN)/python examples/demo.py

test: $(STAMP)
	@.ci/browser.sh
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow"

# Of the slow evidence a fourth, at each commit the next one: four commits have run all of it.
test-part: test
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m slow --part $$(git rev-list --count HEAD)/4

test-all: test
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m slow

# For some environments and tests only: make test-versions ONLY=lowest TESTS="tests/test_mdp_model.py"
test-versions:
	@.ci/browser.sh
	$(PYTHON) .ci/versions.py $(if $(ONLY),--only $(ONLY)) $(TESTS)

mutants: $(STAMP)
	$(BIN)/python mutants/run.py

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz/fuzz.py --count 10000 --jobs 2 --write

soak: $(STAMP)
	$(BIN)/python bench/soak.py

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python mutants/run.py --check
	$(BIN)/python tests/slow_evidence.py --check

bench: $(STAMP) $(PEERS)/.installed
	$(BIN)/python bench/speed.py
	$(BIN)/python bench/solving.py
	$(BIN)/python bench/tabular.py
	$(BIN)/python bench/deep.py
	$(BIN)/python bench/host.py
	$(BIN)/python bench/acting.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(PEERS) .soak .venv-lowest .venv-newest-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
