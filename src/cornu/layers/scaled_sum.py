"""Layers of Keras' networks that files name, though Keras exports them nowhere."""

from typing import Any

from jax import lax

from cornu import initializers
from cornu.core import registry
from cornu.core.layer import Layer


@registry.register("layer", module="keras.src.applications.inception_resnet_v2")
class CustomScaleLayer(Layer):
    """`a + scale * b` for inputs `[a, b]`: the end of a residual block of Inception-ResNet.

    Args:
        scale: the factor.

    Source: Keras: inception_resnet_v2; Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the
    impact of residual connections on learning".
    """

    _calculates = True

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs):
        first, second = inputs
        return first + second * self.scale


@registry.register("layer", module="keras.src.applications.convnext")
class LayerScale(Layer):
    """A trainable factor for each feature map, small at first.

    Args:
        init_values: initial value of all factors.
        projection_dim: number of feature maps.

    Source: Keras: convnext; Touvron et al. 2021, "Going deeper with image transformers".
    """

    _calculates = True
    gamma: Any

    def __init__(self, init_values, projection_dim, **kwargs):
        super().__init__(**kwargs)
        self.init_values = init_values
        self.projection_dim = projection_dim

    def build(self, input_shape):
        self.gamma = self.add_weight(
            shape=(self.projection_dim,),
            initializer=initializers.Constant(self.init_values),
        )

    def call(self, inputs):
        return inputs * lax.broadcast_to_rank(self.gamma.value, inputs.ndim)

    def compute_output_shape(self, input_shape):
        return input_shape
