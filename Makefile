# make run    environment, data, model, forecasts, dashboard on localhost
# make test   environment, every test but the slow ones
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8501
BIN := $(VENV)/bin

.PHONY: run test test-slow lint clean

run: $(VENV)/run.done
	$(BIN)/python -m forecaster quickstart
	exec $(BIN)/python -m forecaster dashboard --port $(PORT)

test: $(VENV)/dev.done lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not network"

test-slow: $(VENV)/dev.done
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not network"

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/python.done:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "forecaster runs on Python 3.11 to 3.13; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/run.done: $(VENV)/python.done requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . --config-settings editable_mode=compat
	touch $@

$(VENV)/dev.done: $(VENV)/python.done requirements.txt requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . --config-settings editable_mode=compat
	touch $@ $(VENV)/run.done

clean:
	rm -rf $(VENV) data/store data/artifacts data/jobs data/backtest data/mlflow.db data/schedule.json
