# make demo   build the tool and show it on the small model in models/digits
# make test   build everything and run the tests
# make test-asan, make test-tsan   the same under address and undefined-behaviour sanitizers, under the thread sanitizer
# make deps   install the Debian packages that are missing

JOBS ?= $(shell nproc)
PRESET ?= release
TENON = build/$(PRESET)/bin/tenon
DIGITS = models/digits/data

.PHONY: all demo test test-asan test-tsan deps configure

all: configure
	cmake --build --preset $(PRESET) -j $(JOBS)

demo: configure
	cmake --build --preset $(PRESET) -j $(JOBS) --target tenon
	$(TENON) verify models/digits --backend reference,cpu
	$(TENON) eval models/digits/model.onnx --dataset $(DIGITS)/test-images.idx3-ubyte,$(DIGITS)/test-labels.idx1-ubyte --show 3

test: all
	ctest --preset $(PRESET) -j $(JOBS)

test-asan:
	$(MAKE) test PRESET=asan-ubsan

test-tsan:
	$(MAKE) test PRESET=tsan

configure: deps
	cmake --preset $(PRESET)

deps:
	@.ci/deps
