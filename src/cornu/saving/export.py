"""A model as a standalone program, for serving: StableHLO, which JAX alone can run, or ONNX."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cornu.core.optional import required
from cornu.core.policies import get_policy
from cornu.core.symbolic import KerasTensor, infer_outputs, struct
from cornu.core.variable import throwaway_scope
from cornu.ops import attention
from cornu.saving.atomic import replacing

FORMATS = {".stablehlo": "stablehlo", ".onnx": "onnx"}
# What a StableHLO program can run on; JAX picks the one that it finds.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(model, filepath, format=None, batch_size=None) -> None:
    """Write a model's prediction as one program with its weights in it.

    Args:
        model: a built model.
        filepath: a name that ends in `.onnx` or `.stablehlo`.
        format: `"onnx"` or `"stablehlo"`; default: by the file name's ending.
        batch_size: a number of examples that the program takes; default: any.

    ONNX has the model's input and output names, and runs in ONNX Runtime and whatever else reads it.
    Writing it needs the package `onnx`. What `mixed_bfloat16` computes in bfloat16 is written in float32,
    as runtimes lack operations in bfloat16; a layer that keeps or makes such numbers itself is refused.

    StableHLO is loaded and called with JAX alone (and `flatbuffers`); no Cornu is needed:

        program = jax.export.deserialize(open("m.stablehlo", "rb").read())
        outputs = program.call(inputs)

    `inputs` and `outputs` are arrays, or lists or dicts of them, as for the model. What Cornu's kernels
    compute is in the program as operations of XLA, so that it runs anywhere.

    Raises ValueError for another format, a model that is not built, an operation that ONNX lacks (with
    the layer's name), or one that cannot be compiled for any number of examples; ImportError if the
    package is not installed; OSError if the file cannot be written.

    Source: Keras: Model.export; JAX: jax.export; ONNX.
    """
    path = Path(filepath)
    format = format or FORMATS.get(path.suffix)
    if format not in FORMATS.values():
        raise ValueError(
            f"Unrecognized format={format!r}. Expected a name that ends in {' or '.join(FORMATS)}, or "
            f"format= one of {sorted(set(FORMATS.values()))}. Received: filepath={filepath}"
        )
    _check(model)
    data = program(model, format, batch_size)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def program(model, format: str, batch_size=None, metadata=None) -> bytes:
    """What `export` writes. ONNX takes metadata along, texts by their names."""
    _check(model)
    # Before the work, not after it.
    required("onnx" if format == "onnx" else "flatbuffers", f"Writing {format}")
    if format != "onnx":
        return exported(model, batch_size).serialize()
    made = exported_onnx(model, batch_size)
    for name, text in (metadata or {}).items():
        made.metadata_props.add(key=name, value=text)
    return made.SerializeToString()


def exported(model, batch_size=None):
    """The model's prediction as a `jax.export.Exported`."""
    import jax

    # A submodule that `import jax` does not load.
    import jax.export

    batch = batch_size or jax.export.symbolic_shape("batch")[0]
    specs = jax.tree.map(lambda t: struct((batch, *t.shape[1:]), t.dtype), model._graph.inputs)
    try:
        return jax.export.export(jax.jit(_prediction(model)), platforms=PLATFORMS)(specs)
    except Exception as error:
        if batch_size is not None:
            raise
        raise ValueError(
            f"Model {model.name} cannot be compiled for any number of examples ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}). Give a number: export(…, batch_size=1)."
        ) from error


def exported_onnx(model, batch_size=None):
    """The model's prediction as an `onnx.ModelProto`."""
    import jax

    from cornu.saving.onnx import Unsupported, onnx_model

    tensors, structure = jax.tree.flatten(model._graph.inputs)

    def run(predict, structure, tensors, input_names, output_names):
        def function(arrays):
            return jax.tree.leaves(predict(jax.tree.unflatten(structure, arrays)))

        specs = [(t.shape[1:], t.dtype) for t in tensors]
        return onnx_model(function, specs, input_names, output_names, batch_size)

    # Without fused operations, which ONNX does not know.
    eager, model.run_eagerly = model.run_eagerly, True
    try:
        with _in_float32(model):
            names = model.input_names, model.output_names
            return run(_prediction(model), structure, tensors, *names)
    except Unsupported as error:
        # Which layer is it? The first that cannot be exported by itself.
        for node in model._graph.steps:
            try:
                leaves, own = jax.tree.flatten((node.args, node.kwargs))
                given = [i for i, leaf in enumerate(leaves) if isinstance(leaf, KerasTensor)]
                outputs = len(
                    jax.tree.leaves(infer_outputs(node.operation, node.args, node.kwargs))
                )

                def call(arrays, node=node, leaves=leaves, own=own, given=given):
                    values = list(leaves)
                    for place, array in zip(given, arrays, strict=True):
                        values[place] = array
                    args, kwargs = jax.tree.unflatten(own, values)
                    return node.operation(*args, **kwargs)

                with throwaway_scope(), _in_float32(model):
                    run(
                        call,
                        jax.tree.structure(given),
                        [leaves[i] for i in given],
                        [f"i{i}" for i in given],
                        [f"o{i}" for i in range(outputs)],
                    )
            except Unsupported:
                kind = type(node.operation).__name__
                raise ValueError(
                    f"The layer {node.operation.name!r} ({kind}) cannot be written as ONNX: {error}."
                ) from error
        raise ValueError(f"Model {model.name} cannot be written as ONNX: {error}.") from error
    finally:
        model.run_eagerly = eager


@contextlib.contextmanager
def _in_float32(model) -> Iterator[None]:
    """Layers that keep float32 and compute in bfloat16 compute in float32 meanwhile."""
    whole = get_policy("float32")
    mixed = [
        (layer, layer.__dict__["dtype_policy"])
        for layer in model._flatten_layers()
        if layer.compute_dtype == "bfloat16"
        and layer.variable_dtype == "float32"
        and layer.quantization_mode is None
    ]
    try:
        for layer, _ in mixed:
            layer.__dict__["dtype_policy"] = whole
        yield
    finally:
        for layer, policy in mixed:
            layer.__dict__["dtype_policy"] = policy


def _prediction(model):
    trainable, others = (
        [v.value for v in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )

    def predict(inputs) -> Any:
        with attention.portable():
            outputs, _ = model.stateless_call(trainable, others, inputs, training=False)
        return outputs

    return predict


def _check(model) -> None:
    """Raise ValueError if the model's inputs are not known."""
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
    for tensor in model._graph.flat_inputs:
        if None in tensor.shape[1:]:
            raise ValueError(
                f"The input {tensor.name!r} has the shape {tensor.shape}: only the number of examples may "
                "be unknown in a program. Make the model with a fixed `Input` shape."
            )
