"""What a script finds as `tf` where TensorFlow is not installed: what is used beside Keras."""

import importlib
import sys
import types

from cornu.core import absent

VERSION = "2.20.0"

# Functions that are the same in `cornu.ops`.
_NUMPY = (
    "abs add argsort broadcast_to clip cos divide exp expand_dims eye linspace matmul maximum minimum "
    "multiply ones ones_like reshape round sign sin sort sqrt square squeeze stack subtract tanh tensordot "
    "tile transpose zeros zeros_like"
).split()
# Those of another name.
_RENAMED = {
    "concat": "concatenate",
    "range": "arange",
    "reduce_all": "all",
    "reduce_any": "any",
    "reduce_max": "max",
    "reduce_mean": "mean",
    "reduce_min": "min",
    "reduce_prod": "prod",
    "reduce_sum": "sum",
    "clip_by_value": "clip",
    "pow": "power",
    "logical_and": "logical_and",
    "equal": "equal",
    "fill": "full",
    "shape": "shape",
}
_MATH = {
    "log": "log",
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "divide": "divide",
    **{n: n for n in ("abs", "exp", "sqrt", "square", "maximum", "minimum", "sin", "cos")},
    **{n: _RENAMED[n] for n in _RENAMED if n.startswith("reduce_")},
}
_NN = (
    "relu",
    "softmax",
    "sigmoid",
    "elu",
    "selu",
    "softplus",
    "leaky_relu",
    "silu",
    "swish",
)
_DTYPES = (
    "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool string"
).split()

_INSTEAD = {
    "GradientTape": (
        "use `jax.grad`, or override `train_step` as docs/custom.md shows: gradients are those of functions"
    ),
    "Session": "call the model or function: it runs at once",
    "placeholder": "use `keras.Input`",
    "distribute": "use `keras.distribution.DataParallel`",
    "lite": "export the model: `model.export(path, format='onnx')`",
    "saved_model": "use `model.save('model.keras')`, or `model.export`",
    "summary": "use `keras.callbacks.TensorBoard`",
    "train": "use `model.save`, `keras.callbacks.ModelCheckpoint` or `BackupAndRestore`",
    "io": "use Python's own files, or `keras.utils.load_img`",
    "image": "use `keras.ops.image` or the layers for images",
    "feature_column": "use `keras.utils.FeatureSpace`",
    "estimator": "use a `keras.Model`",
    "contrib": "it left TensorFlow in version 2",
}


class _Module(types.ModuleType):
    def __init__(self, name: str, names: dict):
        super().__init__(name, f"What scripts use of {name} beside Keras.")
        self.__path__: list[str] = []
        self._names = names

    def __getattr__(self, name: str):
        if name in self._names:
            value = self._names[name]
            return value() if isinstance(value, _Late) else value
        if name.startswith("__"):
            raise AttributeError(name)
        said = _refusal(f"{self.__name__}.{name}".replace("tensorflow", "tf", 1))
        raise absent.error_in(sys._getframe(1), said, name)

    def __dir__(self):
        return sorted(self._names)


class _Late:
    """A value that is looked up when it is asked for."""

    def __init__(self, module: str, name: str | None = None):
        self.module, self.name = module, name

    def __call__(self):
        module = importlib.import_module(self.module)
        return module if self.name is None else getattr(module, self.name)


def _refusal(name: str) -> str:
    first = name.split(".")[1] if "." in name else name
    instead = _INSTEAD.get(name.rpartition(".")[2]) or _INSTEAD.get(first)
    instead = instead or "use NumPy, `jax.numpy` or `keras.ops`, or install TensorFlow beside Cornu"
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(
        ("cornu.alias", "importlib")
    ):
        frame = frame.f_back
    where = f"{frame.f_code.co_filename}, line {frame.f_lineno}"
    return (
        f"`{name}` ({where}) is TensorFlow's, which is not installed; of it, Cornu has what scripts use "
        f"beside Keras. Here {instead}."
    )


def _refused(name: str):
    def refuse(*args, **kwargs):
        raise NotImplementedError(_refusal(f"tf.{name}"))

    return refuse


def _function(function=None, **how):
    """`tf.function`: what it is given. Keras' own loops compile by themselves; else use `jax.jit`."""
    return function if function is not None else lambda given: given


def _set_seed(seed):
    importlib.import_module("cornu.utils").set_random_seed(int(seed))


def _cast(x, dtype, name=None):
    return importlib.import_module("cornu").ops.cast(x, dtype)


def _to_tensor(value, dtype=None, name=None):
    return importlib.import_module("cornu").ops.convert_to_tensor(value, dtype=dtype)


def _constant(value, dtype=None, shape=None, name="Const"):
    made = _to_tensor(value, dtype)
    if shape is None:
        return made
    ops = importlib.import_module("cornu").ops
    return ops.full(shape, made, made.dtype) if made.size == 1 else ops.reshape(made, shape)


def _where(condition, x=None, y=None, name=None):
    """Chosen numbers or, of a condition alone, where it holds, one row for each."""
    ops = importlib.import_module("cornu").ops
    if x is None and y is None:
        return importlib.import_module("jax.numpy").argwhere(condition)
    return ops.where(condition, x, y)


def _gather(params, indices, axis=0, name=None):
    return importlib.import_module("cornu").ops.take(params, indices, axis=axis)


def _gelu(features, approximate=False, name=None):
    return importlib.import_module("cornu").ops.gelu(features, approximate=approximate)


def _first_axis(function):
    """A function whose default axis is TensorFlow's, the first."""

    def call(input, axis=None, name=None):
        return function(input, axis=0 if axis is None else axis)

    return call


def _axis_spelled(function):
    """A reduction with TensorFlow's names of arguments."""

    def reduce(input_tensor, axis=None, keepdims=False, name=None):
        return function(input_tensor, axis=axis, keepdims=keepdims)

    return reduce


def _one_hot(indices, depth, axis=-1, dtype="float32", name=None):
    return importlib.import_module("cornu").ops.one_hot(indices, depth, axis=axis, dtype=dtype)


def _devices(kind=None):
    """JAX's devices by TensorFlow's names for their kinds."""
    import jax

    found = [
        types.SimpleNamespace(name=f"/physical_device:{kind_of}:{i}", device_type=kind_of)
        for i, kind_of in enumerate(device.platform.upper() for device in jax.devices())
    ]
    return [device for device in found if kind in (None, device.device_type)]


def _nothing(*args, **kwargs):
    """A setting of TensorFlow's that has no counterpart."""


def _draw(which: str):
    def draw(shape, *args, dtype="float32", seed=None, **more):
        return getattr(importlib.import_module("cornu").random, which)(
            shape, *args, dtype=dtype, seed=seed, **more
        )

    return draw


def _names() -> dict[str, dict]:
    """What is in each module."""
    ops = importlib.import_module("cornu").ops

    renamed = {
        name: _axis_spelled(getattr(ops, here))
        if name.startswith("reduce_")
        else getattr(ops, here)
        for name, here in _RENAMED.items()
    }
    firsts = {name: _first_axis(getattr(ops, name)) for name in ("argmax", "argmin")}
    math = firsts | {
        name: renamed[name] if name in renamed else getattr(ops, here)
        for name, here in _MATH.items()
    }
    return {
        "tensorflow": {
            "__version__": VERSION,
            "keras": _Late("tensorflow.keras"),
            "data": _Late("tensorflow.data"),
            "Tensor": _Late("jax", "Array"),
            "Variable": _Late("cornu", "Variable"),
            "newaxis": None,
            **{name: getattr(ops, name) for name in _NUMPY},
            **renamed,
            **firsts,
            "where": _where,
            "gather": _gather,
            "add_n": sum,
            "print": print,
            "size": ops.size,
            "stop_gradient": _Late("jax.lax", "stop_gradient"),
            **{name: name for name in _DTYPES},
            "constant": _constant,
            "convert_to_tensor": _to_tensor,
            "cast": _cast,
            "one_hot": _one_hot,
            "identity": _to_tensor,
            "function": _function,
            "set_random_seed": _set_seed,
            "GradientTape": _refused("GradientTape"),
            "executing_eagerly": lambda: True,
            "enable_eager_execution": _nothing,
            "get_logger": lambda: importlib.import_module("logging").getLogger("tensorflow"),
            **{
                name: _Late(f"tensorflow.{name}")
                for name in (
                    "random",
                    "math",
                    "nn",
                    "config",
                    "test",
                    "compat",
                    "autograph",
                    "version",
                )
            },
        },
        "tensorflow.random": {
            "set_seed": _set_seed,
            "set_random_seed": _set_seed,
            "normal": _draw("normal"),
            "uniform": _draw("uniform"),
        },
        "tensorflow.math": math,
        "tensorflow.nn": {
            **{name: getattr(ops, name) for name in _NN},
            "gelu": _gelu,
        },
        "tensorflow.data": {
            "Dataset": _Late("cornu.data", "Dataset"),
            "AUTOTUNE": _Late("cornu.data", "AUTOTUNE"),
            "experimental": _Late("tensorflow.data.experimental"),
        },
        "tensorflow.data.experimental": {"AUTOTUNE": _Late("cornu.data", "AUTOTUNE")},
        "tensorflow.config": {
            "list_physical_devices": _devices,
            "list_logical_devices": _devices,
            "get_visible_devices": _devices,
            "set_visible_devices": _nothing,
            "run_functions_eagerly": _nothing,
            "threading": _Late("tensorflow.config.threading"),
            "experimental": _Late("tensorflow.config.experimental"),
        },
        "tensorflow.config.threading": {
            "set_intra_op_parallelism_threads": _nothing,
            "set_inter_op_parallelism_threads": _nothing,
        },
        "tensorflow.config.experimental": {
            "list_physical_devices": _devices,
            "set_memory_growth": _nothing,
            "enable_op_determinism": _nothing,
        },
        "tensorflow.test": {
            "is_gpu_available": lambda *args, **how: bool(_devices("GPU")),
            "is_built_with_cuda": lambda: bool(_devices("GPU")),
            "gpu_device_name": lambda: next((d.name for d in _devices("GPU")), ""),
        },
        "tensorflow.version": {"VERSION": VERSION},
        "tensorflow.autograph": {"set_verbosity": _nothing},
        "tensorflow.python": {"keras": _Late("tensorflow.keras")},
        "tensorflow.compat": {"v1": _Late("tensorflow.compat.v1"), "v2": _Late("tensorflow")},
        "tensorflow.compat.v1": {
            "logging": _Late("tensorflow.compat.v1.logging"),
            "set_random_seed": _set_seed,
            "keras": _Late("tensorflow.keras"),
            "Session": _refused("compat.v1.Session"),
            "disable_eager_execution": _nothing,
            "enable_eager_execution": _nothing,
        },
        "tensorflow.compat.v1.logging": {
            "set_verbosity": _nothing,
            "ERROR": 40,
            "WARN": 30,
            "INFO": 20,
        },
    }


def stand_in() -> types.ModuleType:
    """The module `tensorflow`."""
    return _Module("tensorflow", _names()["tensorflow"])


def refuse_module(name: str) -> types.ModuleType:
    """One of TensorFlow's modules, if there is one here.

    Raises ModuleNotFoundError with what to use instead.
    """
    names = _names().get(name)
    if names is None:
        raise ModuleNotFoundError(_refusal(name.replace("tensorflow", "tf", 1)), name=name)
    return _Module(name, names)
