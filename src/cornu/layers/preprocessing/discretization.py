"""`Discretization`: which of several ranges a number is in."""

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import registry
from cornu.core.dtype import as_array, check_real, floatx
from cornu.core.symbolic import KerasTensor
from cornu.layers.preprocessing.data_layer import DataLayer
from cornu.layers.preprocessing.encoding import (
    MODES,
    check_mode,
    encode,
    output_shape,
    plain_config,
    refuse_sparse,
)


@registry.register("layer", module="keras.layers")
class Discretization(DataLayer):
    """The number of the range that each input is in: 0 below the first boundary.

    Args:
        bin_boundaries: boundaries in ascending order; a number that equals one is above it.
        num_bins: how many ranges `adapt` shall make, so that each has about as many of the data.
        epsilon: how exact `adapt` is, as a share of the data.
        output_mode: `"int"` for the number of the range; `"one_hot"`, `"multi_hot"` or `"count"` for
            vectors, as in `CategoryEncoding`.
        sparse: only False.

    Integers are compared exactly. NaN is above all boundaries. `"multi_hot"` and `"count"` are along the
    second axis, as in Keras, and of inputs of one axis along that.

    Source: Keras: Discretization layer.

    >>> import cornu, numpy as np
    >>> layer = cornu.layers.Discretization(bin_boundaries=[0.0, 1.0, 2.0])
    >>> layer(np.array([[-1.5, 1.0, 3.4, 0.5]])).tolist()
    [[0, 2, 3, 1]]
    """

    def __init__(
        self,
        bin_boundaries=None,
        num_bins=None,
        epsilon=0.01,
        output_mode="int",
        sparse=False,
        dtype=None,
        name=None,
        **kwargs,
    ):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.output_mode = check_mode("Discretization", output_mode, MODES)
        refuse_sparse("Discretization", sparse)
        if num_bins is not None and num_bins < 0:
            raise ValueError(
                f"Layer '{self.name}': `num_bins` must be 0 or greater. Received: num_bins={num_bins}"
            )
        if (num_bins is None) == (bin_boundaries is None):
            raise ValueError(
                f"Layer '{self.name}': set either `num_bins` or `bin_boundaries`, not both. "
                f"Received: num_bins={num_bins}, bin_boundaries={bin_boundaries}"
            )
        if bin_boundaries is not None:
            bin_boundaries = np.asarray(bin_boundaries).tolist()
            if bin_boundaries != sorted(bin_boundaries):
                raise ValueError(
                    f"Layer '{self.name}': `bin_boundaries` must be in ascending order. "
                    f"Received: {bin_boundaries}"
                )
        self.bin_boundaries, self.num_bins = bin_boundaries, num_bins
        self.epsilon, self.sparse = epsilon, False
        # A boundary between two numbers of 16 bits would move.
        self.autocast = False
        self.summary: np.ndarray
        self.reset_state()

    # ---- boundaries of data

    def adapt(self, data, steps=None) -> None:
        """Make boundaries that divide `data` into `num_bins` ranges, with about as many numbers in each.

        Args:
            data: an array, or something that yields batches.
            steps: how many batches to read.
        """
        if self.num_bins is None:
            raise ValueError(
                f"Layer '{self.name}' was given `bin_boundaries`, so it cannot `adapt`. Pass `num_bins` "
                "instead."
            )
        self.reset_state()
        is_array = isinstance(data, np.ndarray | jax.Array) or not hasattr(data, "__iter__")
        for number, batch in enumerate([data] if is_array else data):
            if steps is not None and number >= steps:
                break
            self.update_state(batch[0] if isinstance(batch, tuple) else batch)
        self.finalize_state()

    def update_state(self, data) -> None:
        """Take the numbers of one batch into account."""
        values = np.sort(np.asarray(data).astype("float32").reshape(-1))
        step = max(len(values) * self.epsilon, 1)
        kept = values[int(step - 1) :: int(step)]
        batch = np.stack([kept, np.full_like(kept, step)])
        summary = np.concatenate((batch, self.summary), axis=1)
        self.summary = _shortened(summary[:, np.argsort(summary[0])], self.epsilon)

    def finalize_state(self) -> None:
        """Make the boundaries of the batches."""
        if self.num_bins is not None:
            self.bin_boundaries = _shortened(self.summary, 1 / self.num_bins)[0, :-1].tolist()

    def reset_state(self) -> None:
        """Forget the batches."""
        # Numbers in ascending order, and how many of the data each stands for.
        self.summary = np.zeros((2, 0), "float32")

    # ---- calls

    def _depth(self):
        return self.num_bins if self.bin_boundaries is None else len(self.bin_boundaries) + 1

    def call(self, inputs):
        if self.bin_boundaries is None:
            raise ValueError(
                f"Layer '{self.name}' has no boundaries yet. Pass `bin_boundaries`, or call `adapt(data)` "
                "first."
            )
        inputs = as_array(inputs)
        check_real(inputs, "float32")
        boundaries = np.asarray(self.bin_boundaries, floatx())
        if inputs.dtype.kind in "iu":
            # x >= b is x >= ceil(b) for an integer, and no float holds all of them.
            limits = np.iinfo(inputs.dtype)
            rounded = [int(np.clip(np.ceil(b), limits.min, limits.max)) for b in self._whole()]
            boundaries = np.asarray(rounded, inputs.dtype)
            above = np.asarray([b > limits.max for b in self._whole()], bool)
        else:
            inputs = inputs.astype(floatx())
            above = np.zeros(len(boundaries), bool)
        reached = boundaries[~above]
        indices = jnp.searchsorted(jnp.asarray(reached), inputs.reshape(-1), side="right")
        indices = indices.reshape(inputs.shape).astype("int32")
        if self._counts_second_axis(inputs.ndim):
            indices = jnp.moveaxis(indices, 1, -1)
        return encode(jnp, indices, self.output_mode, self._depth(), self.output_dtype)

    def _whole(self) -> list[float]:
        return [float(b) for b in self.bin_boundaries]

    def _counts_second_axis(self, ndim: int) -> bool:
        return ndim > 2 and self.output_mode in ("multi_hot", "count")

    @property
    def output_dtype(self) -> str:
        """The dtype of the output: that of indices, the compute dtype, or one that holds counts."""
        if self.output_mode == "int":
            return "int32"
        return self.variable_dtype if self.output_mode == "count" else self.compute_dtype

    def compute_output_shape(self, input_shape):
        shape = tuple(input_shape)
        if self._counts_second_axis(len(shape)):
            shape = (shape[0], *shape[2:], shape[1])
        return output_shape(shape, self.output_mode, self._depth())

    def compute_output_spec(self, inputs, **kwargs):
        return KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.output_dtype)

    # ---- files

    def get_config(self) -> dict:
        return plain_config(super().get_config(), self.dtype_policy)

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        config = dict(config)
        learned = config.pop("bin_boundaries", None) if config.get("num_bins") is not None else None
        layer = super().from_config(config, custom_objects)
        if learned is not None:
            layer.bin_boundaries = learned
        return layer


def _shortened(summary: np.ndarray, epsilon: float) -> np.ndarray:
    """As few numbers as `epsilon` allows, by interpolation between the cumulated counts."""
    if summary.shape[1] * epsilon < 1:
        return summary
    wanted = epsilon + np.arange(0.0, 1.0, epsilon)
    counts = summary[1].cumsum()
    shares = counts / counts[-1]
    kept = np.interp(wanted, shares, counts)
    values = np.interp(wanted, shares, summary[0])
    return np.stack((values, np.diff(kept, prepend=0))).astype("float32")
