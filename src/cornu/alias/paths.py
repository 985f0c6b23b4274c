"""Where Keras' modules are found here, under the paths of every version."""

# The version of Keras whose API this is.
VERSION = "3.15.1"

# Under each of these, a module of Keras is found as under `keras`; the longest that fits counts.
ROOTS = (
    "keras.api._v2.keras",
    "keras._tf_keras.keras",
    "keras.api",
    "keras.src",
    "keras",
    "keras_core.src",
    "keras_core",
    "tf_keras.src",
    "tf_keras",
    "tensorflow.keras",
    "tensorflow.python.keras",
    "tensorflow.compat.v1.keras",
    "tensorflow.compat.v2.keras",
)
# Where any file of a public module may be named, not only those of `OLD`.
SOURCES = ("keras.src", "keras_core.src", "tf_keras.src", "tensorflow.python.keras")

# Modules whose own modules are public.
WITH_MODULES = ("applications", "datasets", "legacy", "preprocessing", "wrappers")
PUBLIC = (
    "ops.image",
    "ops.linalg",
    "ops.nn",
    "ops.numpy",
    "optimizers.legacy",
    "optimizers.schedules",
    "utils.bounding_boxes",
    "utils.legacy",
)

# Files that had a path of their own in Keras 1 and 2: the module whose names they held, and their names.
OLD = {
    "layers": (
        "activation activations advanced_activations attention convolutional convolutional_recurrent core "
        "cudnn_recurrent embeddings experimental local merge merging noise normalization pooling "
        "preprocessing recurrent recurrent_v2 regularization reshaping rnn wrappers"
    ),
    "utils": (
        "all_utils audio_dataset conv_utils data_utils generic_utils image_dataset io_utils layer_utils "
        "losses_utils metrics_utils np_utils text_dataset tf_utils timeseries_dataset training_utils "
        "vis_utils visualize_util"
    ),
    "callbacks": "callbacks experimental",
    "backend": "common tensorflow_backend",
    "models": "functional model sequential",
    "optimizers": (
        "adadelta adafactor adagrad adam adamax adamw experimental ftrl nadam optimizer rmsprop "
        "schedule sgd"
    ),
    "saving": "save saving_lib",
}
# Those that held files.
OLD_PACKAGES = (
    "activation attention convolutional core experimental merging normalization pooling preprocessing "
    "regularization reshaping rnn"
).split()
# Modules that are gone, and where their names are now.
MOVED = {
    "initializations": ("alias.initializations",),
    "objectives": ("losses",),
    "engine": ("layers", "models", "utils", ""),
    "trainers": ("models", "callbacks"),
    "experimental": ("",),
    "estimator": (),
}
# Those of them that had files.
MOVED_PACKAGES = ("engine", "trainers", "experimental")


def split(name: str) -> tuple[str, str] | None:
    """The root that a module's name begins with, and the rest; None for what is no module of Keras."""
    fitting = [root for root in ROOTS if f"{name}.".startswith(f"{root}.")]
    root = max(fitting, key=len, default=None)
    return None if root is None else (root, name[len(root) + 1 :])


def homes_of(name: str, exists) -> tuple[str, ...] | None:
    """The modules of Cornu whose names a module of Keras has, without `cornu.`; None if there is none.

    Args:
        name: of the module of Keras, with its root.
        exists: says whether Cornu has a public module of a name.
    """
    found = split(name)
    if found is None:
        return None
    root, rest = found
    if not rest or any(each.startswith(f"{name}.") for each in ROOTS):
        return ("",)
    top, _, below = rest.partition(".")
    if top in MOVED:
        # Any file of those that were packages, but no name of a class or function.
        is_file = top in MOVED_PACKAGES and below.islower() and "." not in below
        return (MOVED[top] or None) if not below or is_file else None
    if not exists(top):
        return None
    if not below or ((top in WITH_MODULES or rest in PUBLIC) and exists(rest)):
        return (rest,)
    file, _, deeper = below.partition(".")
    # Only packages have files; what comes below a file is the name of a class or function, not a module.
    packaged = top in ("layers", "backend") or f"{top}.{file}" in PUBLIC
    if deeper and (not packaged or "." in deeper or not deeper.islower()):
        return None
    if root not in SOURCES and deeper and file not in OLD_PACKAGES:
        return None
    # A name with capitals is that of a class.
    if (root in SOURCES and file.islower()) or file in OLD.get(top, "").split():
        return (f"{top}.{file}", top) if f"{top}.{file}" in PUBLIC else (top,)
    return None
