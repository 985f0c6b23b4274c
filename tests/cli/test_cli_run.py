"""A script that says `import keras` runs on Cornu as it is."""

import json
import os
import subprocess
import sys

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

try:
    import keras.applications
except ModuleNotFoundError as error:
    missing = error.name
(x, y), _ = digits.load_data()
model = Sequential()
model.add(Conv2D(4, (3, 3), activation="relu", input_shape=(8, 8, 1)))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x[:SIZE], to_categorical(y[:SIZE]), batch_size=50, verbose=0)
print(json.dumps([keras.__name__, keras.layers.Conv2D is Conv2D, missing, sys.argv[1:]]))
"""


def call(*arguments):
    command = [sys.executable, "-m", "cornu", "run", *arguments]
    wide = {**os.environ, "COLUMNS": "300"}  # so that no message is broken into lines
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=wide)


def test_a_script_for_keras(tmp_path):
    script = tmp_path / "lesson.py"
    script.write_text(SCRIPT)
    (tmp_path / "helper.py").write_text("SIZE = 100")
    done = call(str(script), "--epochs", "3")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed == ["cornu", True, "keras.applications", ["--epochs", "3"]]


def test_no_script(tmp_path):
    done = call(str(tmp_path / "missing.py"))
    assert done.returncode == 2 and "does not exist" in done.stderr


def test_keras_was_there_first():
    code = (
        "import sys, types; sys.modules['keras'] = types.ModuleType('keras')\n"
        "import cornu; cornu.install_as_keras()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Keras itself has been imported in this process already" in done.stderr
