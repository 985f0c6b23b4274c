"""Devices in a grid, and how an array is spread over it."""

import math
from functools import cached_property

import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cornu.distribution.devices import as_names, list_devices, to_device


class DeviceMesh:
    """Devices in a grid whose axes have names.

    Args:
        shape: how many devices along each axis, such as `(8,)`, or `(2, 4)` for 2 parts of a batch and 4
            parts of the weights.
        axis_names: a name for each axis, such as `["batch", "model"]`.
        devices: names of devices, or `jax.Device`s; default: all of the best kind.

    Raises ValueError if the grid has more or fewer places than there are devices, or one of them twice.
    Source: Keras: DeviceMesh.

    >>> import cornu
    >>> mesh = cornu.distribution.DeviceMesh((1,), ["batch"], ["cpu:0"])
    >>> mesh
    <DeviceMesh shape=(1,), axis_names=['batch']>
    """

    def __init__(self, shape, axis_names, devices=None):
        if not shape or not axis_names:
            raise ValueError(
                "Shape and axis_names cannot be empty. Received: "
                f"shape={shape}, axis_names={axis_names}"
            )
        if len(shape) != len(axis_names) or len(set(axis_names)) != len(axis_names):
            raise ValueError(
                "Shape and axis_names should have same size, and each name should be another. Received: "
                f"shape={shape}, axis_names={axis_names}"
            )
        found = as_names(list_devices() if devices is None else devices)
        if math.prod(shape) != found.size:
            hint = "" if devices is not None else _HOW_TO_SIMULATE.format(math.prod(shape))
            raise ValueError(
                f"Shape does not match the number of devices. Received: shape={shape}; "
                f"devices.shape={found.shape}.{hint}"
            )
        self._shape, self._axis_names = shape, axis_names
        self._devices = found.reshape(shape)

    @property
    def shape(self):
        """How many devices along each axis."""
        return self._shape

    @property
    def axis_names(self):
        """The names of the axes."""
        return self._axis_names

    @property
    def devices(self) -> np.ndarray:
        """The devices, as they were given, in an array of the mesh's shape."""
        return self._devices

    @cached_property
    def backend_mesh(self) -> Mesh:
        """The same as a `jax.sharding.Mesh`. XLA chooses how arrays between are spread."""
        devices = [to_device(name) for name in self._devices.flat]
        return Mesh(np.array(devices).reshape(self._devices.shape), tuple(self._axis_names))

    def __repr__(self):
        return f"<{type(self).__name__} shape={self.shape}, axis_names={self.axis_names}>"


_HOW_TO_SIMULATE = (
    " To try it without as many devices, let the CPU pass for several: set "
    "XLA_FLAGS=--xla_force_host_platform_device_count={} before Python starts."
)


class TensorLayout:
    """Along which axes of a mesh each axis of an array is spread.

    Args:
        axes: for each axis of the array the name of a mesh's axis, several names in a tuple, or None.
        device_mesh: a `DeviceMesh`; it may be set later.

    Raises ValueError for a name that the mesh lacks. Source: Keras: TensorLayout.

    >>> import cornu
    >>> mesh = cornu.distribution.DeviceMesh((1,), ["batch"], ["cpu:0"])
    >>> cornu.distribution.TensorLayout((None, "batch"), mesh).axes
    (None, 'batch')
    """

    def __init__(self, axes, device_mesh: DeviceMesh | None = None):
        if isinstance(axes, str):
            raise ValueError(
                f"`axes` has one entry for each axis of the array, such as ({axes!r},). Received: {axes!r}"
            )
        self._axes = tuple(axes)
        self._device_mesh = device_mesh
        self._check()

    def _check(self) -> None:
        named = [n for axis in self._axes for n in (axis if isinstance(axis, tuple) else (axis,))]
        named = [name for name in named if name is not None]
        twice = sorted({str(name) for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(
                f"An axis of the mesh can be in a layout only once. Received: axes={self._axes}"
            )
        if self._device_mesh is None:
            return
        known = list(self._device_mesh.axis_names)
        unknown = [name for name in named if name not in known]
        if unknown:
            raise ValueError(
                f"Invalid axis names for Layout. Valid axis names: {known}, Got {unknown}"
            )

    @property
    def axes(self) -> tuple:
        """The names, one entry for each axis of the array."""
        return self._axes

    @property
    def device_mesh(self) -> DeviceMesh | None:
        """The mesh."""
        return self._device_mesh

    @device_mesh.setter
    def device_mesh(self, device_mesh: DeviceMesh) -> None:
        if self._device_mesh is not None:
            raise ValueError(
                f"Cannot override device mesh value. Existing value is {self._device_mesh}"
            )
        self._device_mesh = device_mesh
        self._check()

    @cached_property
    def backend_layout(self) -> NamedSharding:
        """The same as a `jax.sharding.NamedSharding`. Raises ValueError while there is no mesh."""
        if self._device_mesh is None:
            raise ValueError("Cannot create sharding when device mesh is not set for TensorLayout.")
        return NamedSharding(self._device_mesh.backend_mesh, PartitionSpec(*self._axes))

    def __eq__(self, other):
        if not isinstance(other, TensorLayout):
            return NotImplemented
        return self._axes == other._axes and self._device_mesh is other._device_mesh

    def __hash__(self):
        return hash(self._axes)

    def __repr__(self):
        return f"<{type(self).__name__} axes={self.axes}, device_mesh={self.device_mesh}>"
