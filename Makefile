# make demo   build the tool and show it on the small model in models/digits
# make test   build everything and run the tests
# make deps   install the Debian packages that are missing

JOBS ?= $(shell nproc)
PRESET ?= release
TENON = build/$(PRESET)/bin/tenon

.PHONY: all demo test deps configure

all: configure
	cmake --build --preset $(PRESET) -j $(JOBS)

demo: configure
	cmake --build --preset $(PRESET) -j $(JOBS) --target tenon
	$(TENON) inspect models/digits/model.onnx
	$(TENON) verify models/digits
	$(TENON) bench models/digits/model.onnx --backend cpu,reference --dim batch=1

test: all
	ctest --preset $(PRESET) -j $(JOBS)

configure: deps
	cmake --preset $(PRESET)

deps:
	@.ci/deps
