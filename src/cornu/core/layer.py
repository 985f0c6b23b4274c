"""`Layer`: weights, and the computation that uses them."""

import functools
import inspect
import threading
import warnings
from typing import Any

import jax
import numpy as np

from cornu.core import blame, masking, naming, registry, tracking
from cornu.core import variable as variables_module
from cornu.core.configurable import (
    Configurable,
    constructor_parameters,
    described_class,
    once_per_class,
    takes_anything,
)
from cornu.core.dtype import as_array, get_dtype_policy, is_discrete, is_float, standardize_dtype
from cornu.core.dtype import autocast as _autocast
from cornu.core.input_spec import check_inputs
from cornu.core.random import SeedGenerator
from cornu.core.symbolic import (
    KerasTensor,
    Node,
    Operation,
    any_symbolic,
    infer_outputs,
    known_sizes,
)
from cornu.core.tracking import Tracked, unique
from cornu.core.variable import Variable, functional
from cornu.core.watching import seen


class _Call(threading.local):
    """What the outermost running call hands down to the layers that it calls."""

    layer: "Layer | None" = None
    training: bool | None = None


_call = _Call()


def running_layer() -> "Layer | None":
    """The outermost layer, a model perhaps, whose call is running in this thread."""
    return _call.layer


class Layer(Operation, Configurable, Tracked):
    """A computation with weights: the building block of models.

    Args:
        activity_regularizer: called on each output; its result, divided by the batch's size, is
            added to the loss.
        trainable: whether an optimizer may change the weights.
        dtype: a format, or a `DTypePolicy` or its name, such as `"mixed_bfloat16"`: which format to
            compute in and which to keep weights in. Default: `config.dtype_policy()`.
        autocast: whether floating-point inputs are converted to the compute format.
        name: default: the class' name in snake case, with a number after the first.

    A subclass makes its weights in `build(input_shape)` (or `__init__`) with `add_weight` and
    computes in `call(inputs)`. `call` may take `training` and `mask`. Shapes and dtypes of outputs
    are inferred by tracing `call`, unless `compute_output_shape` is overridden.

    Source: Keras: Layer.

    >>> import cornu, jax.numpy as jnp
    >>> class Scale(cornu.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones")
    ...     def call(self, inputs):
    ...         return inputs * self.scale
    >>> layer = Scale()
    >>> layer(jnp.ones((1, 3))).tolist(), layer.count_params()
    ([[1.0, 1.0, 1.0]], 3)
    """

    def __init__(
        self,
        *,
        activity_regularizer=None,
        trainable=True,
        dtype=None,
        autocast=True,
        name=None,
        **kwargs,
    ):
        self._take_input_shape(kwargs)
        if kwargs:
            raise ValueError(
                f"Unrecognized keyword arguments passed to {type(self).__name__}: {kwargs}. "
                f"Known arguments: {', '.join(constructor_parameters(type(self)))}."
            )
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(
                f"Argument `name` must be a string and cannot contain character `/`. Received: {name!r}"
            )
        self.name = name or naming.auto_name(type(self).__name__)
        self._init_graph()
        self.activity_regularizer = registry.get("regularizer", activity_regularizer)
        self.dtype_policy = get_dtype_policy(dtype)
        self.autocast = autocast
        self.input_spec = None
        self.supports_masking = type(self).compute_mask is not Layer.compute_mask
        self._trainable = bool(trainable)
        self._variables: list[Variable] = []
        self._losses: list[Any] = []
        self._built = False

    def _take_input_shape(self, kwargs: dict) -> None:
        """The old way to say what a Sequential model takes: `input_shape=` on its first layer."""
        batch_size = kwargs.pop("batch_size", None)
        shape = None
        if "input_shape" in kwargs:
            shape = (batch_size, *_as_tuple(kwargs.pop("input_shape")))
        elif "input_dim" in kwargs:
            shape = (batch_size, kwargs.pop("input_dim"))
        for old in ("batch_input_shape", "batch_shape"):
            if old in kwargs:
                shape = tuple(kwargs.pop(old))
        if shape is not None:
            self._declared_input_shape = shape
            warnings.warn(
                "Do not pass an `input_shape`/`input_dim` argument to a layer. When using "
                "Sequential models, prefer using an `Input(shape)` object as the first layer in "
                "the model instead.",
                stacklevel=4,
            )

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _with_scope(cls.__dict__["build"])

    @property
    def built(self) -> bool:
        """Whether all weights exist. True from the start for a layer that has no `build`."""
        if self.__dict__.get("_built"):
            return True
        if type(self).build is not Layer.build or type(self)._builds_on_call:
            return False
        return all(layer.built for layer in self._sublayers())

    @built.setter
    def built(self, value: bool):
        self._built = bool(value)
        if value and self.path is None:
            with naming.name_scope(self.name, owner=self):
                self._path = naming.current_path()

    # A layer whose state may come into being only while `call` runs (a subclassed model).
    _builds_on_call = False

    # A layer that calculates with its inputs, and does not only move, choose or look them up, wants
    # integers and booleans as floats: a mean of bytes has a fraction, and their sum does not fit a byte.
    _calculates = False

    def build(self, input_shape=None):
        """Make the weights for inputs of this shape. Override it; it runs before the first call."""

    def call(self, *args, **kwargs):
        """The computation. Override it."""
        raise NotImplementedError(
            f"Layer {type(self).__name__} does not have a `call()` method implemented."
        )

    # ---- weights

    def add_weight(
        self,
        shape=None,
        initializer=None,
        dtype=None,
        trainable=True,
        autocast=True,
        regularizer=None,
        constraint=None,
        aggregation="none",
        overwrite_with_gradient=False,
        name=None,
    ) -> Variable:
        """Make a weight that belongs to this layer.

        Args:
            shape: sizes; () for a scalar.
            initializer: name, object or callable; default Glorot uniform, zeros for integers.
            dtype: default: the policy's variable format.
            trainable: whether an optimizer may change it.
            autocast: whether mixed precision reads it in the compute format.
            regularizer, constraint: names or callables.
            name: last part of its path.
        """
        self._check_initialized()
        dtype = standardize_dtype(dtype or self.variable_dtype)
        if initializer is None:
            initializer = "glorot_uniform" if is_float(dtype) else "zeros"
        initializer = registry.get("initializer", initializer)
        with naming.name_scope(self.name, owner=self):
            weight = Variable(
                initializer,
                shape=_as_tuple(shape if shape is not None else ()),
                dtype=dtype,
                trainable=trainable,
                autocast=autocast,
                aggregation=aggregation,
                name=name or "variable",
            )
        weight.regularizer = registry.get("regularizer", regularizer)
        weight.constraint = registry.get("constraint", constraint)
        weight.overwrite_with_gradient = overwrite_with_gradient
        weight.trainable = weight.trainable and self._trainable
        self._variables.append(weight)
        return weight

    @property
    def path(self) -> str | None:
        """The names of the layers around this one when it was built, and its own, joined by `/`."""
        return self.__dict__.get("_path")

    def quantize(self, mode=None, **kwargs):
        """Always raises NotImplementedError: Cornu computes in floats."""
        raise NotImplementedError(
            f"Layer '{self.name}' cannot be quantized: Cornu has no integer arithmetic for layers. "
            'Export the model with model.export("model.onnx", format="onnx") and quantize it in ONNX '
            'Runtime, or use dtype="mixed_bfloat16" for smaller and faster layers.'
        )

    # Attributes whose values are no part of the layer.
    _not_members: frozenset[str] = frozenset(
        {"_constructor_arguments", "_inbound_nodes", "_outbound_nodes", "_losses", "_walk"}
    )

    def _structure(self) -> tracking.Walk:
        """The same object until an attribute of this layer, or of a layer in it, is another.

        To search a model for its variables takes a millisecond, to see that nothing has changed
        much less: who needs the variables often keeps them as long as this stays the same.
        """
        # A list, so that the attribute itself stays the same.
        held = self.__dict__.setdefault("_walk", [None])
        if held[0] is None or not held[0].is_current():
            held[0] = tracking.Walk(self)
        return held[0]

    def _parts(self) -> list[Any]:
        """Layers, variables, seed generators and metrics kept in attributes, in order."""
        return tracking.parts(self.__dict__, self._not_members)

    def _sublayers(self) -> list["Layer"]:
        return unique(m for m in self._parts() if isinstance(m, Layer) and m is not self)

    def _flatten_layers(self) -> list["Layer"]:
        """This layer and all layers below it, each once, parents first."""
        found: dict[int, Layer] = {}

        def visit(layer):
            if id(layer) not in found:
                found[id(layer)] = layer
                for sublayer in layer._sublayers():
                    visit(sublayer)

        visit(self)
        return list(found.values())

    def _own_weights(self) -> list[Variable]:
        own = unique(m for m in self._parts() if isinstance(m, Variable))
        return [v for v in own if v.trainable] + [v for v in own if not v.trainable]

    @property
    def weights(self) -> list[Variable]:
        """All weights of this layer and the layers in it, each once."""
        return unique(w for layer in self._flatten_layers() for w in layer._own_weights())

    @property
    def variables(self) -> list[Variable]:
        """All weights, and the states of seed generators; those of metrics are `metrics_variables`."""
        return unique(v for layer in self._flatten_layers() for v in layer._own_variables())

    def _own_variables(self) -> list[Variable]:
        seeds = [m.state for m in self._parts() if isinstance(m, SeedGenerator)]
        return self._own_weights() + seeds

    def _own_metrics(self) -> list:
        return unique(
            m for m in self._parts() if hasattr(m, "update_state") and hasattr(m, "variables")
        )

    @property
    def metrics(self) -> list:
        """The metrics kept as attributes of this layer and the layers in it."""
        return unique(m for layer in self._flatten_layers() for m in layer._own_metrics())

    @property
    def metrics_variables(self) -> list[Variable]:
        """The variables of all metrics."""
        return unique(v for metric in self.metrics for v in metric.variables)

    def _trainable_ids(self) -> set[int]:
        ids: set[int] = set()

        seen: set[int] = set()

        def visit(layer):
            if layer._trainable and id(layer) not in seen:
                seen.add(id(layer))
                ids.update(id(w) for w in layer._own_weights() if w.trainable)
                for sublayer in layer._sublayers():
                    visit(sublayer)

        visit(self)
        return ids

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that an optimizer may change."""
        ids = self._trainable_ids()
        return [w for w in self.weights if id(w) in ids]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that no optimizer changes: frozen ones, and statistics."""
        ids = self._trainable_ids()
        return [w for w in self.weights if id(w) not in ids]

    @property
    def trainable_variables(self) -> list[Variable]:
        """The same as `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """`variables` without the trainable ones."""
        ids = self._trainable_ids()
        return [v for v in self.variables if id(v) not in ids]

    @property
    def trainable(self) -> bool:
        """Whether weights may change in training; setting it sets all layers within as well."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool):
        for layer in self._flatten_layers():
            layer._trainable = bool(value)
            for weight in layer._own_weights():
                if weight.was_made_trainable:
                    weight.trainable = bool(value)

    def count_params(self) -> int:
        """Number of elements in all weights."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't "
                f"built. You can build it manually via: `layer.build(input_shape)`."
            )
        return sum(w.size for w in self.weights)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, in the order of `weights`."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights) -> None:
        """Set all weights from a list of arrays in the order of `weights`.

        Raises ValueError, and changes nothing, if the number or a shape does not fit.
        """
        own = self.weights
        weights = list(weights)
        if len(own) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of "
                f"length {len(weights)}, but the layer was expecting {len(own)} weights"
                + (": " + ", ".join(f"{w.path} {w.shape}" for w in own) if own else "")
                + ("." if self.built else " (it is not built yet: call it, or `build`, first).")
            )
        for variable, value in zip(own, weights, strict=True):
            if tuple(np.shape(value)) != variable.shape:
                raise ValueError(
                    f"Layer {self.name} weight shape {variable.shape} is not compatible with "
                    f"provided weight shape {np.shape(value)} (for {variable.path})."
                )
        for variable, value in zip(own, weights, strict=True):
            variable.assign(value)

    def save_own_variables(self, store) -> None:
        """Put this layer's own weights (not those of layers in it) into a dict-like store."""
        for i, weight in enumerate(self._own_weights()):
            store[str(i)] = weight.numpy()

    def load_own_variables(self, store) -> None:
        """Take this layer's own weights from a dict-like store."""
        own = self._own_weights()
        if len(store.keys()) != len(own):
            raise ValueError(
                f"Layer '{self.name}' expected {len(own)} variables"
                + ("" if self.built else ", because it was never built,")
                + f" but received {len(store.keys())} variables during loading. "
                f"Expected: {[w.path for w in own]}"
            )
        for i, weight in enumerate(own):
            weight.assign(np.asarray(store[str(i)]))

    # ---- formats

    @property
    def dtype(self) -> str:
        """The format that weights are kept in."""
        return self.variable_dtype

    @property
    def variable_dtype(self) -> str:
        """The format that weights are kept in."""
        return self.dtype_policy.variable_dtype

    @property
    def compute_dtype(self) -> str:
        """The format that the layer computes in."""
        return self.dtype_policy.compute_dtype

    @property
    def input_dtype(self) -> str:
        """The format that floating-point inputs are converted to."""
        return self.dtype_policy.compute_dtype

    # ---- calls

    def __call__(self, *args, **kwargs):
        self._check_initialized()
        caller = _call.layer
        asked = kwargs.get("training")
        training = self._resolve_training(kwargs)
        given = args, kwargs
        args, kwargs = self._to_tensors(args, kwargs)
        arguments = bind_call(self, args, kwargs)
        symbolic = any_symbolic(arguments)
        check_inputs(self.input_spec, next(iter(arguments.values()), None), self.name)
        previous = _call.layer, _call.training, _autocast.dtype
        _call.layer, _call.training = caller or self, training
        mixed = self.compute_dtype != self.variable_dtype
        try:
            with naming.name_scope(self.name, owner=self):
                # Weights are made in their own format, whatever the caller computes in.
                _autocast.dtype = None
                self._maybe_build(arguments)
                if self.path is None:
                    self._path = naming.current_path()
                # The sizes that a build finds out are checked at once.
                check_inputs(self.input_spec, next(iter(arguments.values()), None), self.name)
                _autocast.dtype = self.compute_dtype if mixed and self.autocast else None
                recorded = dict(kwargs)
                self._fill_masks(arguments, kwargs)
                previous_mask = self._previous_mask(arguments, kwargs)
                if symbolic:
                    outputs = self.compute_output_spec(*args, **kwargs)
                    if asked is not None:
                        recorded["training"] = asked
                    Node(self, *_with_variables(given, (args, recorded)), outputs)
                    self._pass_mask_on(arguments, previous_mask, outputs)
                    return outputs
                if caller is None:
                    self._clear_losses()
                if training is not None and _accepts(self, "training"):
                    kwargs["training"] = training
                outputs = self._watched_call(args, kwargs)
                if self.activity_regularizer is not None:
                    for output in jax.tree.leaves(outputs):
                        # A mean over the batch, so that its size does not change the weight.
                        size = max(np.shape(output)[0], 1) if np.ndim(output) else 1
                        self.add_loss(self.activity_regularizer(self._to_float(output)) / size)
        except Exception as error:
            self._say_where(error, arguments)
            raise
        finally:
            _call.layer, _call.training, _autocast.dtype = previous
        outputs = seen(self, given, arguments, outputs)
        self._pass_mask_on(arguments, previous_mask, outputs)
        return outputs

    def _watched_call(self, args: tuple, kwargs: dict):
        """`call`; where a user's is traced, it must not draw numbers that would be constants."""
        leaves = jax.tree.leaves(args) if _is_users(type(self)) else ()
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self.call(*args, **kwargs)

        def again():
            with variables_module.throwaway_scope():
                self.call(*args, **kwargs)

        return blame.watch_random(self, lambda: self.call(*args, **kwargs), again)

    def _say_where(self, error: Exception, arguments: dict) -> None:
        """Note in which layer, on which shapes and in which line something went wrong."""
        shapes = jax.tree.map(
            lambda t: known_sizes(t.shape) if hasattr(t, "shape") else t,
            arguments,
            is_leaf=_is_leaf,
        )
        shown = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
        blame.blame(error, f"the layer '{self.name}' ({type(self).__name__})", shown)

    def _resolve_training(self, kwargs: dict):
        training = kwargs.pop("training", None)
        if training is None:
            training = _call.training
        if training is None:
            training = _call_defaults(type(self)).get("training")
        return training

    def _to_tensors(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments of a call with arrays of any kind as JAX's, in the format for the layer."""
        args, kwargs = jax.tree.map(self._to_tensor, (args, kwargs), is_leaf=_is_leaf)
        if self._calculates:
            # The inputs are the first argument; masks and flags stay what they are.
            first = next(iter(_call_parameters(type(self))), None)
            if args:
                args = (jax.tree.map(self._to_float, args[0], is_leaf=_is_leaf), *args[1:])
            elif first in kwargs:
                inputs = jax.tree.map(self._to_float, kwargs[first], is_leaf=_is_leaf)
                kwargs = {**kwargs, first: inputs}
        return args, kwargs

    def _to_tensor(self, value):
        if isinstance(value, Variable):
            value = value.value
        if not isinstance(value, jax.Array | KerasTensor):
            if not hasattr(value, "__array__") or isinstance(value, str):
                return value
            value = as_array(value if isinstance(value, np.ndarray) else np.asarray(value))
        if self.autocast and is_float(value.dtype):
            return cast_tensor(value, self.input_dtype)
        return value

    def _to_float(self, value):
        if not isinstance(value, jax.Array | KerasTensor) or not is_discrete(value.dtype):
            return value
        return cast_tensor(value, self.compute_dtype if self.autocast else self.variable_dtype)

    def _maybe_build(self, arguments: dict) -> None:
        if self.built and "_built_shapes" in self.__dict__:
            return
        shapes = shapes_of(arguments)
        if self.built or type(self).build is Layer.build:
            # Nothing to build, but a summary wants to know the shapes.
            self._built_shapes = shapes
            return
        wanted = list(inspect.signature(self.build).parameters)
        if not wanted:
            self.build()
        elif len(wanted) == 1 and wanted[0].removesuffix("_shape") not in shapes:
            self.build(next(iter(shapes.values())) if shapes else None)
        else:
            names = [w.removesuffix("_shape") for w in wanted]
            if len(wanted) > 1 and not any(n in shapes for n in names):
                self.build(*list(shapes.values())[: len(wanted)])
            else:
                self.build(
                    **{w: shapes[n] for w, n in zip(wanted, names, strict=True) if n in shapes}
                )
        self._built_shapes = shapes

    def compute_output_spec(self, *args, **kwargs):
        """The symbolic outputs (shapes and dtypes) for symbolic inputs."""
        kwargs.pop("training", None)
        args, kwargs = self._to_tensors(args, kwargs)
        tensors = [t for t in jax.tree.leaves((args, kwargs)) if isinstance(t, KerasTensor)]
        closed_form = type(self).compute_output_shape is not Layer.compute_output_shape
        if (
            closed_form
            and len(args) == 1
            and all(_is_mask(name) for name in kwargs)
            and all(is_float(t.dtype) for t in tensors)
        ):
            shapes = jax.tree.map(lambda t: tuple(t.shape), args[0], is_leaf=_is_leaf)
            output = self.compute_output_shape(shapes)
            return jax.tree.map(
                lambda shape: KerasTensor(shape, dtype=self.compute_dtype),
                output,
                is_leaf=is_shape,
            )
        return infer_outputs(self._call_for_inference, args, kwargs)

    def _call_for_inference(self, *args, **kwargs):
        if _accepts(self, "training"):
            kwargs["training"] = bool(_call.training)
        return self.call(*args, **kwargs)

    def compute_output_shape(self, *args, **kwargs):
        """The shape of the output for an input shape (or a structure of shapes); None stays None."""
        shapes = jax.tree.map(
            lambda shape: KerasTensor(shape, dtype=self.input_dtype),
            (args, kwargs),
            is_leaf=is_shape,
        )
        args, kwargs = shapes
        kwargs = {name.removesuffix("_shape"): value for name, value in kwargs.items()}
        spec = infer_outputs(self._call_for_inference, args, kwargs)
        return jax.tree.map(lambda t: t.shape, spec, is_leaf=_is_leaf)

    def symbolic_call(self, *args, **kwargs):
        """The symbolic outputs of a call."""
        return self.compute_output_spec(*args, **kwargs)

    def stateless_call(
        self,
        trainable_variables,
        non_trainable_variables,
        *args,
        return_losses=False,
        **kwargs,
    ):
        """Call the layer as a pure function of its variables' values.

        Returns:
            `(outputs, non_trainable_variables)`, and a third entry, the list of losses, with
            `return_losses=True`.

        >>> import cornu, jax.numpy as jnp
        >>> layer = cornu.layers.Dense(2, kernel_initializer="ones")
        >>> layer.build((None, 3))
        >>> values = [v.value for v in layer.trainable_variables]
        >>> outputs, state = layer.stateless_call(values, [], jnp.ones((1, 3)))
        >>> outputs.tolist(), state
        ([[3.0, 3.0]], [])
        """
        trainable, others = self.trainable_variables, self.non_trainable_variables
        for given, own, what in (
            (trainable_variables, trainable, "trainable_variables"),
            (non_trainable_variables, others, "non_trainable_variables"),
        ):
            if len(given) != len(own):
                raise ValueError(
                    f"Argument `{what}` must be a list of values corresponding 1:1 to "
                    f"{type(self).__name__}().{what}. Received list with length {len(given)} "
                    f"(expected {len(own)} variables)"
                )

        def run():
            outputs = self(*args, **kwargs)
            return outputs, (self.losses if return_losses else None)

        # What a layer counts into its metrics is no result of the call.
        counted = unique(v for metric in self._structure().metrics for v in metric.variables)
        values = [*trainable_variables, *non_trainable_variables, *[v.value for v in counted]]
        (outputs, losses), new = functional(run, trainable + others + counted)(values)
        new_others = new[len(trainable) : len(trainable) + len(others)]
        return (outputs, new_others, losses) if return_losses else (outputs, new_others)

    # ---- losses

    def add_loss(self, loss) -> None:
        """Add a scalar, or several, to what training minimizes. Call it from within `call`."""
        scope = variables_module.current_scope()
        for value in jax.tree.leaves(loss):
            if scope is not None:
                scope.losses.append((self, value))
            else:
                self._losses.append(value)

    def _clear_losses(self) -> None:
        for layer in self._flatten_layers():
            if layer._losses:
                layer._losses.clear()
        scope = variables_module.current_scope()
        if scope is not None:
            mine = {id(layer) for layer in self._flatten_layers()}
            scope.losses[:] = [entry for entry in scope.losses if id(entry[0]) not in mine]

    @property
    def losses(self) -> list:
        """The scalars added by `add_loss` in the last call, and the weights' regularization."""
        layers = self._flatten_layers()
        scope = variables_module.current_scope()
        if scope is not None:
            mine = {id(layer) for layer in layers}
            added = [value for layer, value in scope.losses if id(layer) in mine]
        else:
            added = [value for layer in layers for value in layer._losses]
        penalties = [
            w.regularizer(w.value) for w in self.trainable_weights if w.regularizer is not None
        ]
        return added + penalties

    # ---- masks

    def compute_mask(self, inputs, previous_mask):
        """The mask of the output. The default hands the input's on."""
        return previous_mask

    def _fill_masks(self, arguments: dict, kwargs: dict) -> None:
        """Give the masks on the inputs to a `call` that asks for them.

        Of one input it is called `mask`; of several, that of `query`, say, is `query_mask`.
        """
        tensors = {name: value for name, value in arguments.items() if _holds_tensors(value)}
        for name, value in tensors.items():
            parameter = "mask" if len(tensors) == 1 else f"{name}_mask"
            if _accepts(self, parameter) and kwargs.get(parameter) is None:
                mask = _masks_on(value)
                if mask is not None:
                    kwargs[parameter] = mask

    def _previous_mask(self, arguments: dict, kwargs: dict):
        """The mask that `compute_mask` starts from: the one given, or that of the first input."""
        if kwargs.get("mask") is not None:
            return kwargs["mask"]
        return _masks_on(next(iter(arguments.values()), None))

    def _pass_mask_on(self, arguments: dict, previous, outputs) -> None:
        if not self.supports_masking:
            if previous is not None:
                warnings.warn(
                    f"Layer '{self.name}' (of type {type(self).__name__}) was passed an input with a "
                    "mask attached to it. However, this layer does not support masking and will "
                    "therefore destroy the mask information. Downstream layers will not see the mask."
                )
            return
        flat = [t for t in jax.tree.leaves(outputs) if isinstance(t, jax.Array | KerasTensor)]
        missing = [tensor for tensor in flat if masking.get_mask(tensor) is None]
        overridden = type(self).compute_mask is not Layer.compute_mask
        if not missing or not (overridden or previous is not None):
            return
        given = next(iter(arguments.values()), None), previous
        if overridden and any_symbolic(given, outputs):
            new = infer_outputs(self.compute_mask, given)
        else:
            new = self.compute_mask(*given)
        masks = jax.tree.leaves(new, is_leaf=lambda m: m is None)
        for tensor, mask in zip(flat, masks, strict=False):
            if mask is not None and masking.get_mask(tensor) is None:
                masking.set_mask(tensor, mask)

    # ---- configuration

    def _config_names(self) -> list[str]:
        cls = described_class(type(self))
        own = [n for n in constructor_parameters(cls) if n not in _base_parameters()]
        explicit = [n for n in ("activity_regularizer",) if self._states(n)]
        # A name that the constructor does not take is the constructor's own choice.
        name = ["name"] if _takes(cls, "name") else []
        return [*name, "trainable", *own, *explicit]

    def _states(self, name: str) -> bool:
        """Whether a base argument belongs into the configuration."""
        for cls in described_class(type(self)).__mro__:
            if cls is Layer:
                break
            init = cls.__dict__.get("__init__")
            if init is not None and name in inspect.signature(init).parameters:
                return True
        return getattr(self, name, None) is not None

    def get_config(self) -> dict:
        return {**super().get_config(), "dtype": registry.serialize(self.dtype_policy)}

    @classmethod
    def from_config(cls, config: dict):
        # What every layer has is set behind a constructor that does not take it.
        later = {n: config[n] for n in ("trainable", "dtype") if n in config and not _takes(cls, n)}
        layer = super().from_config({n: v for n, v in config.items() if n not in later})
        if not later.get("trainable", True):
            layer.trainable = False
        if "dtype" in later:
            layer.dtype_policy = get_dtype_policy(registry.deserialize(later["dtype"]))
        return layer

    def get_build_config(self) -> dict | None:
        """What the layer was built for, so that a loaded one can be built again; may be overridden."""
        shapes = self.__dict__.get("_build_arguments")
        if shapes is not None and not inspect.signature(self.build).parameters:
            return {"shapes_dict": {}}
        if not shapes:
            called = self.__dict__.get("_built_shapes")
            if not called:
                return None
            shapes = {f"{name}_shape": shape for name, shape in called.items()}
        if len(shapes) == 1:
            return {"input_shape": next(iter(shapes.values()))}
        return {"shapes_dict": shapes}

    def build_from_config(self, config: dict) -> None:
        """Build as `get_build_config` says; may be overridden."""
        if self.built or not config:
            return
        if "input_shape" in config:
            self.build(tuples(config["input_shape"]))
        else:
            shapes = config.get("shapes_dict", config)
            self.build(**{name: tuples(shape) for name, shape in shapes.items()})

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def _check_initialized(self):
        if "_built" not in self.__dict__:
            raise RuntimeError(
                f"In layer {type(self).__name__}, you forgot to call `super().__init__()` as the "
                "first statement in the `__init__()` method."
            )


def _with_scope(build):
    """Wrap a `build` method: weights made in it get the layer's path, and it marks itself done."""
    signature = inspect.signature(build)

    @functools.wraps(build)
    def wrapped(self, *args, **kwargs):
        self._check_initialized()
        with naming.name_scope(self.name, owner=self):
            result = build(self, *args, **kwargs)
        self.built = True
        given = signature.bind(self, *args, **kwargs).arguments
        self._build_arguments = {n: v for n, v in list(given.items())[1:] if v is not None}
        if args and not self.__dict__.get("_built_shapes"):
            self._built_shapes = {"input": args[0]}
        return result

    return wrapped


def _takes(cls: type, name: str) -> bool:
    return name in constructor_parameters(cls) or takes_anything(cls)


@once_per_class
def _is_users(cls: Any) -> bool:
    """Whether `call` is code of the user's."""
    return not cls.call.__module__.startswith("cornu.") or cls.__name__ == "Lambda"


@functools.cache
def _base_parameters() -> frozenset:
    return frozenset(constructor_parameters(Layer))


@once_per_class
def _call_parameters(cls: Any) -> dict[str, inspect.Parameter]:
    return dict(list(inspect.signature(cls.call).parameters.items())[1:])


@once_per_class
def _call_defaults(cls: Any) -> dict[str, Any]:
    return {
        name: p.default for name, p in _call_parameters(cls).items() if p.default is not p.empty
    }


def _accepts(layer: Layer, argument: str) -> bool:
    return argument in _call_parameters(type(layer))


def bind_call(layer: Layer, args: tuple, kwargs: dict) -> dict:
    """The arguments of a call by name. Masks and flags are not inputs."""
    parameters = _call_parameters(type(layer))
    positional = [
        n for n, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    bound = dict(zip(positional, args, strict=False))
    bound.update({f"arg{i}": a for i, a in enumerate(args[len(positional) :])})
    bound.update(kwargs)
    return {n: v for n, v in bound.items() if not _is_mask(n)}


def _is_mask(name: str) -> bool:
    return name == "mask" or name.endswith("_mask")


def _masks_on(value):
    """The masks on a tensor, or on a structure of them; None if there is none."""
    masks = jax.tree.map(masking.get_mask, value, is_leaf=_is_leaf)
    return masks if jax.tree.leaves(masks) else None


def _is_leaf(value) -> bool:
    return isinstance(value, KerasTensor | Variable)


def cast_tensor(value, dtype: str):
    """A tensor in another format, with its mask and its place in the graph."""
    if value.dtype == dtype:
        return value
    if isinstance(value, KerasTensor):
        cast: Any = KerasTensor(value.shape, dtype)
        cast._keras_history = value._keras_history
    else:
        cast = value.astype(dtype)
    mask = masking.get_mask(value)
    if mask is not None:
        masking.set_mask(cast, mask)
    return cast


def is_shape(value) -> bool:
    """Whether a value is one shape, and not a structure of several."""
    return isinstance(value, list | tuple) and all(
        size is None or isinstance(size, int | np.integer) for size in value
    )


def tuples(shape):
    """A shape, or a structure of shapes, that was read from a file: lists become tuples."""
    if is_shape(shape):
        return tuple(shape)
    if isinstance(shape, dict):
        return {key: tuples(s) for key, s in shape.items()}
    return [tuples(s) for s in shape] if isinstance(shape, list | tuple) else shape


def _as_tuple(shape) -> tuple:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def shapes_of(arguments: dict) -> dict:
    """The shapes of those arguments of a call that are tensors; None for a size that is only tried."""
    return {
        name: jax.tree.map(lambda t: known_sizes(t.shape), value, is_leaf=_is_leaf)
        for name, value in arguments.items()
        if _holds_tensors(value)
    }


def _with_variables(given: tuple, arguments: tuple) -> tuple:
    """The arguments of a call with the variables that were given, where they have those' values."""
    variables = [
        leaf for leaf in jax.tree.leaves(given, is_leaf=_is_leaf) if isinstance(leaf, Variable)
    ]
    if not variables:
        return arguments
    args, kwargs = given
    kwargs = {name: kwargs.get(name, value) for name, value in arguments[1].items()}
    return jax.tree.map(
        lambda own, value: own if isinstance(own, Variable) else value,
        (args, kwargs),
        arguments,
        is_leaf=_is_leaf,
    )


def _holds_tensors(value) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(isinstance(leaf, jax.Array | KerasTensor) for leaf in leaves)


registry.register("layer", "Layer", module="keras.layers")(Layer)
