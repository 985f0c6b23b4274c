"""What layers of signals, images and volumes share: their shapes, and the windows that they read."""

from cornu.core.layer import Layer
from cornu.ops.windows import Geometry


def split_shape(shape, data_format: str):
    """The spatial sizes and the channels of the shape of a batch of images."""
    if data_format == "channels_last":
        return tuple(shape[1:-1]), shape[-1]
    return tuple(shape[2:]), shape[1]


def join_shape(batch, spatial, channels, data_format: str) -> tuple:
    """The shape of a batch of images."""
    if data_format == "channels_last":
        return (batch, *spatial, channels)
    return (batch, channels, *spatial)


class Spatial(Layer):
    """A layer each of whose output positions reads a window of the input.

    Subclasses define the windows in `_window`; output shapes, `cornu.explain` and drawings follow from it.
    """

    rank: int
    data_format: str
    # Whether windows are those of the output, each written to by one input position.
    _is_transposed = False

    def window(self, input_shape) -> Geometry:
        """The geometry of the windows for an input shape.

        Output positions read windows of the input. For layers that enlarge it (transposed convolution,
        up-sampling) it is the other way round: input positions write to windows of the output.

        >>> import cornu
        >>> cornu.layers.Conv2D(8, 5, padding="same").window((None, 28, 28, 1)).padding
        ((2, 2), (2, 2))
        """
        return self._window(input_shape)

    # A user's subclass may have an attribute `window`.
    def _window(self, input_shape) -> Geometry:
        raise NotImplementedError

    def _channels_out(self, channels):
        return channels

    def compute_output_shape(self, input_shape):
        _, channels = split_shape(input_shape, self.data_format)
        geometry = self._window(input_shape)
        sizes = geometry.size if self._is_transposed else geometry.output
        return join_shape(input_shape[0], sizes, self._channels_out(channels), self.data_format)
