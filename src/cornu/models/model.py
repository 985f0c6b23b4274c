"""`Model`: layers that are trained together."""

import contextlib
import inspect
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from cornu.core import masking, registry
from cornu.core.call_arguments import bind_call, is_shape, shapes_of, tuples
from cornu.core.dtype import is_float, standardize_dtype
from cornu.core.layer import Layer
from cornu.core.naming import auto_name
from cornu.core.notebook import as_text
from cornu.core.symbolic import KerasTensor, infer_outputs, node_of
from cornu.data.arrays import converted, in_memory
from cornu.inference.compiled import compiled
from cornu.models import graph_config, host_part
from cornu.models.graph import Graph
from cornu.models.inputs import leaves_and_none, standardized
from cornu.models.slicing import begun_at_inputs
from cornu.models.state_tree import get_state_tree, set_state_tree
from cornu.models.summary import print_summary
from cornu.quantizers.configs import resolve
from cornu.saving import load_weights, save_model, save_weights
from cornu.saving.export import export
from cornu.training.buckets import examples_are_alone
from cornu.training.model_steps import compiled_step
from cornu.training.trainer import Trainer


@registry.register("layer", "Model", "Functional", module="keras.models")
class Model(Trainer):
    """Layers that are trained, saved and summarized together.

    Args:
        inputs: a symbolic tensor from `Input`, or a list or dict of them.
        outputs: the symbolic tensors computed from them.
        name: default: `functional`, or the class' name in snake case.

    There are three ways to make one: `Model(inputs, outputs)` from a graph of symbolic tensors,
    `Sequential` from a list of layers, and a subclass with layers made in `__init__` and used in
    `call(self, inputs, training=None)`.

    In a graph, a call's own `training` holds in every mode: `backbone(x, training=False)` runs as in
    inference in `fit`, too. (Keras 3.15 replaces it by the mode of the model.)

    Source: Keras: The Model class.

    >>> import cornu
    >>> inputs = cornu.Input((8, 8, 1))
    >>> x = cornu.layers.Conv2D(3, 3, activation="relu", padding="same")(inputs)
    >>> outputs = cornu.layers.Dense(3)(cornu.layers.Flatten()(x))
    >>> model = cornu.Model(inputs, outputs)
    >>> model.output_shape, model.count_params()
    ((None, 3), 609)
    """

    # For those who take any object and cannot know this class.
    _is_model = True
    _builds_on_call = True
    _own_input_spec = None

    def __init__(self, inputs=None, outputs=None, *, name=None, **kwargs):
        if (inputs is None) != (outputs is None):
            raise ValueError(
                "A model made from a graph needs both `inputs` and `outputs`. Received: "
                f"inputs={inputs}, outputs={outputs}"
            )
        if name is None and inputs is not None and type(self) is Model:
            name = auto_name("functional")
        super().__init__(name=name, **kwargs)
        if inputs is not None:
            self._set_graph(inputs, outputs)

    def _set_graph(self, inputs, outputs) -> None:
        self._graph = begun_at_inputs(Graph(inputs, outputs))
        self._host_part = host_part.host_part(self._graph)
        names = [layer.name for layer in self._graph.operations]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"The name '{name}' is used {names.count(name)} times in the model. All "
                    "operation names should be unique."
                )
        self._operations = self._graph.operations
        # Variables in the graph itself, as in `x * variable`.
        self._constants = [v for node in self._graph.steps for v in node.variables]
        self.built = True

    # ---- the graph

    @property
    def layers(self) -> list[Layer]:
        """The layers directly in this model."""
        return self._sublayers()

    @layers.setter
    def layers(self, value):
        raise AttributeError(
            "`Model.layers` attribute is reserved: it lists the layers of the model. Give the attribute "
            "another name."
        )

    @property
    def operations(self) -> list:
        """What the graph calls: its layers, and functions."""
        return self._need_graph("operations").operations

    @property
    def _saved_layers(self) -> list[Layer] | None:
        """The layers as files list them, if they form one list."""
        return None if self._graph is None else self.layers

    @property
    def _shown_layers(self) -> list:
        """What a table of the model lists: functions in its graph, too."""
        return self.layers if self._graph is None else self._graph.operations

    @property
    def _is_chain(self) -> bool:
        """Whether each layer passes its one output to the next, so that the connections need no column."""
        return self._graph is None or self._graph.is_chain

    @property
    def _shown_class(self) -> str:
        """The class' name, or that of Keras' class if there is more than one there."""
        functional = type(self) is Model and self._graph is not None
        return "Functional" if functional else type(self).__name__

    def get_layer(self, name=None, index=None) -> Layer:
        """The layer of that name, or at that index in `layers`.

        Raises ValueError with the nearest names if there is none.
        """
        if (name is None) == (index is None):
            raise ValueError("Provide either a layer name or layer index at `get_layer`.")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has "
                    f"{len(self.layers)} layers."
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(
            f"No such layer: {name}. Existing layers are: {[layer.name for layer in self.layers]}."
        )

    def _need_graph(self, what: str) -> Graph:
        if self._graph is None:
            raise AttributeError(
                f"Model '{self.name}' has no `{what}` because it is not made from symbolic tensors"
                + (
                    " yet: build it with an `Input`, or call it on data first."
                    if type(self).call is Model.call or not self.built
                    else "; it is a subclass that overrides `call`."
                )
            )
        return self._graph

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs, as a flat list."""
        return self._need_graph("inputs").flat_inputs

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs, as a flat list."""
        return self._need_graph("outputs").flat_outputs

    @property
    def input(self):
        """The symbolic input, or the structure of them."""
        return self._need_graph("input").inputs

    @property
    def output(self):
        """The symbolic output, or the structure of them."""
        return self._need_graph("output").outputs

    @property
    def input_shape(self):
        """The shape of the input, or the structure of them."""
        return jax.tree.map(lambda t: t.shape, self.input)

    @property
    def output_shape(self):
        """The shape of the output, or the structure of them."""
        return jax.tree.map(lambda t: t.shape, _alone(self.output))

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs: the keys if data are given as a dict."""
        return [node_of(t).operation.name for t in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs: those of the layers that they come from."""
        if self._graph is None:
            return self._output_names_of_call
        return [node_of(t).operation.name for t in self.outputs]

    @property
    def input_spec(self):
        """What the inputs have to look like."""
        return self._own_input_spec

    @input_spec.setter
    def input_spec(self, value):
        self._own_input_spec = value

    # ---- calls

    def call(self, inputs, training=None, mask=None):
        if self._graph is None:
            raise NotImplementedError(
                f"Model {type(self).__name__} does not have a `call()` method implemented, and it "
                "was not made from `inputs` and `outputs` either."
            )

        if host_part.is_prepared(inputs):
            return _alone(self._graph.run_from(self._host_part.known(inputs)))
        flat = standardized(self, inputs)
        masks = [None] * len(flat)
        if mask is not None:
            masks = leaves_and_none(mask)
            if len(masks) != len(flat):
                raise ValueError(
                    f"Model '{self.name}' has {len(flat)} input(s), but `mask` has {len(masks)} "
                    "entries. Pass one mask, or None, for each input."
                )
        with masking.masked(flat, masks):
            return _alone(self._graph.run(flat))

    # Whether the sizes of the input are only those of the first data, and its layers may take others.
    _takes_other_sizes = False

    # What of the graph runs before the compiled step.
    _host_part: Any = None
    _takes_text = True

    def _to_tensors(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if self._host_part is not None and args:
            args = (host_part.text_arrays(args[0], self._graph.inputs), *args[1:])
        return super()._to_tensors(args, kwargs)

    def _on_host(self, x, trains=False):
        return host_part.prepared(self, x, standardized, trains)

    def compute_output_spec(self, *args, **kwargs):
        if self._host_part is not None:
            # Text has no stand-in that could be traced.
            return jax.tree.map(lambda t: KerasTensor(t.shape, dtype=t.dtype), self.output)
        return super().compute_output_spec(*args, **kwargs)

    def _pass_mask_on(self, arguments, previous, outputs):
        # In a graph its layers have done so.
        if self._graph is None:
            super()._pass_mask_on(arguments, previous, outputs)

    def build(self, input_shape=None):
        """Make all weights for inputs of this shape (with the batch; None for any size)."""
        if self._graph is not None:
            return
        if input_shape is None:
            raise ValueError(
                f"Model '{self.name}' needs an input shape to be built: call `build((None, …))`, or "
                "call it on data."
            )
        self._build_by_call(_symbols(input_shape))

    def _is_built_by_call(self) -> bool:
        """Whether the state comes into being while `call` runs: a subclass without a `build`."""
        return self._graph is None and type(self).build is Model.build

    def _build_by_call(self, *args, **kwargs) -> None:
        """Make all weights by calling the model on symbolic tensors, without computing anything."""
        with self._made_by_call(*args, **kwargs):
            infer_outputs(self, args, kwargs)

    @contextlib.contextmanager
    def _made_by_call(self, *args, **kwargs) -> Iterator[None]:
        """Within, a call on stand-ins for these symbolic tensors creates the weights."""
        try:
            yield
        except Exception:
            self._built = not self._is_built_by_call()
            raise
        # Within the call, unknown sizes had trial values.
        self._remember_inputs(bind_call(self, args, kwargs))

    def _remember_inputs(self, arguments: dict) -> None:
        self._built_shapes = shapes_of(arguments)
        self._built_dtypes = {
            name: jax.tree.map(lambda t: standardize_dtype(t.dtype), arguments[name])
            for name in self._built_shapes
        }

    def _maybe_build(self, arguments):
        if not self._is_built_by_call():
            super()._maybe_build(arguments)
            return
        if not self._built or "_built_shapes" not in self.__dict__:
            self.built = True
            self._remember_inputs(arguments)

    def get_build_config(self) -> dict | None:
        config = super().get_build_config()
        dtypes = [jax.tree.leaves(d) for d in self.__dict__.get("_built_dtypes", {}).values()]
        if config and not all(is_float(dtype) for each in dtypes for dtype in each):
            # Only what Keras would not guess.
            config["dtypes"] = dtypes
        return config

    def build_from_config(self, config: dict) -> None:
        if self.built or not config:
            return
        try:
            if type(self).build is not Model.build:
                super().build_from_config({k: v for k, v in config.items() if k != "dtypes"})
            if not all(layer.built for layer in self._flatten_layers()):
                self._build_by_call_on(config)
        except Exception as error:
            warnings.warn(
                f"The model '{self.name}' could not be built as it was saved ({type(error).__name__}: "
                f"{error}). Override `get_build_config()` and `build_from_config(config)` to make its "
                "weights before they are loaded.",
                stacklevel=2,
            )

    def _build_by_call_on(self, config: dict) -> None:
        if "input_shape" in config:
            shapes, names = [config["input_shape"]], []
        else:
            shapes, names = config["shapes_dict"].values(), list(config["shapes_dict"])
        dtypes = config.get("dtypes") or [None] * len(shapes)
        inputs = [_symbols(tuples(s), d) for s, d in zip(shapes, dtypes, strict=True)]
        names = [name.removesuffix("_shape") for name in names]
        self._build_by_call(*inputs[len(names) :], **dict(zip(names, inputs, strict=False)))

    # ---- looking at it

    def _repr_html_(self) -> str:
        lines: list[str] = []
        self.summary(line_length=100, print_fn=lines.append)
        return as_text("\n".join(lines).rstrip())

    def summary(
        self,
        line_length=None,
        positions=None,
        print_fn=None,
        expand_nested=False,
        show_trainable=False,
        layer_range=None,
        explain=False,
    ):
        """Print a table of the layers: output shapes and parameter counts, and their totals.

        Args:
            line_length: width of the table in characters.
            positions: where columns end, as fractions of the width.
            print_fn: called with the text instead of printing it.
            expand_nested: whether to list the layers of models within the model.
            show_trainable: whether to say which layers may change in training.
            layer_range: two names (or regular expressions): list only the layers between them.
            explain: whether to print also the formulas behind these figures, with multiply-adds
                and memory; see `explain.arithmetic`.
        """
        return print_summary(
            self,
            line_length=line_length,
            positions=positions,
            print_fn=print_fn,
            expand_nested=expand_nested,
            show_trainable=show_trainable,
            layer_range=layer_range,
            explain=explain,
        )

    def _draw(self, to_file, **options):
        """Draw the model for `utils.plot_model`, which may not import drawings."""
        from cornu.visualize import plot_model

        return plot_model(self, to_file, **options)

    def _to_dot(self, **options):
        """The model for `utils.model_to_dot`."""
        from cornu.visualize.model_dot import model_to_dot

        return model_to_dot(self, **options)

    # ---- quantization

    def get_quantization_layer_structure(self, mode=None):
        """The blocks of the model, for methods that calibrate one after the other; None by default."""
        return None

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """Quantize the weights of all layers that can be quantized, and warn of the others with weights.

        Args:
            mode: `"int8"`, `"int4"` or `"float8"`.
            config: a `quantizers.QuantizationConfig` with more to say than a mode.
            filters: a regular expression, or several, searched in the names of layers, or a function of
                a layer that says whether to quantize it.
            type_check: by keyword only, whether to leave out subclasses of the layers that can be.

        Integers cannot be trained; `enable_lora` of a layer has something to train beside them.

        Source: Keras: Model.quantize.

        >>> import cornu
        >>> model = cornu.Sequential([cornu.Input((8,)), cornu.layers.Dense(4, name="first")])
        >>> model.quantize("int8", filters="fir")
        >>> model.layers[0].quantization_mode
        'int8'
        """
        if filters is not None and not (
            isinstance(filters, str | list | tuple) or callable(filters)
        ):
            raise ValueError(
                "The `filters` argument must be a regex string, a list of regex strings, or a callable. "
                f"Received: {type(filters)}"
            )
        mode = resolve(mode, config).mode
        type_check = kwargs.pop("type_check", True)
        if kwargs:
            raise ValueError(
                f"Unrecognized keyword arguments passed to {type(self).__name__}.quantize: {kwargs}"
            )
        for layer in self._flatten_layers():
            if layer._sublayers() or layer is self or not _is_wanted(layer, filters):
                continue
            try:
                layer.quantize(mode, type_check=type_check, config=config)
            except NotImplementedError as error:
                if layer.weights:
                    warnings.warn(str(error), stacklevel=2)
        self._functions.clear()

    # ---- what it holds

    def get_state_tree(self, value_format="backend_tensor"):
        """The values of all variables as nested dicts, by their paths.

        Args:
            value_format: `"backend_tensor"` for arrays of JAX, `"numpy_array"` for copies in NumPy.

        Returns:
            a dict with the keys `trainable_variables`, `non_trainable_variables`, `optimizer_variables`
            and `metrics_variables`.

        Raises ValueError if two variables have one path.

        >>> import cornu
        >>> model = cornu.Sequential([cornu.Input((2,)), cornu.layers.Dense(1, name="d")], name="m")
        >>> model.get_state_tree("numpy_array")["trainable_variables"]["m"]["d"]["bias"]
        array([0.], dtype=float32)
        """
        return get_state_tree(self, value_format)

    def set_state_tree(self, state_tree):
        """Assign values to variables, as `get_state_tree` returns them; what is left out stays.

        Raises ValueError, and changes nothing, for a path that the model does not have, or a wrong shape.
        """
        set_state_tree(self, state_tree)

    # ---- files

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Write the whole model to a `.keras` file; see `cornu.saving.save_model`."""
        return save_model(self, filepath, overwrite=overwrite, zipped=zipped, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Write the weights to a `.weights.h5` or `.safetensors` file; see `cornu.saving.save_weights`."""
        return save_weights(self, filepath, overwrite, max_shard_size)

    def load_weights(self, filepath, skip_mismatch=False, **kwargs):
        """Read weights from a file into the model; see `cornu.saving.load_weights`."""
        return load_weights(self, filepath, skip_mismatch=skip_mismatch, **kwargs)

    def export(self, filepath, format=None, verbose=None, input_signature=None, batch_size=None):
        """Write a program that predicts without Cornu; see `cornu.saving.export`.

        With `verbose` it prints where. `input_signature` is refused: shapes and dtypes are those of the
        model's inputs, and `batch_size` fixes the number of examples.
        """
        if input_signature is not None:
            raise ValueError(
                "`input_signature` is not supported: inputs are the model's own. Use `batch_size` for a "
                "fixed number of examples, or make a model with other inputs."
            )
        if self._host_part is not None:
            first = self._host_part.nodes[0].operation.name
            raise ValueError(
                f"Model '{self.name}' cannot be exported: '{first}' runs on the host, before the compiled "
                "program. Make a model that begins behind it, export that, and prepare the data with the "
                "layer itself."
            )
        export(self, filepath, format=format, batch_size=batch_size)
        if verbose:
            print(f"Saved {filepath}")

    def compile_inference(
        self, batch_sizes=(1,), precision="float32", x=None, validation=None, verbose=1
    ):
        """The prediction as a small object for few examples: no tracing, no XLA, no lock held.

        In fewer bits, convolutions and dense layers of eight outputs or more are computed so, but not
        depthwise ones; everything else stays float32.

        - `"bfloat16"`: weights, and the numbers that they meet, are rounded to 16 bits; their products are
          added up in float32, where the processor can by its instruction for that (AVX512-BF16).
        - `"int8"`: weights are `scale * w` with `w` from -127 to 127 and a scale for each output channel;
          the numbers that they meet are `step * (q - zero)` with `q` from 0 to 255, step and zero being
          those with the least mean square error over `x`. Sums are integers, so that all processors give
          the same bits. Numbers beyond what `x` has shown are cut off, infinity too; an example with NaN
          has NaN results. Fast with VNNI; without, it saves memory.

        Args:
            batch_sizes: numbers of examples to make programs for. They share one copy of the weights. A
                model with code of yours, which may look at several examples at once, takes no others.
            precision: `"float32"`, `"bfloat16"` or `"int8"`.
            x: an example of a batch, for a model that was not told its inputs' shapes. Its dtype, float32
                or uint8, is the one that is compiled for. For `"int8"`, data to calibrate with, some
                hundred examples: arrays, or anything else that `predict` takes and that ends.
            validation: data on which the loss is measured, those of `x` by default: `(x, y)`, whose `y`
                are classes or one-hot vectors, inputs alone, or anything that yields batches of either.
            verbose: 0 to print nothing of what fewer bits lose. It is kept as `loss`, too.

        Returns:
            A `cornu.inference.CompiledInference`, which can be called, saved, and used by several threads.

        Raises ValueError if the model needs an operation that native kernels lack, which it names, for
        `"int8"` without data, and for data with which it computes what is not finite; RuntimeError where
        the kernels are not in use.

        Source: Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference".

        >>> import cornu, numpy as np
        >>> model = cornu.Sequential([cornu.Input((8, 8, 1)), cornu.layers.Conv2D(8, 3)])
        >>> model.compile_inference()(np.zeros((1, 8, 8, 1), "float32")).shape
        (1, 6, 6, 8)
        >>> images = np.random.default_rng(0).random((20, 8, 8, 1), "float32")
        >>> small = model.compile_inference(precision="int8", x=images, verbose=0)
        >>> small.loss.largest_difference < 0.05
        True
        """
        # Data may be anything that yields batches: only arrays say what they are like.
        shown = converted(x)[0] if x is not None and in_memory(x) else None
        like = x if x is not None and precision != "int8" else shown
        if like is None and self._graph is not None:
            like = self._graph.inputs
        if self._host_part is not None or like is None:
            why = "reads text" if self._host_part is not None else "does not know its input's shape"
            how = (
                "begins behind that"
                if self._host_part is not None
                else "is built, and x=, a batch of it"
            )
            raise ValueError(f"Model '{self.name}' {why}: compile one that {how}.")
        for leaf in jax.tree.leaves(like):
            if not hasattr(leaf, "shape"):
                raise ValueError(
                    f"`x` must be an array, or arrays. Received: {type(leaf).__name__}"
                )
            if None in tuple(leaf.shape)[1:]:
                raise ValueError(
                    f"Model '{self.name}' takes inputs of several sizes, {tuple(leaf.shape)}. Give `x`, a "
                    "batch of the size to compile for."
                )

        def trace(size):
            def empty(a):
                # Data to calibrate with are as the user has them.
                dtype = a.dtype if precision != "int8" or a.dtype == np.uint8 else np.float32
                return np.zeros((size, *a.shape[1:]), dtype)

            batch = jax.tree.map(empty, like)
            # Of several arrays, a step takes the first for the inputs.
            data = (batch,) if isinstance(batch, list | tuple) else batch
            return *compiled_step(self, "predict").traced(data), batch

        alone = examples_are_alone(self)
        return compiled(trace, batch_sizes, precision, alone, x, validation, verbose)

    def to_json(self, **kwargs) -> str:
        """The model's configuration, without weights, as JSON; see `models.model_from_json`."""
        return json.dumps(registry.serialize(self), **kwargs)

    def get_config(self) -> dict:
        if self._graph is not None and not has_own_constructor(type(self)):
            return graph_config.describe(self)
        return super().get_config()

    def _config_names(self) -> list[str]:
        return [n for n in super()._config_names() if n not in ("inputs", "outputs")]

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Make a model from what `get_config()` returned."""
        with registry.custom_object_scope(custom_objects):
            if "input_layers" in config and "layers" in config:
                name, inputs, outputs = graph_config.rebuild(config)
                if has_own_constructor(cls):
                    cls = Model
                more = {} if cls is Model else graph_config.arguments_of_a_subclass(config)
                trainable = config.get("trainable", True)
                return cls(inputs, outputs, name=name, trainable=trainable, **more)
            return super().from_config(config)


def _alone(outputs):
    """The only output, where a model was given it in a list, as Keras returns it."""
    return outputs[0] if isinstance(outputs, list | tuple) and len(outputs) == 1 else outputs


def _is_wanted(layer, filters) -> bool:
    """Whether the filters of `quantize` let a layer through."""
    if filters is None:
        return True
    if callable(filters):
        return bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    return any(re.search(pattern, layer.name) for pattern in patterns)


def _symbols(shapes, dtypes=None):
    """Symbolic tensors of a structure of shapes; `dtypes` are those of its leaves."""
    leaves, structure = jax.tree.flatten(shapes, is_leaf=is_shape)
    dtypes = dtypes or [None] * len(leaves)
    return jax.tree.unflatten(
        structure,
        [KerasTensor(shape, dtype=dtype) for shape, dtype in zip(leaves, dtypes, strict=True)],
    )


def has_own_constructor(cls: Any) -> bool:
    """Whether the constructor takes something else than a graph's inputs and outputs."""
    own = inspect.signature(cls.__init__).parameters
    takes_all = {p.kind for p in own.values()} >= {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }
    return cls is not Model and not takes_all and not {"inputs", "outputs"} <= set(own)
