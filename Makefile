# make            what there is          make test   everything that must pass        make demo   see it work
# `make test` and `make demo` set up their own virtual environment; both need Python 3.10+ and a C compiler only.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
OUT ?= demo-results
C_FLAGS = -std=c11 '-I$(CURDIR)/csrc' '-I$(CURDIR)/build/formulas' -ffp-contract=off -pthread '-DPG_VERSION="test"' '-DPG_SOURCE_DIGEST="test"'
CORE = $(wildcard csrc/*.c csrc/engine/*.c csrc/tape/*.c csrc/calculus/*.c)  # all C but the native proxy
comma = ,
C_WARNINGS = -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wdouble-promotion -Wstrict-prototypes -Werror

.PHONY: help build test demo bench wheel test-wheel test-fallback sanitized asan tsan tsan-extension valgrind lint format clean

help:
	@echo "make test      set up .venv, build, run all tests and the benchmarks once"
	@echo "make demo      set up .venv, build, run the demonstrations into $(OUT)/"
	@echo "make bench     time pygrad, its pure-Python reference, micrograd and C by hand side by side"
	@echo "make build     compile csrc/ in place"
	@echo "make wheel     build the wheel into dist/; make test-wheel installs it elsewhere and tests that"
	@echo "make test-fallback  an installation without the native proxy"
	@echo "make asan      the test suite under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make tsan      the C arena's threads and forks, under ThreadSanitizer and AddressSanitizer"
	@echo "make tsan-extension  what Python's threads do to the C of both binaries, under ThreadSanitizer"
	@echo "make valgrind  a run under valgrind, which must report no leak of ours (needs valgrind)"
	@echo "make lint      compiler warnings and the style of the code; make format formats it"

$(VENV)/ready: pyproject.toml setup.py csrc/ffi_build.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q "setuptools>=77" "cffi>=1.16" "pycparser>=2.21"
	PYGRAD_DEBUG=1 $(BIN)/python -m pip install -q --no-build-isolation -e ".[test]"  # `build` compiles it properly
	touch $@

build: $(VENV)/ready
	$(BIN)/python setup.py -q build_ext --inplace

# Which tests are run where, their markers say (pyproject.toml).
test: build
	$(BIN)/python -m pytest -q -n 2 tests
	PYGRAD_PROXY=python $(BIN)/python -m pytest -q -n 2 tests -m "not once and not reference"
	$(BIN)/python -m pytest -q bench --benchmark-disable

demo: build
	$(BIN)/python -m pygrad demo --out $(OUT)

bench: build
	$(BIN)/python -m pytest -q bench --benchmark-only --benchmark-disable-gc --benchmark-json=bench-results.json --benchmark-columns=median,min,rounds --benchmark-sort=name
	$(BIN)/python bench/summary.py bench-results.json
	$(BIN)/python bench/side_by_side.py
	$(BIN)/python bench/compiled.py 5
	$(BIN)/python bench/calculus.py 5

# Wheels are built from a copy: what another build left behind, a sanitized object say, must not get in. A copy is made,
# and compiled, again if a file of it is newer.
SOURCES = csrc pygrad tests bench docs setup.py pyproject.toml MANIFEST.in Makefile README.md LICENSE CHANGELOG.md CONTRIBUTING.md
COMPILED = $(wildcard $(foreach room,. *,csrc/$(room)/*.[ch] csrc/$(room)/*.def csrc/$(room)/*.py pygrad/$(room)/*.py)) setup.py pyproject.toml MANIFEST.in README.md LICENSE
define copy_sources
	rm -rf $(1) && mkdir -p $(1) && cp -r $(SOURCES) $(1)/ && rm -f $(1)/pygrad/_core.* $(1)/pygrad/_native.*
endef
# What the tests need is in $(VENV) already: let the virtual environment $(1) find it there, behind what it has itself.
define see_the_first
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
	    "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/first.pth"
endef

wheel: build/wheel/ready
build/wheel/ready: $(VENV)/ready $(COMPILED)
	$(call copy_sources,build/wheel/src)
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist build/wheel/src
	touch $@

# What users install: no source tree, no compiler. The binaries are those of `make test`, so not all tests are run again.
test-wheel: wheel
	rm -rf build/wheel/venv build/wheel/tests && $(PYTHON) -m venv build/wheel/venv
	CC=/nonexistent build/wheel/venv/bin/python -m pip install -q "$$(ls -t dist/pygrad_engine-*.whl | head -n 1)"
	cd build/wheel && venv/bin/pygrad --version
	build/wheel/venv/bin/python -m pip install -q "$$(ls -t dist/pygrad_engine-*.whl | head -n 1)[viz]"  # has a command
	$(call see_the_first,build/wheel/venv)
	cp -r tests docs README.md pyproject.toml build/wheel/
	cd build/wheel && venv/bin/python -c "import pygrad; assert '/build/wheel/venv/' in pygrad.__file__, pygrad"
	cd build/wheel && PYGRAD_REQUIRE_NATIVE=1 venv/bin/python -m pytest -q -n 2 -m wheel tests

# Where the native proxy does not compile, all the rest must install and work; and say so.
NO_NATIVE = case "$$*" in *csrc/python*) exit 1;; *) exec cc "$$@";; esac
FALLBACK = PYGRAD_DEBUG=1 CC=$(CURDIR)/build/fallback/cc build/fallback/venv/bin/python -m pip install -q --no-build-isolation --no-deps --ignore-installed
test-fallback: $(VENV)/ready
	$(call copy_sources,build/fallback/src)
	printf '%s\n' '#!/bin/sh' '$(NO_NATIVE)' > build/fallback/cc && chmod +x build/fallback/cc
	rm -rf build/fallback/venv && $(PYTHON) -m venv --without-pip build/fallback/venv
	$(call see_the_first,build/fallback/venv)
	! PYGRAD_REQUIRE_NATIVE=1 $(FALLBACK) build/fallback/src 2>build/fallback/refused
	grep -q csrc/python build/fallback/refused
	rm -rf build/fallback/src/build
	env -u PYGRAD_REQUIRE_NATIVE $(FALLBACK) build/fallback/src
	cd build/fallback && env -u PYGRAD_REQUIRE_NATIVE venv/bin/python -c "import pygrad; c = pygrad.config(); assert c['proxy'] == 'python', c; print(c)"
	cd build/fallback && ! PYGRAD_REQUIRE_NATIVE=1 venv/bin/python -c "import pygrad" 2>/dev/null
	cd build/fallback && ! PYGRAD_PROXY=native venv/bin/python -c "import pygrad" 2>/dev/null

# What a sanitizer reports goes into files: a test's worker may die of it, and its last words are shown at the end.
REPORTS = $(CURDIR)/build/asan/report
SHOW_REPORTS = { tail -n 100 $(REPORTS).*; exit 1; }
SANITIZED = cd $(CURDIR)/build/asan && LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$(REPORTS) \
	    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:log_path=$(REPORTS) \
	    PYTHONPATH=$(CURDIR)/build/asan/src PYTHONMALLOC=malloc PYGRAD_SANITIZED=1 HYPOTHESIS_PROFILE=brief
# A second, sanitized copy, compiled in place; the preload is what lets an uninstrumented Python load it.
define sanitized_copy
	$(call copy_sources,build/$(1)/src)
	cd build/$(1)/src && PYGRAD_DEBUG=1 PYGRAD_SANITIZE=$(2) PYGRAD_REQUIRE_NATIVE=1 \
	    $(abspath $(BIN))/python setup.py -q build_ext --inplace
	touch $@
endef
sanitized: build/asan/ready
build/asan/ready: $(VENV)/ready $(COMPILED)
	$(call sanitized_copy,asan,address$(comma)undefined)
asan: sanitized
	rm -rf build/asan/tests $(REPORTS).* && cp -r tests docs README.md pyproject.toml build/asan/
	$(SANITIZED) $(abspath $(BIN))/python -c "import pygrad; assert '/build/asan/' in pygrad.__file__, pygrad"
	$(SANITIZED) PYGRAD_PROXY=native $(abspath $(BIN))/python -m pytest -q tests -m "not python and not reference" -n 2 --durations=5 2>$(REPORTS).stderr || $(SHOW_REPORTS)
	$(SANITIZED) PYGRAD_PROXY=python $(abspath $(BIN))/python -m pytest -q tests -m "proxy and not reference" -n 2 2>$(REPORTS).stderr || $(SHOW_REPORTS)

# What derive.c includes, where it is compiled without setup.py.
build/formulas/formulas.h: csrc/ops.def csrc/helpers.def csrc/calculus/make_formulas.py | $(VENV)/ready
	$(BIN)/python csrc/calculus/make_formulas.py $@

# The C tests with these flags, in build/<name>/; all sources are compiled once for both.
define c_tests
	mkdir -p build/$(1)
	cd build/$(1) && printf '%s\n' $(CORE) tests/c/threads.c tests/c/replays.c | \
	    xargs -P 2 -I{} $(CC) $(C_FLAGS) $(2) -c ../../{}
	cd build/$(1) && for test in threads replays; do \
	    $(CC) $(2) $$(ls *.o | grep -v -e threads.o -e replays.o) $$test.o -o $$test -pthread -lm || exit 1; done
endef
tsan: build/formulas/formulas.h
	$(call c_tests,tsan,-g -O1 -fsanitize=thread)
	cd build/tsan && TSAN_OPTIONS=halt_on_error=1 ./threads && TSAN_OPTIONS=halt_on_error=1 ./replays
	$(call c_tests,c-asan,-g -O1 -fsanitize=address$(comma)undefined -fno-sanitize-recover)
	cd build/c-asan && ./threads && ./replays
	$(call c_tests,c,-g -O1)
	cd build/c && ./threads fork && ./replays fork

# The tests with threads, under ThreadSanitizer: it sees every access of the two binaries, and the locks of Python, but
# not what Python itself reads and writes. Forks are left out, as in `asan`.
THREADS = cd $(CURDIR)/build/tsan-extension && LD_PRELOAD="$$($(CC) -print-file-name=libtsan.so)" \
	    TSAN_OPTIONS=halt_on_error=1:ignore_noninstrumented_modules=1 PYTHONPATH=$(CURDIR)/build/tsan-extension/src \
	    PYGRAD_SANITIZED=1 HYPOTHESIS_PROFILE=brief
tsan-extension: build/tsan-extension/ready
	rm -rf build/tsan-extension/tests && cp -r tests docs README.md pyproject.toml build/tsan-extension/
	$(THREADS) $(abspath $(BIN))/python -c "import pygrad; assert '/build/tsan-extension/' in pygrad.__file__, pygrad"
	$(THREADS) PYGRAD_PROXY=native $(abspath $(BIN))/python -m pytest -q --capture=sys -n 2 -m threads tests
	$(THREADS) PYGRAD_PROXY=python $(abspath $(BIN))/python -m pytest -q --capture=sys -n 2 -m threads tests
build/tsan-extension/ready: $(VENV)/ready $(COMPILED)
	$(call sanitized_copy,tsan-extension,thread)

valgrind: build
	$(BIN)/python tests/tools/valgrind_run.py

# The tools that judge style; clang-format's versions differ in their judgement.
STYLE = "ruff>=0.9,<1" "clang-format==19.1.7"
C_FILES = $(wildcard $(foreach room,. *,csrc/$(room)/*.[ch]) tests/c/*.[ch] bench/*.c)
lint: $(VENV)/ready build/formulas/formulas.h
	$(BIN)/python -m pip install -q $(STYLE)
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	for source in $(CORE); do $(CC) $(C_FLAGS) $(C_WARNINGS) -O2 -fsyntax-only $$source || exit 1; done
	$(CC) $(C_FLAGS) $(C_WARNINGS) -O2 -fsyntax-only -isystem "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')" -DPG_UNDER_GIL csrc/python/*.c
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(VENV)/ready
	$(BIN)/python -m pip install -q $(STYLE)
	$(BIN)/clang-format -i $(C_FILES)
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:
	rm -rf build dist $(VENV) *.egg-info pygrad/_core.* pygrad/_native.* bench-results.json demo-results
