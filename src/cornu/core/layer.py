"""`Layer`: weights, and the computation that uses them."""

import copy
import functools
import inspect
import warnings
from typing import Any

import jax
import numpy as np

from cornu.core import blame, building, mask_passing, memory, naming, placement, registry
from cornu.core import variable as variables_module
from cornu.core.call_arguments import (
    accepts,
    as_tuple,
    bind_call,
    call_defaults,
    call_parameters,
    cast_tensor,
    is_leaf,
    is_mask,
    is_shape,
    masks_by_name,
    with_variables,
)
from cornu.core.configurable import (
    constructor_parameters,
    described_class,
    once_per_class,
    takes_anything,
)
from cornu.core.context import context
from cornu.core.dtype import (
    check_real,
    for_jax,
    is_discrete,
    is_float,
    is_sparse,
    is_sparse_of_jax,
    new_array,
)
from cornu.core.input_spec import check_inputs
from cornu.core.layer_losses import WithLosses
from cornu.core.layer_policy import WithPolicy
from cornu.core.notebook import as_table, as_text
from cornu.core.old_arguments import callers_level, todays_name
from cornu.core.policies import DTypePolicy, get_policy
from cornu.core.sparse import as_sparse_as, dense
from cornu.core.symbolic import (
    KerasTensor,
    Node,
    Operation,
    any_symbolic,
    infer_outputs,
    known_sizes,
)
from cornu.core.tracking import unique
from cornu.core.variable import Variable, functional
from cornu.core.watching import seen


def _todays_names(cls: type, given) -> str:
    """What an error says of arguments that a subclass hands on under names of Keras 1."""
    known = constructor_parameters(cls)
    owners = [base.__name__ for base in cls.__mro__]
    found = [(old, todays_name(owner, old, known)) for old in given for owner in owners]
    return "".join(dict.fromkeys(f" `{old}` is called `{new}` today." for old, new in found if new))


def running_layer() -> "Layer | None":
    """The outermost layer, a model perhaps, whose call is running in this thread."""
    return context.layer


class Layer(Operation, WithPolicy, WithLosses):
    """A computation with weights: the building block of models.

    Args:
        activity_regularizer: called on each output; its result, divided by the batch's size, is
            added to the loss.
        trainable: whether an optimizer may change the weights.
        dtype: a dtype, or a `DTypePolicy` or its name, such as `"mixed_bfloat16"`: which dtype to
            compute in and which to keep weights in. Default: `config.dtype_policy()`.
        autocast: whether floating-point inputs are converted to the compute dtype.
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

    # The constructor keeps the names that it does not know from an `Operation`'s, and refuses them itself.
    _hands_arguments_on = False

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
        memory.share_an_arena()
        self._take_input_shape(kwargs)
        if kwargs:
            known = constructor_parameters(type(self))
            raise ValueError(
                f"Unrecognized keyword arguments passed to {type(self).__name__}: {kwargs}."
                f"{_todays_names(type(self), kwargs)} Known arguments: {', '.join(known)}."
            )
        if name is not None and (not isinstance(name, str) or "/" in name):
            raise ValueError(
                f"Argument `name` must be a string and cannot contain character `/`. Received: {name!r}"
            )
        self.name = name or naming.auto_name(type(self).__name__)
        self._init_graph()
        self.activity_regularizer = registry.get("regularizer", activity_regularizer)
        self.dtype_policy = get_policy(dtype)
        self.autocast = autocast
        self.input_spec = None
        self.supports_masking = type(self).compute_mask is not Layer.compute_mask
        self._trainable = bool(trainable)
        self._variables: list[Variable] = []
        self._losses: list[Any] = []
        self._built = False
        if context.remat is not None:
            self._remat_scope = context.remat

    # Whether `input_dim` is the size of one step.
    _of_sequences = False

    def _take_input_shape(self, kwargs: dict) -> None:
        """The old way to give a Sequential model's input shape: `input_shape=` on its first layer."""
        batch_size = kwargs.pop("batch_size", None)
        shape = None
        if "input_shape" in kwargs:
            shape = (batch_size, *as_tuple(kwargs.pop("input_shape")))
        elif "input_dim" in kwargs:
            has_steps = self._of_sequences or "input_length" in kwargs
            steps = [kwargs.pop("input_length", None)] if has_steps else []
            shape = (batch_size, *steps, kwargs.pop("input_dim"))
        for old in ("batch_input_shape", "batch_shape"):
            if old in kwargs:
                shape = tuple(kwargs.pop(old))
        if shape is not None:
            self._declared_input_shape = shape
            warnings.warn(
                "Do not pass an `input_shape`/`input_dim` argument to a layer. When using "
                "Sequential models, prefer using an `Input(shape)` object as the first layer in "
                "the model instead.",
                stacklevel=callers_level(),
            )

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            type.__setattr__(cls, "build", building.in_scope(cls.__dict__["build"]))

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

    # A layer that calculates with its inputs, and does not only move, choose or look them up, takes
    # integers and booleans as floats: a mean of bytes has a fraction, and their sum does not fit a byte.
    _calculates = False

    def build(self, input_shape=None):
        """Make the weights for inputs of this shape. Override it; it runs before the first call."""

    def call(self, *args, **kwargs):
        """The computation. Override it."""
        raise NotImplementedError(
            f"Layer {type(self).__name__} does not have a `call` method implemented."
        )

    @property
    def path(self) -> str | None:
        """The names of the layers around this one when it was built, and its own, joined by `/`."""
        return self.__dict__.get("_path")

    # ---- calls

    def __call__(self, *args, **kwargs):
        self._check_initialized()
        if len(args) > 1:
            args, kwargs = masks_by_name(self, args, kwargs)
        caller = context.layer
        requested = kwargs.get("training")
        training = self._resolve_training(kwargs)
        given = args, kwargs
        args, kwargs = self._to_tensors(args, kwargs)
        arguments = bind_call(self, args, kwargs)
        symbolic = any_symbolic(arguments)
        check_inputs(self.input_spec, next(iter(arguments.values()), None), self.name)
        previous = context.layer, context.training, context.autocast
        context.layer, context.training = caller or self, training
        mixed = self.compute_dtype != self.variable_dtype
        try:
            with naming.name_scope(self.name, owner=self):
                # Weights are made in their own dtype, whatever the caller computes in.
                context.autocast = None
                self._maybe_build(building.with_masks(self, arguments, kwargs))
                if self.path is None:
                    self._path = naming.current_path()
                # The sizes that a build finds out are checked at once.
                check_inputs(self.input_spec, next(iter(arguments.values()), None), self.name)
                context.autocast = self.compute_dtype if mixed and self.autocast else None
                recorded = dict(kwargs)
                mask_passing.fill(self, arguments, kwargs)
                previous_mask = mask_passing.previous(arguments, kwargs)
                if symbolic:
                    outputs = self.compute_output_spec(*args, **kwargs)
                    if requested is not None:
                        recorded["training"] = requested
                    args, recorded = with_variables(given, (args, recorded))
                    Node(self, args, recorded, outputs)
                    self._pass_mask_on(arguments, previous_mask, outputs)
                    return self._as_sparse_as(given, outputs)
                if caller is None:
                    self._clear_losses()
                if training is not None and accepts(self, "training"):
                    kwargs["training"] = training
                outputs = self._watched_call(args, kwargs)
                if placement.distribution() is not None:
                    outputs = placement.laid_out(outputs, naming.current_path())
                if self.activity_regularizer is not None:
                    for output in jax.tree.leaves(outputs):
                        # A mean over the batch, so that its size does not change the weight.
                        size = max(np.shape(output)[0], 1) if np.ndim(output) else 1
                        self.add_loss(self.activity_regularizer(self._to_float(output)) / size)
        except Exception as error:
            self._say_where(error, arguments)
            raise
        finally:
            context.layer, context.training, context.autocast = previous
        outputs = seen(self, given, arguments, outputs)
        self._pass_mask_on(arguments, previous_mask, outputs)
        return self._as_sparse_as(given, outputs)

    def _watched_call(self, args: tuple, kwargs: dict):
        """`call`; while a user's own is traced, random numbers that it draws would become constants."""
        leaves = jax.tree.leaves(args) if calls_users_code(type(self)) else ()
        call = self._compute
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return call(*args, **kwargs)

        def again():
            with variables_module.throwaway_scope():
                call(*args, **kwargs)

        return blame.watch_random(self, lambda: call(*args, **kwargs), again)

    def _compute(self, *args, **kwargs):
        """`call`, or `quantized_call`."""
        before, context.computing = context.computing, None if self._builds_on_call else self
        try:
            call = self.call if self.quantization_mode is None else self.quantized_call
            return self.rematerialized_call(call)(*args, **kwargs)
        finally:
            context.computing = before

    def _say_where(self, error: Exception, arguments: dict) -> None:
        """Add to an error the layer, the shapes and the line in which it happened."""
        shapes = jax.tree.map(
            lambda t: known_sizes(t.shape) if hasattr(t, "shape") else t,
            arguments,
            is_leaf=is_leaf,
        )
        shown = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
        blame.blame(error, f"the layer '{self.name}' ({type(self).__name__})", shown)

    def _resolve_training(self, kwargs: dict):
        training = kwargs.pop("training", None)
        if training is None:
            training = context.training
        if training is None:
            training = call_defaults(type(self)).get("training")
        return training

    def _to_tensors(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments of a call with arrays of any kind as JAX arrays, in the layer's input dtype."""
        args, kwargs = jax.tree.map(
            self._to_tensor, (args, kwargs), is_leaf=lambda v: is_leaf(v) or is_sparse(v)
        )
        if self._calculates:
            # The inputs are the first argument; masks and flags stay what they are.
            first = next(iter(call_parameters(type(self))), None)
            if args:
                args = (jax.tree.map(self._to_float, args[0], is_leaf=is_leaf), *args[1:])
            elif first in kwargs:
                inputs = jax.tree.map(self._to_float, kwargs[first], is_leaf=is_leaf)
                kwargs = {**kwargs, first: inputs}
        return args, kwargs

    def _to_tensor(self, value):
        if isinstance(value, Variable):
            value = value.value
        elif is_sparse_of_jax(value) and not calls_users_code(type(self)):
            value = dense(value)
        if not isinstance(value, jax.Array | KerasTensor):
            if not hasattr(value, "__array__") or isinstance(value, str):
                # Of a matrix of SciPy, it says what to pass. A user's layer may take one.
                return value if calls_users_code(type(self)) else for_jax(value)
            value = value if isinstance(value, np.ndarray) else np.asarray(value)
            if value.dtype.kind in "OSUT":
                return self._text(value)
            # A copy: a computation may read it after the caller has changed the array.
            value = new_array(value)
        elif isinstance(value, KerasTensor) and value.dtype == "string":
            return self._text(value)
        if self.autocast and is_float(value.dtype):
            return cast_tensor(value, self.input_dtype)
        return value

    # Whether zeros become zeros: of sparse inputs the outputs are then sparse.
    _keeps_zeros = False

    def _as_sparse_as(self, given: tuple, outputs):
        if not self._keeps_zeros or calls_users_code(type(self)):
            return outputs
        return as_sparse_as(next(iter(bind_call(self, *given).values()), None), outputs)

    # Whether `call` gets text, in arrays of NumPy.
    _takes_text = False

    def _text(self, value):
        if self._takes_text:
            return value
        raise TypeError(
            f"Layer '{self.name}' ({type(self).__name__}) takes numbers, and got text. Put a StringLookup, "
            "TextVectorization or Hashing layer before it."
        )

    def _to_float(self, value):
        if not isinstance(value, jax.Array | KerasTensor):
            return value
        check_real(value, self.compute_dtype)
        if not is_discrete(value.dtype):
            return value
        return cast_tensor(value, self.compute_dtype if self.autocast else self.variable_dtype)

    def _maybe_build(self, arguments: dict) -> None:
        building.build_for(self, arguments, is_overridden=type(self).build is not Layer.build)

    def compute_output_spec(self, *args, **kwargs):
        """The symbolic outputs (shapes and dtypes) for symbolic inputs."""
        kwargs.pop("training", None)
        args, kwargs = self._to_tensors(*self._first_by_position(args, kwargs))
        tensors = [t for t in jax.tree.leaves(args) if isinstance(t, KerasTensor)]
        if (
            self._has_closed_form()
            and len(args) == 1
            and all(is_mask(name) for name in kwargs)
            and all(is_float(t.dtype) for t in tensors)
        ):
            shapes = jax.tree.map(lambda t: tuple(t.shape), args[0], is_leaf=is_leaf)
            output = self.compute_output_shape(shapes)
            return jax.tree.map(
                lambda shape: KerasTensor(shape, dtype=self.compute_dtype),
                output,
                is_leaf=is_shape,
            )
        return self._infer(args, kwargs)

    def _first_by_position(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments of a call with the first by position, if it was given by name."""
        first = next(iter(call_parameters(type(self))), None)
        if args or first not in kwargs:
            return args, kwargs
        return (kwargs[first],), {name: v for name, v in kwargs.items() if name != first}

    def _infer(self, args: tuple, kwargs: dict):
        """The symbolic outputs of `call`, for which a layer that is not built has a copy that is.

        Within a call of the layer, what that has not built is built by the `call` that is traced.
        """
        layer = self
        if not (self.built or self._builds_on_call or "_built_shapes" in self.__dict__):
            layer = copy.deepcopy(self)
            arguments = bind_call(layer, args, kwargs)
            with naming.name_scope(layer.name, owner=layer):
                layer._maybe_build(arguments)
        return infer_outputs(layer._call_for_inference, args, kwargs)

    def _has_closed_form(self) -> bool:
        """Whether `compute_output_shape` need not trace `call`."""
        return type(self).compute_output_shape is not Layer.compute_output_shape

    def _call_for_inference(self, *args, **kwargs):
        if accepts(self, "training"):
            kwargs["training"] = bool(context.training)
        return self._compute(*args, **kwargs)

    def compute_output_shape(self, *args, **kwargs):
        """The shape of the output for an input shape (or a structure of shapes); None stays None."""

        def tensors(shapes):
            return jax.tree.map(
                lambda shape: KerasTensor(shape, dtype=self.input_dtype), shapes, is_leaf=is_shape
            )

        args = tuple(map(tensors, args))
        kwargs = {name: tensors(shapes) for name, shapes in kwargs.items()}
        if not args and "input_shape" in kwargs:
            args = (kwargs.pop("input_shape"),)
        kwargs = {name.removesuffix("_shape"): value for name, value in kwargs.items()}
        spec = self._infer(*self._first_by_position(args, kwargs))
        return jax.tree.map(lambda t: t.shape, spec, is_leaf=is_leaf)

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

    # ---- masks

    def compute_mask(self, inputs, previous_mask):
        """The mask of the output. The default returns the input's."""
        return previous_mask

    def _pass_mask_on(self, arguments: dict, previous, outputs) -> None:
        """Put masks on outputs that have none yet."""
        overridden = type(self).compute_mask is not Layer.compute_mask
        mask_passing.pass_on(self, arguments, previous, outputs, overridden)

    # ---- configuration

    def _config_names(self) -> list[str]:
        cls = described_class(type(self))
        own = [n for n in constructor_parameters(cls) if n not in _base_parameters()]
        explicit = [n for n in ("activity_regularizer",) if self._states(n)]
        # A name that the constructor does not take is the constructor's own choice.
        name = ["name"] if _takes(cls, "name") else []
        return [*name, "trainable", *own, *explicit]

    def _states(self, name: str) -> bool:
        """Whether a base argument belongs in the configuration."""
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
    def from_config(cls, config: dict, custom_objects=None):
        # What every layer has is set behind a constructor that does not take it.
        later = {n: config[n] for n in ("trainable", "dtype") if n in config and not _takes(cls, n)}
        own = {n: v for n, v in config.items() if n not in later}
        if isinstance(own.get("dtype"), dict):
            # To constructors a policy that is only a name is passed as a name.
            policy = get_policy(own["dtype"])
            own["dtype"] = policy.name if type(policy) is DTypePolicy else policy
        layer = super().from_config(own, custom_objects)
        if not later.get("trainable", True):
            layer.trainable = False
        if "dtype" in later:
            layer.dtype_policy = get_policy(registry.deserialize(later["dtype"]))
        return layer

    def get_build_config(self) -> dict | None:
        """What the layer was built for, so that a loaded one can be built again; may be overridden."""
        return building.config_of(self)

    def build_from_config(self, config: dict) -> None:
        """Build from what `get_build_config` returned; may be overridden."""
        building.build_from(self, config)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def _repr_html_(self) -> str:
        rows = [(v.path, tuple(v.shape), v.dtype, v.trainable) for v in self.weights]
        about = f"{self.name} ({type(self).__name__})"
        if not rows:
            return as_text(f"{about}: {'no weights' if self.built else 'not built'}")
        return as_table(about, ("weight", "shape", "dtype", "trained"), rows)


def _takes(cls: type, name: str) -> bool:
    return name in constructor_parameters(cls) or takes_anything(cls)


@once_per_class
def calls_users_code(cls: Any) -> bool:
    """Whether the `call` of a class is the user's code, or calls it."""
    return not (cls.call.__module__ or "").startswith("cornu.") or cls.__name__ == "Lambda"


@functools.cache
def _base_parameters() -> frozenset:
    return frozenset(constructor_parameters(Layer))


registry.register("layer", "Layer", module="keras.layers")(Layer)
