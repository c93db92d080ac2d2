# make demo   build the tool and show it on the small model in models/digits, beside ONNX Runtime where npm can install it
# make test   build everything and run the tests
# make test-asan, make test-tsan   the same under address and undefined-behaviour sanitizers, under the thread sanitizer
# make deps   install the Debian packages that are missing
# make runners   install ONNX Runtime (with npm, below runners/) as a backend to compare with

JOBS ?= $(shell nproc)
PRESET ?= release
TENON = build/$(PRESET)/bin/tenon
ORT_RUNNER = runners/onnxruntime-node

try-runners = if command -v npm >/dev/null; then timeout 300 $(MAKE) --no-print-directory runners || echo "make: ONNX Runtime is not installed: it is left out"; fi

.PHONY: all demo test test-asan test-tsan deps configure runners

all: configure
	cmake --build --preset $(PRESET) -j $(JOBS)

demo: configure
	cmake --build --preset $(PRESET) -j $(JOBS) --target tenon
	$(TENON) verify models/digits --backend reference,cpu
	@$(try-runners)
	@backends=reference,cpu; if [ -d $(ORT_RUNNER)/node_modules ]; then backends=$$backends,onnxruntime; fi; \
	$(TENON) eval models/digits --recipe models/digits/recipe.json --backend $$backends --show 3 --report build/digits.html

# Where npm and its registry are in reach, ONNX Runtime's tests run too; else they are skipped and say so.
test: all
	@$(try-runners)
	ctest --preset $(PRESET) -j $(JOBS)

test-asan:
	$(MAKE) test PRESET=asan-ubsan

test-tsan:
	$(MAKE) test PRESET=tsan

configure: deps
	cmake --preset $(PRESET)

deps:
	@.ci/deps

# Exactly what the lock file names, its bytes checked; again only when that file has changed.
runners: $(ORT_RUNNER)/node_modules/.package-lock.json

$(ORT_RUNNER)/node_modules/.package-lock.json: $(ORT_RUNNER)/package-lock.json
	npm ci --ignore-scripts --prefix $(ORT_RUNNER)
	@touch $@
