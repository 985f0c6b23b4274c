"""Layers around a layer or a function."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.input_spec import InputSpec
from cornu.core.layer import Layer, calls_users_code


@registry.register("layer", module="keras.layers")
class Wrapper(Layer):
    """Base class of layers that hold one layer and change how it is used.

    Args:
        layer: the layer that is held.

    Source: Keras: Wrapper class.

    >>> import cornu, jax.numpy as jnp
    >>> class Twice(cornu.layers.Wrapper):
    ...     def call(self, inputs):
    ...         return self.layer(self.layer(inputs))
    >>> Twice(cornu.layers.Rescaling(3.0))(jnp.ones((1,))).tolist()
    [9.0]
    """

    def __init__(self, layer, **kwargs):
        if not isinstance(layer, Layer):
            raise ValueError(
                f"{type(self).__name__} should be given a `keras.layers.Layer` instance, such as "
                f"Dense(10). Received: layer={layer!r}"
            )
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape=None):
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True


@registry.register("layer", module="keras.layers")
class TimeDistributed(Wrapper):
    """Applies a layer to every time step, with the same weights.

    Args:
        layer: the layer.

    Call arguments:
        training, mask: passed to the layer if it takes them; of the mask, to each step its part.

    Shapes: (batch, steps, …) -> (batch, steps, …).

    Losses are those of the calls, one for each step, added up. (Keras leaves out the activity regularizer
    of the layer itself, but counts those of the layers within it.)

    Source: Keras: TimeDistributed layer.

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.TimeDistributed(cornu.layers.Dense(8))
    >>> layer(jnp.ones((2, 10, 16))).shape
    (2, 10, 8)
    """

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def _step_shape(self, input_shape) -> tuple:
        if not isinstance(input_shape, list | tuple) or len(input_shape) < 3:
            raise ValueError(
                f"`TimeDistributed` Layer '{self.name}' should be passed an `input_shape` with at "
                f"least 3 dimensions, received: {input_shape}"
            )
        return (input_shape[0], *input_shape[2:])

    def build(self, input_shape):
        super().build(self._step_shape(input_shape))

    def compute_output_shape(self, input_shape):
        output = self.layer.compute_output_shape(self._step_shape(input_shape))
        return (output[0], input_shape[1], *output[1:])

    def call(self, inputs, training=None, mask=None):
        batch, steps = inputs.shape[:2]
        if mask is not None and mask.shape[:2] != (batch, steps):
            raise ValueError(
                f"The `mask` passed to the `TimeDistributed` layer '{self.name}' has a shape "
                f"{mask.shape} that is incompatible with the input shape {inputs.shape}. Expected "
                f"mask shape prefix: ({batch}, {steps})."
            )
        takes_mask = mask is not None and "mask" in inspect.signature(self.layer.call).parameters
        if takes_mask or self.layer.non_trainable_variables or not _looks_at_rows_alone(self.layer):
            # Moving averages and random generators carry over from step to step.
            outputs = [
                self.layer(
                    inputs[:, i],
                    training=training,
                    **({"mask": mask[:, i]} if takes_mask else {}),
                )
                for i in range(steps)
            ]
            return jnp.stack(outputs, axis=1)
        # Steps are independent: as one large batch they need one call.
        outputs = self.layer(inputs.reshape(batch * steps, *inputs.shape[2:]), training=training)
        return outputs.reshape(batch, steps, *outputs.shape[1:])


def _looks_at_rows_alone(layer) -> bool:
    """Whether a larger batch surely changes nothing: no row's output, no loss."""
    for each in layer._flatten_layers():
        if calls_users_code(type(each)) or getattr(each, "activity_regularizer", None):
            return False
        axes = getattr(each, "axis", None)
        if 0 in (axes if isinstance(axes, list | tuple) else [axes]):
            return False
        # An operation in a model may do anything, and a model be made for one size of batch.
        graph = getattr(each, "_graph", None)
        if graph is not None and not (
            all(isinstance(operation, Layer) for operation in graph.operations)
            and all(tensor.shape[:1] == (None,) for tensor in graph.flat_inputs)
        ):
            return False
    return True


@registry.register("layer", module="keras.layers")
class SpectralNormalization(Wrapper):
    """In training, divides the layer's kernel by its spectral norm, its largest singular value.

    The norm is estimated by power iteration from the last estimate. It keeps the function that the
    layer computes from changing faster than its input, which steadies adversarial training.

    Args:
        layer: a layer with a `kernel` or `embeddings`.
        power_iterations: steps of power iteration in each call.

    Call arguments:
        training: whether to normalize the kernel.

    Source: Keras: SpectralNormalization layer; Miyato et al. 2018, "Spectral normalization for
    generative adversarial networks".

    >>> import cornu, jax.numpy as jnp
    >>> layer = cornu.layers.SpectralNormalization(cornu.layers.Dense(2))
    >>> layer(jnp.ones((1, 3)), training=True).shape
    (1, 2)
    """

    def __init__(self, layer, power_iterations=1, **kwargs):
        super().__init__(layer, **kwargs)
        if power_iterations <= 0:
            raise ValueError(
                "`power_iterations` should be greater than zero. "
                f"Received: power_iterations={power_iterations}"
            )
        self.power_iterations = power_iterations

    def build(self, input_shape):
        super().build(input_shape)
        self.input_spec = InputSpec(min_ndim=1, axes={-1: input_shape[-1]})
        self.kernel: Any = getattr(self.layer, "kernel", getattr(self.layer, "embeddings", None))
        if self.kernel is None:
            raise ValueError(
                f"{type(self.layer).__name__} object has no attribute 'kernel' nor 'embeddings', so "
                "there is nothing that SpectralNormalization could normalize."
            )
        self.vector_u = self.add_weight(
            shape=(1, self.kernel.shape[-1]),
            initializer=registry.find("initializer", "TruncatedNormal")(stddev=0.02),
            trainable=False,
            name="vector_u",
            dtype=self.kernel.dtype,
        )

    def call(self, inputs, training=False):
        if training:
            kernel, vector_u = self.kernel.value, self.vector_u.value
            # A kernel of zeros has no direction to iterate in.
            vector_u, kernel = jax.lax.cond(
                jnp.all(kernel == 0), lambda: (vector_u, kernel), self.normalized_weights
            )
            self.vector_u.assign(vector_u)
            self.kernel.assign(kernel)
        return self.layer(inputs).astype(self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def normalized_weights(self):
        """The vector and the kernel that a call in training goes on with."""
        kernel, vector_u = self.kernel.value, self.vector_u.value
        matrix = kernel.reshape(-1, kernel.shape[-1])
        for _ in range(self.power_iterations):
            vector_v = _to_unit_length(vector_u @ matrix.T)
            vector_u = _to_unit_length(vector_v @ matrix)
        vector_u, vector_v = jax.lax.stop_gradient((vector_u, vector_v))
        norm = vector_v @ matrix @ vector_u.T
        return vector_u, (kernel / norm.reshape(())).astype(kernel.dtype)


def _to_unit_length(x):
    return x * jnp.minimum(jax.lax.rsqrt(jnp.sum(jnp.square(x))), 1e7)


@registry.register("layer", module="keras.layers")
class Lambda(Layer):
    """A function as a layer, for experiments; a subclass of `Layer` is the better way to keep one.

    A file can only name the function, never contain it: to save a model with a Lambda, write a
    `def` instead of a `lambda`, and register it with `register_keras_serializable` or pass it in
    `custom_objects` to load the file.

    Args:
        function: takes the inputs, and `training` or `mask` if it has arguments of that name.
        output_shape: for Keras scripts; shapes are found by tracing the function.
        mask: mask of the output, or a function `(inputs, mask)` that returns it.
        arguments: dict of further arguments of the function.

    Source: Keras: Lambda layer.

    >>> import cornu, jax.numpy as jnp
    >>> cornu.layers.Lambda(lambda x: x**2)(jnp.array([3.0])).tolist()
    [9.0]
    """

    def __init__(self, function, output_shape=None, mask=None, arguments=None, **kwargs):
        super().__init__(**kwargs)
        if not callable(function):
            raise ValueError(
                f"Layer '{self.name}': `function` must be callable. Received: {function!r}"
            )
        self.function = function
        self.mask = mask
        self.arguments = arguments or {}
        self.supports_masking = mask is not None
        self._output_shape = output_shape
        self._hands_on = [n for n in ("training", "mask") if n in _parameters(function)]

    def call(self, inputs, mask=None, training=None):
        given = {"mask": mask, "training": training}
        return self.function(inputs, **self.arguments, **{n: given[n] for n in self._hands_on})

    def compute_mask(self, inputs, mask=None):
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def _config_names(self) -> list[str]:
        own = ("function", "output_shape", "mask")
        return [name for name in super()._config_names() if name not in own]

    def get_config(self) -> dict:
        config = {**super().get_config(), "function": self._describe("function", self.function)}
        for name, value in (("output_shape", self._output_shape), ("mask", self.mask)):
            if value is not None:
                config[name] = self._describe(name, value)
        return config

    def _describe(self, argument: str, value):
        if getattr(value, "__name__", None) == "<lambda>":
            raise ValueError(
                f"Layer '{self.name}': `{argument}` is a Python lambda, which has no name that a "
                "file could hold. Write it with `def` and decorate it with "
                "`@keras.saving.register_keras_serializable()`, or make a subclass of `Layer`."
            )
        return registry.serialize(value)

    @classmethod
    def from_config(cls, config: dict, custom_objects=None, safe_mode=None):
        """Make a layer from what `get_config()` returned.

        No code in it is run, whatever `safe_mode` says.
        """
        config = dict(config)
        with registry.custom_object_scope(custom_objects):
            for name in ("function", "output_shape", "mask"):
                if isinstance(config.get(name), dict | str):
                    config[name] = _named_function(name, config[name])
            return super().from_config(config)


def _parameters(function) -> tuple:
    try:
        return tuple(inspect.signature(function).parameters)
    except ValueError:
        # Functions written in C may not tell.
        return ()


def _named_function(argument: str, description):
    if isinstance(description, str):
        description = {"class_name": "function", "config": description}
    if description.get("class_name") in ("function", "__numpy__"):
        return registry.deserialize(description)
    raise ValueError(
        f"The configuration of a Lambda layer holds {description.get('class_name')!r} as its "
        f"`{argument}`. Only the name of a registered function is accepted, because code in a file "
        "could do anything. Make the model in Python again and load its weights alone."
    )
