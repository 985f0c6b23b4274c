"""How a model and its data are spread over devices."""

import warnings
from contextlib import contextmanager

import jax

from cornu.core.context import within
from cornu.core.placement import constrained, distribution, put_in_force, sharding
from cornu.core.symbolic import KerasTensor
from cornu.distribution.devices import list_devices
from cornu.distribution.layout_map import LayoutMap
from cornu.distribution.mesh import DeviceMesh, TensorLayout

BATCH = "batch"


class Distribution:
    """How variables, batches and what layers return are spread over a mesh; the base class.

    A subclass says so in `get_data_layout`, `get_variable_layout` and `get_tensor_layout`. Put it in force
    with `set_distribution`, or for a while with `with distribution.scope():`. A model may be made before or
    after that: `fit`, `evaluate` and `predict` move its variables to where they belong.

    Numbers do not depend on the devices: the loss, the statistics of batch normalization, metrics and
    random draws are those of the whole batch. A batch that the devices do not divide is computed whole on
    each.

    Args:
        device_mesh: a `DeviceMesh`.
        batch_dim_name: the mesh's axis that batches are spread over.
        auto_shard_dataset: with several processes, whether each reads all the data, and `fit` shares each
            batch out among them. If not, each process gives its own part of every batch.

    Source: Keras: Distribution.
    """

    def __init__(self, device_mesh: DeviceMesh, batch_dim_name=None, auto_shard_dataset=True):
        self._device_mesh = device_mesh
        self._batch_dim_name = batch_dim_name
        self._auto_shard_dataset = auto_shard_dataset
        self._num_processes, self._process_id = jax.process_count(), jax.process_index()

    @property
    def num_processes(self) -> int:
        """How many processes compute together."""
        return self._num_processes

    @property
    def num_model_replicas(self) -> int:
        """Among how many groups of devices a batch is shared out, each with all of the weights."""
        raise NotImplementedError(f"{type(self).__name__} has no `num_model_replicas`.")

    @property
    def data_shard_id(self) -> int:
        """The number of the data's share that this process works on."""
        replicas = self.num_model_replicas
        if replicas >= self.num_processes:
            return self._process_id
        return self._process_id // (self.num_processes // replicas)

    @property
    def device_mesh(self) -> DeviceMesh:
        """The mesh."""
        return self._device_mesh

    @property
    def batch_dim_name(self) -> str | None:
        """The mesh's axis that batches are spread over."""
        return self._batch_dim_name

    @property
    def auto_shard_dataset(self) -> bool:
        """Whether each process reads all the data, of which it gets its part."""
        return self._auto_shard_dataset

    @auto_shard_dataset.setter
    def auto_shard_dataset(self, value: bool) -> None:
        self._auto_shard_dataset = value

    def get_data_layout(self, data_shape) -> TensorLayout:
        """The layout of an array of a batch, by its shape."""
        raise NotImplementedError(f"{type(self).__name__} has no `get_data_layout`.")

    def get_variable_layout(self, variable) -> TensorLayout:
        """The layout of a variable, by its `path` and `shape`."""
        raise NotImplementedError(f"{type(self).__name__} has no `get_variable_layout`.")

    def get_tensor_layout(self, path: str) -> TensorLayout | None:
        """The layout of what a layer returns, by its path and `/output`; None if XLA shall choose."""
        raise NotImplementedError(f"{type(self).__name__} has no `get_tensor_layout`.")

    @contextmanager
    def scope(self):
        """A context in which this distribution is in force in this thread."""
        with within(distribution=(self,)):
            yield

    def distribute_dataset(self, dataset):
        """The data set itself: `fit` shares out each batch, whatever the data come in."""
        return dataset

    def distribute_tf_dataset(self, dataset):
        """The same as `distribute_dataset`."""
        return self.distribute_dataset(dataset)

    def check(self) -> None:
        """Warn of what is wrong with the layouts; called when a step has been traced."""

    def _whole(self, variable) -> TensorLayout:
        return TensorLayout([None] * len(variable.shape), self.device_mesh)

    def __repr__(self):
        return f"<{type(self).__name__} device_mesh={self.device_mesh}>"


class _Batchwise(Distribution):
    """A distribution that spreads the first axis of what is in a batch."""

    def get_data_layout(self, data_shape) -> TensorLayout:
        """The first axis is spread over the mesh's axis for batches."""
        axes: list = [None] * len(data_shape)
        if axes:
            axes[0] = self.batch_dim_name
        return TensorLayout(axes, self.device_mesh)

    @property
    def num_model_replicas(self) -> int:
        """How many parts a batch has."""
        return self._num_parts()

    def _num_parts(self) -> int:
        axis = list(self.device_mesh.axis_names).index(self.batch_dim_name)
        return self.device_mesh.shape[axis]


class DataParallel(_Batchwise):
    """Each device has the whole model, and computes its part of every batch.

    Args:
        device_mesh: a `DeviceMesh` of one axis. Of several axes the first is used, with a warning.
        devices: names of devices instead, or `jax.Device`s; default: all of the best kind.
        auto_shard_dataset: see `Distribution`.

    The gradients of a step are summed over all devices at once, so that the weights stay the same
    everywhere, and equal those that one device would have. Source: Keras: DataParallel.

    >>> import cornu
    >>> both = cornu.distribution.DataParallel(devices=["cpu:0"])
    >>> both.num_model_replicas, both.get_data_layout((32, 28, 28)).axes
    (1, ('batch', None, None))
    """

    def __init__(self, device_mesh=None, devices=None, auto_shard_dataset=True):
        if device_mesh is not None and devices is not None:
            raise ValueError(
                "Give `device_mesh` or `devices`, not both: a mesh has its devices. Received: "
                f"device_mesh={device_mesh}, devices={devices}"
            )
        if device_mesh is not None and not isinstance(device_mesh, DeviceMesh):
            raise ValueError(
                "Expect `mesh` to be an instance of `DeviceMesh`. Received: "
                f"mesh={device_mesh} (of type {type(device_mesh)})"
            )
        if device_mesh is None:
            found = list_devices() if devices is None else list(devices)
            device_mesh = DeviceMesh((len(found),), [BATCH], found)
        elif device_mesh.devices.ndim != 1:
            warnings.warn(
                "Expect the input mesh to be 1D, but received "
                f"mesh.devices.ndim={device_mesh.devices.ndim}. "
                "The first axis will be used for data-parallel sharding.",
                stacklevel=2,
            )
        super().__init__(device_mesh, device_mesh.axis_names[0], auto_shard_dataset)

    @property
    def num_model_replicas(self) -> int:
        """How many devices have the whole model."""
        return self.device_mesh.devices.size

    def get_variable_layout(self, variable) -> TensorLayout:
        """Each device has all of it, unless the variable has a layout of its own."""
        own = getattr(variable, "_layout", None)
        return self._whole(variable) if own is None else own

    def get_tensor_layout(self, path: str) -> None:
        """XLA chooses: each part of a batch stays where it is."""
        return None


class FullyShardedDataParallel(DataParallel):
    """Each device computes its part of a batch, and keeps only its part of weights and optimizer state.

    A weight is gathered when a layer needs it and its gradient goes to the device that keeps that part, so
    that models larger than one device's memory can be trained. The numbers are those of `DataParallel`.

    Args:
        device_mesh, devices, auto_shard_dataset: as for `DataParallel`.
        min_size: variables of fewer elements stay whole on each device.

    A variable is divided along its longest axis that the number of devices divides; if there is none, it
    stays whole. Source: "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models"
    (Rajbhandari et al., 2020), stage 3. Keras has nothing of the kind.

    >>> import cornu
    >>> spread = cornu.distribution.FullyShardedDataParallel(devices=["cpu:0"], min_size=4)
    >>> spread.get_variable_layout(cornu.Variable([[1.0, 2.0, 3.0, 4.0]])).axes
    (None, 'batch')
    """

    def __init__(
        self, device_mesh=None, devices=None, min_size: int = 4096, auto_shard_dataset=True
    ):
        super().__init__(device_mesh, devices, auto_shard_dataset)
        if not isinstance(min_size, int) or min_size < 0:
            raise ValueError(f"`min_size` must be an integer of at least 0. Received: {min_size!r}")
        self.min_size = min_size

    def get_variable_layout(self, variable) -> TensorLayout:
        """Divided along its longest axis that the devices divide."""
        own = getattr(variable, "_layout", None)
        if own is not None:
            return own
        shape, count = variable.shape, self._num_parts()
        size, fitting = 1, []
        for axis, length in enumerate(shape):
            size *= length
            if length and length % count == 0:
                fitting.append((length, axis))
        if not fitting or size < self.min_size:
            return self._whole(variable)
        axes: list = [None] * len(shape)
        axes[max(fitting)[1]] = self.batch_dim_name
        return TensorLayout(axes, self.device_mesh)


class ModelParallel(_Batchwise):
    """Weights are spread over devices as a `LayoutMap` says, and batches along one axis of the mesh.

    Args:
        layout_map: a `LayoutMap`. A variable that it does not name is whole on each device; the state that
            an optimizer keeps of a weight lies where the weight does.
        batch_dim_name: the mesh's axis that batches are spread over; default: its first.
        auto_shard_dataset: see `Distribution`.

    Source: Keras: ModelParallel.

    >>> import cornu
    >>> mesh = cornu.distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])
    >>> layouts = cornu.distribution.LayoutMap(mesh)
    >>> layouts[".*dense.*kernel"] = (None, "model")
    >>> spread = cornu.distribution.ModelParallel(layout_map=layouts)
    >>> with spread.scope():
    ...     model = cornu.Sequential([cornu.Input((3,)), cornu.layers.Dense(4)])
    >>> spread.get_variable_layout(model.layers[0].kernel).axes
    (None, 'model')
    """

    def __init__(
        self, *, layout_map=None, batch_dim_name=None, auto_shard_dataset=True, device_mesh=None
    ):
        if layout_map is None:
            raise ValueError("You must specify a layout_map argument.")
        if not isinstance(layout_map, LayoutMap):
            raise ValueError(
                f"Argument `layout_map` must be a `LayoutMap` instance. Received: layout_map={layout_map}"
            )
        mesh = layout_map.device_mesh
        if device_mesh is not None and device_mesh is not mesh:
            raise ValueError(
                "`device_mesh` is that of the `layout_map`; another cannot be given beside it. Received: "
                f"device_mesh={device_mesh}, layout_map.device_mesh={mesh}"
            )
        if batch_dim_name is not None and batch_dim_name not in mesh.axis_names:
            raise ValueError(
                f"The mesh has the axes {list(mesh.axis_names)}, and no {batch_dim_name!r} for batches."
            )
        super().__init__(mesh, batch_dim_name or mesh.axis_names[0], auto_shard_dataset)
        self._layout_map = layout_map
        # The paths that were looked up, and the keys that a warning has named.
        self._asked: set[str] = set()
        self._named_unused: set[str] = set()
        if self.num_processes > self.num_model_replicas and (
            self.num_processes % self.num_model_replicas
        ):
            raise ValueError(
                "If `num_processes` is greater than `num_model_replicas`, `num_processes` must be "
                f"divisible by `num_model_replicas`. Got num_processes={self.num_processes}, "
                f"num_model_replicas={self.num_model_replicas}."
            )

    def get_variable_layout(self, variable) -> TensorLayout:
        """That of the variable itself, or of the map; else each device has all of it."""
        own = getattr(variable, "_layout", None)
        self._asked.add(variable.path)
        own = self._layout_map[variable.path] if own is None else own
        return self._whole(variable) if own is None else own

    def get_tensor_layout(self, path: str) -> TensorLayout | None:
        """That of the map, or None."""
        self._asked.add(path)
        return self._layout_map[path]

    def check(self) -> None:
        """Warn of keys of the map that have matched nothing so far, once."""
        unused = [
            key for key in self._layout_map.unmatched(self._asked) if key not in self._named_unused
        ]
        self._named_unused.update(unused)
        if unused:
            known = sorted(path for path in self._asked if not path.endswith("/output"))[:8]
            warnings.warn(
                f"These keys of the LayoutMap match no variable and no output: {unused}. A key matches "
                f"all of a path, such as {', '.join(known)}. What none matches is whole on each device.",
                stacklevel=2,
            )


def set_distribution(value: Distribution | None) -> None:
    """Put a distribution in force, in all threads, or none with None.

    Within the `scope` of a distribution, it holds in that thread until the scope ends. Variables stay where
    they are until a model is used the next time. Raises ValueError for anything else. Source: Keras:
    set_distribution.

    >>> import cornu
    >>> cornu.distribution.set_distribution(cornu.distribution.DataParallel(devices=["cpu:0"]))
    >>> cornu.distribution.distribution()
    <DataParallel device_mesh=<DeviceMesh shape=(1,), axis_names=['batch']>>
    >>> cornu.distribution.set_distribution(None)
    """
    if value is not None and not isinstance(value, Distribution):
        raise ValueError(
            "`set_distribution` takes a Distribution, such as `distribution.DataParallel()`, or None. "
            f"Received: {value!r} of type {type(value).__name__}"
        )
    put_in_force(value)


def distribute_tensor(tensor, layout):
    """An array with another layout; within a compiled function, that of a value there.

    Args:
        tensor: array. A symbolic tensor is returned as it is.
        layout: `TensorLayout` or `jax.sharding.Sharding`.

    Source: Keras: distribute_tensor.

    >>> import cornu
    >>> mesh = cornu.distribution.DeviceMesh((1,), ["batch"], ["cpu:0"])
    >>> layout = cornu.distribution.TensorLayout(["batch"], mesh)
    >>> cornu.distribution.distribute_tensor(cornu.ops.ones(2), layout).shape
    (2,)
    """
    if isinstance(tensor, KerasTensor):
        return tensor
    return constrained(tensor, sharding(layout))


__all__ = [
    "DataParallel",
    "Distribution",
    "FullyShardedDataParallel",
    "ModelParallel",
    "distribute_tensor",
    "distribution",
    "set_distribution",
]
