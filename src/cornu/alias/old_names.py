"""Functions and classes that scripts look for under a name of Keras 1 or 2."""

import importlib
import warnings


def _both(home, l1=0.01, l2=0.01):
    return home.L1L2(l1, l2)


_LOSSES: dict = {
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
}
_LOSSES.update({name.upper(): today for name, today in _LOSSES.items() if len(name) < 5})


class _Reduction:
    """What `reduction` may be, by the names of Keras 2."""

    AUTO = SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
    NONE = "none"
    SUM = "sum"


# For each module its old names, and what they are called today: a name, or a function of the module and of
# the arguments, with how that is written.
_TODAY: dict[str, dict] = {
    "constraints": {"maxnorm": "MaxNorm", "nonneg": "NonNeg", "unitnorm": "UnitNorm"},
    "initializers": {
        "normal": "RandomNormal",
        "one": "Ones",
        "uniform": "RandomUniform",
        "zero": "Zeros",
    },
    "layers": {
        "AtrousConvolution1D": "Convolution1D",
        "AtrousConvolution2D": "Convolution2D",
        "CuDNNGRU": "GRU",
        "CuDNNLSTM": "LSTM",
        "ThresholdedReLU": (
            lambda home, theta=1.0, **how: home.ReLU(threshold=theta, **how),
            "ReLU",
        ),
        "TimeDistributedDense": "Dense",
    },
    "losses": {**_LOSSES, "Reduction": (_Reduction, "Loss(reduction=…)")},
    "metrics": _LOSSES,
    "regularizers": {
        "WeightRegularizer": "L1L2",
        "activity_l1": "L1",
        "activity_l1l2": (_both, "L1L2"),
        "activity_l2": "L2",
        "l1l2": (_both, "L1L2"),
    },
    "utils": {"plot": "plot_model"},
}
# Functions that scripts import, and call only where there is Theano or more than one device.
_REFUSED = {
    "utils": {
        "convert_all_kernels_in_model": "Load weights that were saved with TensorFlow.",
        "convert_dense_weights_data_format": "Load weights for the format of images that is set.",
        "multi_gpu_model": "Use the model itself, and `distribution.DataParallel` for several devices.",
    }
}


def find(module: str, home: str, name: str):
    """What an old name means today, with a warning; None if it is none.

    Args:
        module: as the script wrote it.
        home: Cornu's module, without `cornu.`.
        name: what the script asks it for.
    """
    refusal = _REFUSED.get(home, {}).get(name)
    if refusal:
        return _refuse(f"Cornu has no `{module}.{name}`. {refusal}")
    today = _TODAY.get(home, {}).get(name)
    if today is None:
        return None
    make, new = (None, today) if isinstance(today, str) else today
    warnings.warn(
        f"`{module}.{name}` is an old spelling; use `keras.{home}.{new}` instead.", stacklevel=3
    )
    here = importlib.import_module(f"cornu.{home}")
    if isinstance(make, type):
        return make
    return getattr(here, new) if make is None else lambda *args, **how: make(here, *args, **how)


def _refuse(said: str):
    def refused(*args, **kwargs):
        raise NotImplementedError(said)

    return refused


# What `merge` of Keras 1 did, and the function of today.
_MODES = {
    "ave": "average",
    "concat": "concatenate",
    "cos": "dot",
    "dot": "dot",
    "max": "maximum",
    "min": "minimum",
    "mul": "multiply",
    "sum": "add",
}


def merge(inputs, mode="sum", concat_axis=-1, dot_axes=-1, name=None, **others):
    """Keras 1's function, by the one that does the same today."""
    if callable(mode) and not others.keys() - {"output_shape"}:
        warnings.warn(
            f"`merge(…, mode={getattr(mode, '__name__', mode)})` is an old spelling; use "
            "`keras.layers.Lambda(…)(…)` instead.",
            stacklevel=3,
        )
        return importlib.import_module("cornu.layers").Lambda(mode, name=name)(inputs)
    if mode not in _MODES or others.keys() - {"output_shape"}:
        given = "".join(f", {key}=…" for key in others)
        raise ValueError(
            f"`merge(…, mode={mode!r}{given})` of Keras 1 has no counterpart. Known modes are "
            f"{', '.join(_MODES)} and functions, without masks."
        )
    new = _MODES[mode]
    how = {"concat": {"axis": concat_axis}, "dot": {"axes": dot_axes}}.get(mode, {})
    if mode == "cos":
        how = {"axes": dot_axes, "normalize": True}
    shown = "".join(f", {key}={value!r}" for key, value in how.items())
    warnings.warn(
        f"`merge(…, mode={mode!r})` is an old spelling; use `keras.layers.{new}(…{shown})` instead.",
        stacklevel=3,
    )
    return getattr(importlib.import_module("cornu.layers"), new)(inputs, name=name, **how)
