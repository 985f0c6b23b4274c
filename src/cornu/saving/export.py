"""A model as a program of its own, for serving: StableHLO, which JAX alone can run."""

from pathlib import Path
from typing import Any

from cornu.saving.atomic import replacing

FORMATS = {".stablehlo": "stablehlo"}
# What the program can run on; JAX picks the one that it finds.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(model, filepath, format=None, batch_size=None) -> None:
    """Write a model's prediction as one program with its weights in it.

    Args:
        model: a built model.
        filepath: a name that ends in `.stablehlo`.
        format: `"stablehlo"`; default: as the ending says.
        batch_size: a number of examples that the program takes; default: any.

    It is loaded and called with JAX alone (and `flatbuffers`); no Cornu is needed:

        program = jax.export.deserialize(open("m.stablehlo", "rb").read())
        outputs = program.call(inputs)

    `inputs` and `outputs` are arrays, or lists or dicts of them, as for the model. What Cornu's kernels
    compute is in the program as operations of XLA, so that it runs anywhere.

    Raises ValueError for another format, a model that is not built, or one that cannot be compiled for
    any number of examples; ImportError if `flatbuffers` is not installed; OSError if the file cannot be
    written.

    Source: Keras: Model.export; JAX: jax.export.
    """
    path = Path(filepath)
    format = format or FORMATS.get(path.suffix)
    if format not in FORMATS.values():
        raise ValueError(
            f"Unknown format {format!r}. Expected a name that ends in {' or '.join(FORMATS)}, or "
            f"format= one of {sorted(set(FORMATS.values()))}. Received: filepath={filepath}"
        )
    program = exported(model, batch_size)
    try:
        data = program.serialize()
    except ImportError as error:
        raise ImportError(
            "Writing StableHLO needs the package `flatbuffers`: pip install flatbuffers"
        ) from error
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def exported(model, batch_size=None):
    """The model's prediction as a `jax.export.Exported`."""
    # A submodule that `import jax` does not load.
    import jax
    import jax.export

    if not model.built or model._graph is None:
        shape = (
            ""
            if model.built
            else " It is not built: call it on data, or give it an `Input`, first."
        )
        raise ValueError(
            f"Model {model.name} has no known inputs, so it cannot be exported.{shape} A subclassed model "
            "can be wrapped: x = Input(shape); Model(x, model(x))."
        )
    if batch_size is None:
        (batch,) = jax.export.symbolic_shape("batch")
    else:
        batch = batch_size

    def spec(tensor):
        if None in tensor.shape[1:]:
            raise ValueError(
                f"The input {tensor.name!r} has the shape {tensor.shape}: only the number of examples may "
                "be unknown in a program. Make the model with a fixed `Input` shape."
            )
        return jax.ShapeDtypeStruct((batch, *tensor.shape[1:]), tensor.dtype)

    trainable, others = (
        [v.value for v in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )

    def predict(inputs) -> Any:
        outputs, _ = model.stateless_call(trainable, others, inputs, training=False)
        return outputs

    specs = jax.tree.map(spec, model._graph.inputs)
    try:
        return jax.export.export(jax.jit(predict), platforms=PLATFORMS)(specs)
    except Exception as error:
        if batch_size is not None:
            raise
        raise ValueError(
            f"Model {model.name} cannot be compiled for any number of examples ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}). Give a number: export(…, batch_size=1)."
        ) from error
