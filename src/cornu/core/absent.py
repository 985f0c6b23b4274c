"""What is said of a name that Keras has, or had, and Cornu has not."""

import difflib
import dis
import sys
import types

# What to use instead, by name, or by the first part of a dotted one.
_INSTEAD = {
    "multi_gpu_model": "`distribution.DataParallel` spreads the batches of any model over devices",
    "export": "`model.export(path)` writes ONNX or StableHLO; a SavedModel needs TensorFlow",
    "ExportArchive": "`model.export(path)` writes ONNX or StableHLO; a SavedModel needs TensorFlow",
    "merge": "Use `layers.concatenate`, `add`, `multiply`, `average`, `maximum` or `dot`",
    "Merge": (
        "Use `layers.concatenate`, `add`, `multiply`, `average`, `maximum` or `dot`. For several "
        "Sequential models: `Model([a.input, b.input], concatenate([a.output, b.output]))`"
    ),
    "Highway": "Write it with `Dense`, `Multiply` and `Add`",
    "MaxoutDense": "Write it with `Dense`, `Reshape` and `ops.max`",
    "AtrousConvolution1D": "Use `layers.Conv1D` with `dilation_rate`",
    "AtrousConvolution2D": "Use `layers.Conv2D` with `dilation_rate`",
    "Deconvolution2D": "Use `layers.Conv2DTranspose`",
    "Deconvolution3D": "Use `layers.Conv3DTranspose`",
    "LocallyConnected1D": "Write a layer with `ops.image.extract_patches` and `ops.einsum`",
    "LocallyConnected2D": "Write a layer with `ops.image.extract_patches` and `ops.einsum`",
    "TimeDistributedDense": "Use `layers.Dense`, which takes sequences",
    "CuDNNLSTM": "Use `layers.LSTM`",
    "CuDNNGRU": "Use `layers.GRU`",
    "ThresholdedReLU": "Use `layers.ReLU(threshold=…)`",
    "Graph": "Use `Model(inputs, outputs)`",
    "model_from_config": "Use `Model.from_config` or `Sequential.from_config`",
    "model_from_yaml": "Use `models.model_from_json`",
    "print_tensor": "Use `jax.debug.print`",
    "gradients": "Use `jax.grad`",
    "function": "Call the model, or make a `Model` of the tensors; `jax.jit` compiles functions",
    "learning_phase": "Give the call of a model or layer `training=True` or `training=False`",
    "set_learning_phase": (
        "Give the call of a model or layer `training=True` or `training=False`; `fit` trains, and "
        "`evaluate` and `predict` do not"
    ),
    "learning_phase_scope": "Give the call of a model or layer `training=True` or `training=False`",
    "ctc_batch_cost": "Use `losses.CTC`, or `ops.ctc_loss`",
    "ctc_decode": "Use `ops.ctc_decode`",
    "slice_X": "Use slices of the arrays: `X[start:stop]`",
    "in_train_phase": "Write a layer whose `call` takes `training`",
    "get_session": "Functions of JAX run at once, without a session",
    "set_session": "Functions of JAX run at once, without a session",
    "placeholder": "Use `Input`",
    "SymbolicScope": "Shapes are inferred by tracing; nothing marks it",
}


def message(module: str, name: str, known=()) -> str:
    """What an error says of a name that a module lacks.

    Args:
        module: as the program wrote it.
        name: what was looked for.
        known: the names that are there, among which similar ones are suggested.
    """
    said = f"Cornu has no `{module}.{name}`."
    instead = _INSTEAD.get(name) or _INSTEAD.get(module.rpartition(".")[2])
    if instead:
        return f"{said} {instead}."
    # Of a class and a function with one spelling, the one that looks like the name is suggested.
    known = [each for each in known if not each.startswith("_")]
    ordered = sorted(known, key=lambda each: each[0].isupper() == name[0].isupper())
    folded = {each.replace("_", "").lower(): each for each in ordered}
    searched = name.replace("_", "").lower()
    cutoff = 1.0 if searched in folded else 0.7
    close = difflib.get_close_matches(searched, folded, n=3, cutoff=cutoff)
    if close:
        return f"{said} Did you mean {' or '.join(f'`{folded[each]}`' for each in close)}?"
    return (
        f"{said} If Keras has it, Cornu lacks it: write it as a class or function of your own with "
        "`cornu.ops` or `jax.numpy`."
    )


def error(module: str, name: str, known=(), depth=2) -> Exception:
    """The error to raise from a module's `__getattr__`.

    It is an AttributeError; for `from module import name`, where Python would put a message of its own in
    its place, an ImportError.

    Args:
        depth: how many calls lie between this function and who asks for the name.
    """
    return error_in(sys._getframe(depth), message(module, name, known), name)


def error_in(frame: types.FrameType, said: str, name: str) -> Exception:
    """The error for a name that the code of a frame asks for."""
    if frame.f_code.co_code[frame.f_lasti] == dis.opmap["IMPORT_FROM"]:
        return ImportError(said)
    return AttributeError(said, name=name)


def explain_in(module) -> None:
    """Let a module say, of each name that it lacks, what to use. Its own `__getattr__` comes first."""
    own = vars(module).get("__getattr__")

    def __getattr__(name):
        if own is not None:
            try:
                return own(name)
            except AttributeError as problem:
                # More than Python's own words: it says what to use.
                if not str(problem).startswith("module "):
                    raise
        if name.startswith("__"):
            raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")
        raise error(module.__name__, name, dir(module)) from None

    module.__getattr__ = __getattr__
