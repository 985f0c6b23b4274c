"""Models that are written in JAX or Flax, as layers; and those of other engines, which are refused."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.call_arguments import is_shape
from cornu.core.dtype import is_float
from cornu.core.layer import Layer
from cornu.core.optional import required
from cornu.core.random import SeedGenerator, draw_seed
from cornu.core.variable import Variable


@registry.register("layer", module="keras.layers")
class JaxLayer(Layer):
    """A function of JAX with its parameters, as a layer.

    Args:
        call_fn: the computation. It takes `inputs`, and, in any order and by these names, `params`,
            `state`, `rng` and `training`; with `state` it returns `(outputs, state)`.
        init_fn: makes the parameters from `rng`, `inputs` (ones of the inputs' shape) and perhaps
            `training`; with a state it returns `(params, state)`.
        params: the parameters, in any structure, instead of `init_fn`.
        state: what is not trained, the same way.
        seed: seed of the `rng` that a call in training gets; otherwise it is None.
        native_serialization_platforms: only for Keras on TensorFlow; it is kept for files.

    Source: Keras: JaxLayer.

    >>> import cornu, jax, jax.numpy as jnp
    >>> def init(rng, inputs):
    ...     return {"w": jax.random.normal(rng, (inputs.shape[-1], 2))}
    >>> def call(params, inputs):
    ...     return inputs @ params["w"]
    >>> layer = cornu.layers.JaxLayer(call, init)
    >>> layer(jnp.ones((5, 3))).shape, layer.count_params()
    ((5, 2), 6)
    """

    def __init__(
        self,
        call_fn,
        init_fn=None,
        params=None,
        state=None,
        seed=None,
        native_serialization_platforms=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.call_fn, self.init_fn = call_fn, init_fn
        self.native_serialization_platforms = native_serialization_platforms
        self._call_names = self._checked(
            "call_fn", call_fn, ("params", "state", "rng", "inputs", "training")
        )
        self._init_names: list[str] = []
        if init_fn is not None:
            self._init_names = self._checked("init_fn", init_fn, ("rng", "inputs", "training"))
        needs_values = {"params", "state"} & set(self._call_names)
        if needs_values and init_fn is None and params is None and state is None:
            raise ValueError(
                f"Layer '{self.name}': `init_fn`, `params` and `state` cannot all be `None`, as `call_fn` "
                f"takes {' and '.join(sorted(needs_values))}."
            )
        self.seed_generator = SeedGenerator(seed) if "rng" in self._call_names else None
        # Their order in files is that of JAX.
        self.tracked_params: list = []
        self.tracked_state: list = []
        self.params = self.state = None
        self._keep(params, state)
        self._is_made = params is not None or state is not None or not needs_values
        self.built = self._is_made

    def _checked(self, argument: str, function, known: tuple) -> list[str]:
        names = list(inspect.signature(function).parameters)
        if "inputs" not in names:
            raise ValueError(f"Layer '{self.name}': `{argument}` must take an argument `inputs`.")
        for name in names:
            if name not in known:
                raise ValueError(
                    f"Layer '{self.name}': `{argument}` has the unsupported argument `{name}`. It may take "
                    f"{', '.join(known)}."
                )
        return names

    def _keep(self, params, state) -> None:
        if params is not None:
            self.params = self._as_variables(params, trainable=True)
            self.tracked_params = jax.tree.leaves(self.params)
        if state is not None:
            self.state = self._as_variables(state, trainable=False)
            self.tracked_state = jax.tree.leaves(self.state)

    def _as_variables(self, values, trainable: bool):
        def variable(value):
            if not isinstance(value, np.ndarray | np.generic | jax.Array | bool | int | float):
                # A setting.
                return value
            value = jnp.asarray(value)
            dtype = None if is_float(value.dtype) else value.dtype
            return self.add_weight(
                value.shape, lambda shape, dtype: value.astype(dtype), dtype, trainable=trainable
            )

        return jax.tree.map(variable, values)

    def _get_init_rng(self):
        """The `rng` of `init_fn`; override it for another structure."""
        return draw_seed(None)

    def _get_call_rng(self, training):
        """The `rng` of `call_fn`; override it for another structure."""
        seeds = self.seed_generator
        return seeds.next() if training and seeds is not None else None

    def build(self, input_shape=None):
        if self._is_made:
            return
        # Also where a model is being traced.
        with jax.ensure_compile_time_eval():
            inputs = jax.tree.map(
                lambda shape: jnp.ones([size or 1 for size in shape]), input_shape, is_leaf=is_shape
            )
            known = {"inputs": inputs, "training": True}
            if "rng" in self._init_names:
                known["rng"] = self._get_init_rng()
            result = self.init_fn(*[known[name] for name in self._init_names])
        self._keep(*(result if "state" in self._call_names else (result, None)))
        self._is_made = True

    def call(self, inputs, training=False):
        known: dict[str, Any] = {"inputs": inputs, "training": training}
        known["params"], known["state"] = (
            jax.tree.map(_value, values, is_leaf=_is_variable)
            for values in (self.params, self.state)
        )
        if "rng" in self._call_names:
            known["rng"] = self._get_call_rng(training)
        result = self.call_fn(*[known[name] for name in self._call_names])
        if "state" not in self._call_names:
            return result
        outputs, state = result
        variables, structure = jax.tree.flatten(self.state, is_leaf=_is_variable)
        found: Any
        values, found = jax.tree.flatten(state)
        if found != structure:
            raise ValueError(
                f"Layer '{self.name}': the state that `call_fn` returned has another structure than at "
                f"first: {found}, and not {structure}."
            )
        for variable, value in zip(variables, values, strict=True):
            if isinstance(variable, Variable):
                variable.assign(value)
        return outputs

    def _config_names(self) -> list[str]:
        hidden = ("params", "state", "seed")
        return [name for name in super()._config_names() if name not in hidden]


def _is_variable(value) -> bool:
    return isinstance(value, Variable)


def _value(value):
    return value.value if isinstance(value, Variable) else value


@registry.register("layer", module="keras.layers")
class FlaxLayer(JaxLayer):
    """A module of `flax.linen` as a layer. It needs the package `flax`.

    Args:
        module: the module.
        method: which of its methods is called, or a function of the module and the inputs; default:
            `__call__`. It takes one argument `inputs`, and perhaps `training`.
        variables: what `module.init` returned, instead of new values.

    Collections other than `"params"` are not trained, and are updated in each call.

    Source: Keras: FlaxLayer.
    """

    def __init__(self, module, method=None, variables=None, **kwargs):
        linen = required("flax.linen", "FlaxLayer")
        self.module, self.method = module, method
        mutable = linen.DenyList(["params"])
        takes_training = "training" in inspect.signature(method or module.__call__).parameters

        def apply(params, state, rng, inputs, training):
            options = {"training": training} if takes_training else {}
            return module.apply(
                {**(params or {}), **(state or {})},
                inputs,
                rngs=rng,
                method=method,
                mutable=mutable,
                **options,
            )

        def start(rng, inputs, training):
            options = {"training": training} if takes_training else {}
            return _divided(module.init(rng, inputs, method=method, **options))

        params, state = (None, None) if variables is None else _divided(variables)
        super().__init__(apply, start, params=params, state=state, **kwargs)

    def _get_init_rng(self):
        return {"params": draw_seed(None), "dropout": draw_seed(None)}

    def _get_call_rng(self, training):
        key = super()._get_call_rng(training)
        return {} if key is None else {"dropout": key}

    def get_config(self) -> dict:
        config = super().get_config()
        if getattr(self.method, "__self__", None) is self.module and self.method is not None:
            config["method"] = self.method.__name__
        return config

    def _config_names(self) -> list[str]:
        hidden = ("call_fn", "init_fn", "variables")
        return [name for name in super()._config_names() if name not in hidden]

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        with registry.custom_object_scope(custom_objects):
            config = {**config, "module": registry.deserialize(config["module"])}
            if isinstance(config.get("method"), str):
                config["method"] = getattr(config["module"], config["method"])
            return super().from_config(config)


def _divided(variables) -> tuple:
    """Flax' variables as those that are trained, and the others."""
    params = {name: v for name, v in variables.items() if name == "params"}
    return params, {name: v for name, v in variables.items() if name != "params"}


class TFSMLayer(Layer):
    """Always raises NotImplementedError: a SavedModel is a program of TensorFlow, which Cornu does not run.

    Load the model with Keras on TensorFlow, save it as a `.keras` file, and load that with
    `cornu.models.load_model`; or convert it to ONNX with tf2onnx.
    """

    def __init__(
        self,
        filepath,
        call_endpoint="serve",
        call_training_endpoint=None,
        trainable=True,
        name=None,
        dtype=None,
    ):
        raise NotImplementedError(
            f"TFSMLayer: {filepath!r} is a SavedModel, a program of TensorFlow, which Cornu does not run. "
            "Load the model with Keras on TensorFlow, save it as a `.keras` file, and load that with "
            "`cornu.models.load_model`."
        )


class TorchModuleWrapper(Layer):
    """Always raises NotImplementedError: a module of PyTorch cannot be part of a program of JAX.

    In Keras it needs the PyTorch backend, too. Write the module with Cornu's layers and copy its weights
    with `layer.set_weights`, or train it with PyTorch.
    """

    def __init__(self, module, name=None, output_shape=None, **kwargs):
        raise NotImplementedError(
            f"TorchModuleWrapper: {type(module).__name__} is a module of PyTorch, which cannot be part of "
            "a program of JAX; in Keras it needs the PyTorch backend. Write it with Cornu's layers, and "
            "copy its weights with `layer.set_weights(…)`."
        )

    def parameters(self, recurse=True):
        """The module's parameters, if there could be one."""
        raise NotImplementedError("TorchModuleWrapper: a module of PyTorch cannot be in a layer.")
