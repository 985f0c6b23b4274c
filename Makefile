# Every target sets up what it needs: a virtual environment in .venv with the package in it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The kernels' objects, which the package, its wheel and the kernels' own test share.
BUILD := build/kernels

# In the environment itself: pip's own would be another one each time, and everything compiled anew.
INSTALL = PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --no-build-isolation \
  --config-settings=build-dir=$(BUILD)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-firefox test-modes test-pythons check wheel lessons precision benchmark benchmark-gpu memory streams augmentation gallery explorer files scaling serving dtypes compatibility programs fuzz site clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/installed: pyproject.toml $(wildcard src/cornu/kernels/*.cc src/cornu/kernels/*.h src/cornu/kernels/CMakeLists.txt)
	@$(PYTHON) -c 'import sys; sys.exit("Cornu needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.11 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet 'scikit-build-core>=0.11' 'jaxlib>=0.7' 'cmake>=3.20' ninja
	@# pip would show nothing of it. Where it fails, Cornu is installed without kernels.
	-$(BIN)/cmake -S src/cornu/kernels -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release \
	  -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DPython3_EXECUTABLE=$(abspath $(BIN)/python) > /dev/null \
	  && $(BIN)/cmake --build $(BUILD) --target cornu_kernels
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(INSTALL) --editable '.[test]'
	touch $@

demo: $(VENV)/installed  ## train a CNN on the embedded digits and show the result
	$(BIN)/cornu train digits --output demo --epochs 20 --seed 0 --overwrite

# Files that take long begin first, and a file stays with one process, for the sake of what its tests share.
PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=30
# How many minutes a command takes.
TIMED = begin=$$(date +%s); trap 'seconds=$$(($$(date +%s) - begin)); echo "$@: $$((seconds / 60)) min $$((seconds % 60)) s"' EXIT

test: $(VENV)/installed-test  ## run the test suite
	@$(TIMED); $(PYTEST)

# Here XLA compiles as it does for users. `make test` lets it compile in two thirds of the time (tests/conftest.py).
test-slow test-modes test-pythons: export CORNU_QUICK_XLA = 0

test-slow: $(VENV)/installed-test  ## also run the tests that take minutes
	@$(TIMED); $(PYTEST) -m 'slow or not slow'

test-firefox: $(VENV)/installed-test  ## run the tests of the explorer's page in Firefox
	@$(TIMED); $(BIN)/python -m pytest -m firefox tests/explorer/test_firefox.py

# As on other processors, and without kernels. What depends on them, in these files:
MODES ?= CORNU_ISA=avx2 CORNU_ISA=baseline CORNU_NATIVE=0 XLA_FLAGS=--xla_cpu_max_isa=AVX2
MODE_TESTS ?= tests/ops tests/layers/test_convolution.py tests/layers/test_dense.py \
  tests/layers/test_normalization.py tests/layers/test_pooling.py tests/saving/test_exchange.py
test-modes: $(VENV)/installed-test  ## run the tests of what is computed as other processors would
	@$(TIMED); for mode in $(MODES); do \
	  echo "With $$mode:"; env $$mode $(PYTEST) --durations=0 $(MODE_TESTS) || exit 1; done

# NEWEST=--newest for the newest only; JAX=--jax=0.7.0 for another JAX.
PYTHON_TESTS ?= tests
test-pythons: $(VENV)/installed-test  ## run the tests with every Python that is found, and the newest packages for it
	@ls dist/*.whl > /dev/null 2>&1 || $(MAKE) wheel
	@$(TIMED); $(BIN)/python tools/test_pythons.py $(NEWEST) $(JAX) $(PYTHON_TESTS)

check: $(VENV)/installed-test  ## lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lessons: $(VENV)/installed  ## train every lesson's model on MNIST and write docs/lessons.md
	$(BIN)/python benchmarks/lessons.py

precision: $(VENV)/installed  ## train every lesson's model in float32, bfloat16 and float16; writes docs/benchmarks.md
	$(BIN)/python benchmarks/precision.py

memory: $(VENV)/installed  ## memory of a training step, by batch, accumulation, recomputation and dtype; writes docs/scaling.md
	$(BIN)/python benchmarks/memory.py

# The peers have an environment of their own.
.venv-peers/installed: $(VENV)/installed
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --editable '.[benchmark]'
	touch $@

benchmark: .venv-peers/installed  ## Cornu beside Keras, PyTorch, XLA and oneDNN; writes docs/benchmarks.md
	.venv-peers/bin/python benchmarks/fit.py
	.venv-peers/bin/python benchmarks/predict.py
	.venv-peers/bin/python benchmarks/accuracy.py
	.venv-peers/bin/python benchmarks/growth.py
	.venv-peers/bin/python benchmarks/kernels.py
	.venv-peers/bin/python benchmarks/startup.py
	.venv-peers/bin/python benchmarks/folder.py

# JAX, PyTorch and TensorFlow each bring a CUDA of their own.
.venv-gpu/installed: $(VENV)/installed
	for kind in "" -torch -tensorflow; do $(PYTHON) -m venv .venv-gpu$$kind || exit 1; done
	.venv-gpu/bin/python -m pip install --quiet --editable '.[cuda]' 'keras==3.15.*'
	.venv-gpu-torch/bin/python -m pip install --quiet torch==2.13.0 'keras==3.15.*'
	.venv-gpu-tensorflow/bin/python -m pip install --quiet 'tensorflow[and-cuda]>=2.20' 'keras==3.15.*'
	touch $@

benchmark-gpu: .venv-gpu/installed  ## Cornu beside Keras and PyTorch on a GPU; writes docs/benchmarks-gpu.md
	.venv-gpu/bin/python benchmarks/gpu.py --python \
	  "Keras on TensorFlow=.venv-gpu-tensorflow/bin/python" "Keras on PyTorch=.venv-gpu-torch/bin/python" \
	  "PyTorch=.venv-gpu-torch/bin/python" "PyTorch, compiled=.venv-gpu-torch/bin/python"
	.venv-gpu/bin/python benchmarks/gpu.py --flags
	.venv-gpu/bin/python benchmarks/cifar10.py --runs 5

streams: .venv-peers/installed  ## Cornu's reading of pictures beside tf.data and PyTorch's; writes docs/benchmarks.md
	.venv-peers/bin/python benchmarks/streams.py

augmentation: $(VENV)/installed-test  ## what the augmentation layers make of a picture, and how fast; writes docs/augmentation.md
	$(BIN)/python benchmarks/augmentation.py

gallery: $(VENV)/installed  ## what cornu.explain says about a network trained on MNIST; writes docs/explain.md
	$(BIN)/python benchmarks/gallery.py

explorer: $(VENV)/installed-test  ## how soon the page follows a hand that draws; writes docs/explore.md
	$(BIN)/python benchmarks/explorer.py --pictures

scaling: $(VENV)/installed-test  ## two processes on two cores against one, beside Keras; writes docs/scaling.md
	$(BIN)/python benchmarks/scaling.py

files: $(VENV)/installed-test  ## exchange with Keras and the cost of saving; writes docs/files.md
	$(BIN)/python benchmarks/files.py

serving: $(VENV)/installed-test  ## cornu serve under load, beside the same server around ONNX Runtime; writes docs/serving.md
	$(BIN)/python benchmarks/serving.py

dtypes: $(VENV)/installed-test  ## every layer on inputs of every format; writes docs/dtypes.md
	$(BIN)/python tests/layers/grid.py

compatibility: $(VENV)/installed-test  ## which of Keras' names there are; writes docs/compatibility.md
	$(BIN)/python tools/compatibility.py

programs: $(VENV)/installed-test  ## run programs that were written for Keras, from PROGRAMS=folder; writes docs/programs.md
	$(BIN)/python tools/programs.py $(PROGRAMS)

fuzz: $(VENV)/installed-test  ## 200,000 mutated inputs for each reader
	$(BIN)/python tests/attacks/fuzz.py --inputs 200000

$(VENV)/installed-docs: $(VENV)/installed
	$(INSTALL) --editable '.[docs]'
	touch $@

site: $(VENV)/installed-docs  ## build the documentation in build/site, and check its links
	@$(TIMED); NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "Open $(abspath build/site/index.html)"

wheel: $(VENV)/installed-test  ## build the wheels for Linux, and try this machine's in an empty environment
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tools/wheels.py
	rm -rf build/wheel-env build/wheel-demo
	$(PYTHON) -m venv build/wheel-env
	build/wheel-env/bin/python -m pip install --quiet dist/*_$$(uname -m).whl
	cd build && wheel-env/bin/cornu train digits --epochs 1 --seed 0 --output wheel-demo
	cd build && wheel-env/bin/python -c "import cornu, cornu.explorer as e; m = cornu.saving.load_model('wheel-demo/model.keras'); e.explore(m).stop()"

clean:  ## remove everything that the other targets made
	rm -rf $(VENV) .venv-peers .venv-gpu .venv-gpu-torch .venv-gpu-tensorflow demo dist build
