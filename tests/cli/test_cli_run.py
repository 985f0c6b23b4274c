"""A script that says `import keras` or `tf.keras` runs on Cornu as it is."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
import keras
import keras.layers
from keras import models, optimizers
from keras.datasets import digits
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.models import Sequential
from keras.optimizers.schedules import ExponentialDecay
from keras.utils import to_categorical
from helper import SIZE

(x, y), _ = digits.load_data()
model = Sequential()
model.add(Conv2D(4, (3, 3), activation="relu", input_shape=(8, 8, 1)))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x[:SIZE], to_categorical(y[:SIZE]), batch_size=50, verbose=0)
print(json.dumps([keras.__version__, keras.layers.Conv2D is Conv2D, __file__, sys.argv]))
"""

# Each line as scripts of some year have it; then what must be true.
IMPORTS = """
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers, Sequential
from tensorflow.keras.models import load_model
from tensorflow.keras.preprocessing.image import ImageDataGenerator
from tensorflow.keras.layers.experimental import preprocessing
from tensorflow.keras.optimizers.legacy import Adam as LegacyAdam
from tensorflow.python.keras.layers.convolutional import Conv2D as OldConv2D
from tensorflow.compat.v1 import keras as first
import keras_core.layers, keras.api.layers, keras.src.layers.core.dense, keras.ops.numpy
from keras._tf_keras.keras.losses import MeanSquaredError
from keras.layers.core import Dense, Dropout, Flatten
from keras.layers.convolutional import Conv2D, MaxPooling2D
from keras.layers.advanced_activations import LeakyReLU
from keras.layers.normalization import BatchNormalization
from keras.layers.merge import concatenate
from keras.layers.recurrent import LSTM
from keras.utils import np_utils
from keras.utils.vis_utils import plot_model
from keras.objectives import categorical_crossentropy
from keras.engine.topology import Layer
from keras.engine import Model
from keras.preprocessing.text import Tokenizer
from keras.preprocessing import sequence
from keras import backend as K
from keras.models import *
from keras.regularizers import *
from keras.wrappers.scikit_learn import KerasClassifier
import cornu
import numpy as np

assert L2 is keras.regularizers.L2 and issubclass(KerasClassifier, object)
assert layers.Conv2D is Conv2D is OldConv2D is keras.src.layers.core.dense.Conv2D is cornu.layers.Conv2D
assert Layer is cornu.Layer and Model is cornu.Model and Sequential is cornu.Sequential
assert np_utils.to_categorical is keras.utils.np_utils.to_categorical is cornu.utils.to_categorical
assert tf.keras.layers.Dense is Dense and first.layers.Dense is Dense
assert preprocessing.Rescaling is cornu.layers.Rescaling
assert keras.ops.numpy.mean is cornu.ops.numpy.mean and tf.keras.__version__ == keras.__version__
assert cornu.__version__ != keras.__version__ and "layers" in dir(keras)
tf.random.set_seed(3)
first = np.random.rand()
cornu.utils.set_random_seed(3)
assert np.random.rand() == first
assert {d.device_type for d in tf.config.list_physical_devices("CPU")} == {"CPU"}
assert tf.config.list_physical_devices("TPU") == []
tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)

@tf.function
def twice(x):
    return 2 * x

data = tf.data.Dataset.from_tensor_slices(np.arange(6)).map(twice).batch(4).prefetch(tf.data.AUTOTUNE)
assert [batch.tolist() for batch in data.as_numpy_iterator()] == [[0, 2, 4, 6], [8, 10]]
assert float(tf.reduce_mean(tf.cast(tf.constant([1, 2]), tf.float32))) == 1.5
assert tf.math.reduce_sum(tf.ones((2, 3)), axis=1, keepdims=True).shape == (2, 1)
assert tf.argmax([[1, 5], [2, 3]]).tolist() == [1, 0] == tf.math.argmax([[1, 5], [2, 3]], 0).tolist()
assert tf.where(np.eye(2)).tolist() == [[0, 0], [1, 1]] and tf.where(True, 1, 2) == 1
assert tf.version.VERSION == tf.__version__
assert isinstance(tf.ones(2).numpy(), np.ndarray) and tf.ones(2).numpy().tolist() == [1, 1]
assert tf.constant(2.0, shape=(2,)).tolist() == [2, 2] == tf.constant([2, 2], shape=[2]).tolist()
assert tf.gather([5, 6, 7], [2, 0]).tolist() == [7, 5] and tf.fill((2,), 3).tolist() == [3, 3]
assert abs(float(tf.nn.gelu(1.0)) - 0.8413447) < 1e-6
assert tf.one_hot([1], depth=3).tolist() == [[0.0, 1.0, 0.0]] and tf.nn.relu(-1.0) == 0
"""

# Names that only Keras 1 and 2 have.
OLD_NAMES = """
from keras.constraints import maxnorm, nonneg
from keras.initializations import identity, normal, uniform
from keras.layers import AtrousConvolution2D, CuDNNLSTM, ThresholdedReLU, TimeDistributedDense, merge
from keras.layers.merge import add
from keras.regularizers import activity_l2, l1l2
from keras.utils.visualize_util import plot
import keras
import numpy as np

assert abs(normal((500,), scale=2.0, name="w").std() - 2) < 0.3 and normal((2, 3)).shape == (2, 3)
assert identity((2, 2), 3.0).tolist() == [[3, 0], [0, 3]] and abs(uniform((50,), 2)).max() > 1.5
assert CuDNNLSTM is keras.layers.LSTM and TimeDistributedDense is keras.layers.Dense
assert keras.losses.Reduction.NONE == "none" and keras.losses.mse is keras.losses.MSE
assert activity_l2 is keras.regularizers.L2 and l1l2(l2=0.5).get_config() == {"l1": 0.01, "l2": 0.5}
assert ThresholdedReLU(theta=2.0)(np.array([1.0, 3.0])).tolist() == [0.0, 3.0]
ones = np.ones((2, 1))
assert merge([ones, ones], mode="sum").tolist() == add([ones, ones]).tolist() == [[2.0], [2.0]]
try:
    keras.layers.core()
except TypeError as error:
    assert "not callable" in str(error)
"""

ABSENT = {
    "import keras.nothing": "ModuleNotFoundError: Cornu has no `keras.nothing`. If Keras has it",
    "import keras.layers.nothing": "is in `layers` itself: `from keras import layers`",
    "from keras.layers import Nothing": "Error: Cornu has no `keras.layers.Nothing`. If Keras has it",
    "from keras.layers.core import Dense, Nothing": "Cornu has no `keras.layers.core.Nothing`",
    "from keras.src.layers.core.dense import Nothing": "no `keras.src.layers.core.dense.Nothing`",
    "from keras.src.layers import Nothing": "Error: Cornu has no `keras.src.layers.Nothing`",
    "from keras.src.utils import nothing\nnothing(2)": "`keras.src.utils.nothing` stands for a file",
    "from keras.engine import Nothing": "Error: Cornu has no `keras.engine.Nothing`",
    "from keras.objectives import nothing": "Error: Cornu has no `keras.objectives.nothing`",
    "from keras.utils import multi_gpu_model\nmulti_gpu_model(3, gpus=2)": "Use the model itself",
    "from keras.layers import Conv2d": "Did you mean `Conv2D`?",
    "import keras\nkeras.layers.Highway": "AttributeError: Cornu has no `keras.layers.Highway`. Write",
    "import keras\nkeras.distribution.DataParalel": "Did you mean `DataParallel`?",
    "from cornu.losses import MeanSquareError": "ImportError: Cornu has no `cornu.losses.Mean",
    "import cornu\ncornu.losses.MeanSquareError": "Did you mean `MeanSquaredError`",
    "import tensorflow_datasets": "ModuleNotFoundError: No module named 'tensorflow_datasets'",
    "import tensorflow as tf\ntf.raw_ops": "`tf.raw_ops` (%s, line 2) is TensorFlow's",
    "import tensorflow as tf\ntf.GradientTape()": "Here use `jax.grad`, or override `train_step`",
    "from tensorflow import raw_ops": "ImportError: `tf.raw_ops` (%s, line 1) is TensorFlow's",
    "from tensorflow.examples.tutorials.mnist import input_data": "`tf.examples` (%s, line 1)",
}


def call(*arguments, **options):
    command = [sys.executable, "-m", "cornu", "run", *arguments]
    wide = {**os.environ, "COLUMNS": "300"}  # so that no message is broken into lines
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=wide, **options)


def test_a_script_for_keras(tmp_path):
    script = tmp_path / "lesson.py"
    script.write_text(SCRIPT)
    (tmp_path / "helper.py").write_text("SIZE = 100")
    arguments = [str(script), "--epochs", "3"]
    done = call(*arguments)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed == ["3.15.1", True, str(script), arguments]
    done = call("-m", "lesson", "-m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])[2:] == [str(script), [str(script), "-m"]]


def test_paths_of_every_version(tmp_path):
    script = tmp_path / "imports.py"
    script.write_text(IMPORTS + OLD_NAMES)
    done = call(str(script))
    assert done.returncode == 0, done.stderr
    old = "`keras.layers.CuDNNLSTM` is an old spelling; use `keras.layers.LSTM` instead."
    assert f"{script}:" in done.stderr and done.stderr.count(old) == 1


def test_what_is_absent_is_named_and_errors_are_the_scripts(tmp_path):
    script = tmp_path / "absent.py"
    script.write_text(
        "import traceback\n"
        f"for code in {list(ABSENT)!r}:\n"
        "    try:\n"
        "        exec(compile(code, __file__, 'exec'), {})\n"
        "    except Exception:\n"
        "        print(traceback.format_exc())\n"
        "    print('=' * 9)\n"
        "import sys\n"
        "sys.exit(7)\n".replace("\\\n", "\n")
    )
    done = call(str(script))
    assert done.returncode == 7, done.stderr
    for said, wanted in zip(done.stdout.split("=" * 9), ABSENT.values(), strict=False):
        assert (wanted.replace("%s", str(script))) in said
    script.write_text(
        "from keras.layers import merge\n"
        "def own(both):\n"
        "    return both.nothing\n"
        "merge([1.0, 2.0], mode=own)\n"
    )
    assert "line 3, in own\n    return both.nothing" in call(str(script)).stderr
    script.write_text("def fail():\n    raise KeyError('mine')\n\nfail()\n")
    done = call(str(script), "fail")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    frames = [line for line in done.stderr.splitlines() if line.startswith("  File")]
    assert len(frames) == 2 and all(str(script) in frame for frame in frames)
    assert done.stderr.endswith("KeyError: 'mine'\n")


def test_tensorflow_that_is_installed_stays_with_its_keras_replaced(tmp_path):
    files = {
        "__init__.py": "keras = 'its own'\nfrom tensorflow.python import raw_ops",
        "io.py": "read_file = 4",
        # It has a Keras of its own, which it uses itself.
        "python/__init__.py": "from tensorflow.python.keras.legacy import raw_ops",
        "python/keras/__init__.py": "",
        "python/keras/legacy.py": "raw_ops = 3",
        "late.py": "def late():\n    import tensorflow.python.keras.legacy as own\n    return own.raw_ops",
    }
    for name, text in files.items():
        file = tmp_path / "tensorflow" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    script = tmp_path / "script.py"
    script.write_text(
        "import tensorflow as tf, tensorflow.io\n"
        "from tensorflow.keras.layers import Dense\n"
        "import cornu\n"
        "assert tf.keras.layers.Dense is Dense is cornu.layers.Dense\n"
        "assert tf.raw_ops == 3 and tf.io.read_file == 4\n"
        "import tensorflow.late\n"
        "assert tf.late.late() == 3\n"
        "from tensorflow.python.keras.layers.convolutional import Conv2D\n"
        "assert Conv2D is cornu.layers.Conv2D\n"
    )
    done = call(str(script))
    assert done.returncode == 0, done.stderr


def test_processes_that_a_script_starts(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, concurrent.futures, keras\n"
        "def home(name):\n"
        "    return getattr(keras.layers, name).__module__\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    with concurrent.futures.ProcessPoolExecutor(1, context) as processes:\n"
        "        print(*processes.map(home, ['Dense']))\n"
    )
    done = call(str(script))
    assert done.stdout == "cornu.layers.dense\n", done.stderr


def test_no_script(tmp_path):
    done = call(str(tmp_path / "missing.py"))
    assert done.returncode == 2 and "does not exist" in done.stderr


@pytest.mark.parametrize("first", ["types.ModuleType('keras')", "cornu"])
def test_keras_was_there_first(first):
    code = f"import cornu, sys, types; sys.modules['keras'] = {first}; cornu.install_as_keras()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Keras itself has been imported in this process already" in done.stderr
