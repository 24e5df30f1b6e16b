# Needs git, make and Python from 3.11 to 3.14; everything else comes from the package index, by the lock.
SHELL := /bin/bash
# The first that runs, for a version manager leaves commands on PATH for Pythons that are switched off; of an
# environment the Python that it was made of.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,\
  $(shell $(p) -c 'import sys; (3, 11) <= sys.version_info < (3, 15) and print(sys._base_executable)' 2>/dev/null)))
export UV_PYTHON_DOWNLOADS := never
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := 1
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false
export ORT_DISABLE_TELEMETRY := 1
unexport PYTHONDONTWRITEBYTECODE # compiled imports are twice as fast
# What a person has set for other environments steers nothing here; what reaches an index, a mirror or a proxy stays.
REACHES := UV_INDEX% UV_DEFAULT_INDEX UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_KEYRING_PROVIDER UV_CONFIG_FILE UV_OFFLINE \
  UV_CACHE_DIR UV_LINK_MODE UV_NATIVE_TLS UV_SYSTEM_CERTS UV_INSECURE_HOST UV_HTTP_% UV_REQUEST_TIMEOUT UV_CONCURRENT_% \
  PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX PIP_FIND_LINKS PIP_KEYRING_PROVIDER PIP_CONFIG_FILE PIP_CACHE_DIR \
  PIP_CERT PIP_CLIENT_CERT PIP_TRUSTED_HOST PIP_PROXY PIP_TIMEOUT PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_NO_CACHE_DIR
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONHOME $(filter-out $(REACHES) UV_PYTHON_DOWNLOADS,$(filter UV_% PIP_%,$(.VARIABLES)))
UV := $(shell P=":$$PATH:"; PATH="$${P//":$(CURDIR)/.venv/bin:"/:}" command -v uv)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
READY := .venv/ready

.PHONY: help demo test lint bench down environment lock python
help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 12

demo: $(READY) ## the whole loop on real flights: proposal, gate, release, deploy, drift, rollback
	@ml demo

down: $(READY) ## stop what `make demo` left running
	@ml demo --down

test: $(READY) ## all tests, two workers a core; ONLY=tests/data runs a part, WORKERS=0 in one process
	@python -m pytest --numprocesses $(or $(WORKERS),auto) --dist loadfile --no-loadscope-reorder $(ONLY)

# actionlint is a Go module and has no wheel: Go builds it, and holds it against the checksums of its own database.
ACTIONLINT := .venv/actionlint-1.7.12/actionlint
lint: $(READY) ## every check that ci runs on the code
	@pre-commit run --all-files
	@case "$$SKIP" in *actionlint*) echo "make lint: SKIP names actionlint"; exit;; esac; \
	if [ ! -x $(ACTIONLINT) ] && command -v go >/dev/null; then \
	  GOTOOLCHAIN=local GOBIN="$(CURDIR)/$(dir $(ACTIONLINT))" \
	    go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 2>$(READY).go || true; fi; \
	if [ -x $(ACTIONLINT) ]; then $(ACTIONLINT) && echo "actionlint: passed"; \
	else echo "make lint: actionlint is skipped: $$(tail -n 1 $(READY).go 2>/dev/null || echo there is no Go to build it)" >&2; fi

bench: $(READY) ## measure the figures of docs/figures.md; ONLY=NAME runs one
	@exec python -m benchmarks $(ONLY)

# A runner that keeps an environment of the same lock names it by GREENLIGHT_VENV: then a link is enough.
$(READY): requirements/dev.txt pyproject.toml
	@if cmp --silent $< "$(GREENLIGHT_VENV)/lock" && [ -L .venv -o ! -e .venv ]; then ln -sfn "$(GREENLIGHT_VENV)" .venv; \
	  else $(MAKE) --no-print-directory environment && touch $@; fi

python: # the one that .venv is made of
	@echo "$(PYTHON)"

# Follows the lock: only what has changed is installed. uv is the machine's, else the lock's own, and it is told its
# target: a .venv that is a link to another environment is replaced, not filled.
environment: export PYTHONPATH :=
environment:
	@test -n "$(PYTHON)" || { echo "make: no Python from 3.11 to 3.14 on PATH: install one, with venv" >&2; exit 2; }
	@echo "Making .venv from requirements/dev.txt ..." >&2
	@if [ -L .venv ]; then rm .venv; fi
	@if [ -n "$(UV)" ]; then "$(UV)" venv --quiet --allow-existing --python "$(PYTHON)" .venv; \
	  elif [ ! -x .venv/bin/uv ]; then "$(PYTHON)" -m venv --clear .venv && \
	    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	      --requirement <(sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.txt); fi
	@"$(or $(UV),.venv/bin/uv)" pip sync --quiet --require-hashes --python .venv/bin/python \
	  --build-constraints <(grep -oE '^setuptools==[0-9.]+' requirements/dev.txt) requirements/dev.txt
	@"$(or $(UV),.venv/bin/uv)" pip install --quiet --python .venv/bin/python \
	  --no-deps --no-build-isolation --editable .
	@cp requirements/dev.txt .venv/lock

# One set of versions for every supported Python: else a model that CI trains is another one than a laptop's.
lock: $(READY) ## follow pyproject.toml; what is pinned stays pinned, UPGRADE=1 renews it
	@for g in dev train host serve checkov; do \
	  uv pip compile --quiet --universal --fork-strategy fewest --generate-hashes --no-annotate \
	    --python-version 3.11 $(if $(UPGRADE),--upgrade) $$([[ $$g = dev || $$g = checkov ]] || echo --constraints requirements/dev.txt) \
	    --custom-compile-command "make lock" --group $$g --output-file requirements/$$g.txt >/dev/null || exit; done
