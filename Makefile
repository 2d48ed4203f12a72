.DEFAULT_GOAL := help
.PHONY: help demo dotnet sharing test check bench seed lock clean
SHELL := /bin/sh

# Two workers: the tests that build packages keep two processors busy. A file's tests share what they have built.
PYTEST_ARGS ?= -n 2 --dist loadfile

help: ## this list
	@echo 'targets:'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-8s %s\n' "$$name" "$$text"; done

demo: ## build the example images, run one, ask it, build again
	@scripts/demo

dotnet: ## build examples/dotnet, an ASP.NET service, and ask it (the first time there are 115 MB to download)
	@echo '== seed'; "$$(scripts/environment dev)/bin/python" -m tools.seed --set dotnet --link examples/dotnet/seed
	@echo '== bg build'; ./bg -C examples/dotnet build //images:till
	@echo '== bg run'; "$$(scripts/environment dev)/bin/python" -I scripts/ask.py examples/dotnet //images:till / '/v1/change?due=7.35&given=20'

sharing: seed ## two CI machines and a pull request on one shared cache: who gets what, and who cannot write
	@echo '== sharing'; "$$(scripts/environment dev)/bin/python" -m scripts.sharing

test: ## everything from nothing: environment, tools, seed, servers, checks, tests (PYTEST_ARGS='-k cache')
	@echo '== environment'; scripts/environment dev
	@echo '== tools'; ./bg version
	@$(MAKE) --no-print-directory seed
	@echo '== servers that stores are tested with'; "$$(scripts/environment dev)/bin/python" -m tests.remote.programs
	@failed=; scripts/check || failed=checks; \
	echo "== tests: pytest $(PYTEST_ARGS)"; "$$(scripts/environment dev)/bin/python" -m pytest $(PYTEST_ARGS) || failed="$$failed tests"; \
	[ -z "$$failed" ] || { echo "failed: $$failed"; exit 1; }

check: ## lint, format, types, imports
	@scripts/check

bench: seed ## the benchmarks; results go to benchmarks/
	@echo '== benchmarks'; ./bg version
	@"$$(scripts/environment dev)/bin/python" -m benchmarks

seed: ## the repository that the example builds from, made of this distribution's packages
	@echo '== seed'; "$$(scripts/environment dev)/bin/python" -m tools.seed --link .seed

lock: ## write requirements/*.txt anew (LOCK_ARGS=--upgrade: newest versions)
	@scripts/lock $(LOCK_ARGS)

clean: ## remove outputs, the cache's content, the link to the seed and what tools left in the clone
	@echo '== clean: out/, cache/, .seed, caches of the tools'
	@rm -rf out .seed examples/*/out examples/*/cache examples/*/seed .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find cache -mindepth 1 ! -name .gitkeep -delete
	@find buildgraph tools tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
