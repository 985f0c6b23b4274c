"""Where arrays lie when there are several devices: the distribution in force, and how values get there.

A distribution, such as `DataParallel`, tells the layout of each variable and of a batch. All that works on
several devices asks here; without a distribution, nothing is moved.
"""

import types
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from cornu.core.context import context

# What `set_distribution` was given; within a distribution's `scope`, a thread has its own.
_everywhere: list[Any] = [None]


def distribution():
    """The distribution in force, or None.

    Source: Keras: distribution.

    >>> import cornu
    >>> cornu.distribution.distribution() is None
    True
    """
    return _everywhere[0] if context.distribution is None else context.distribution[0]


def put_in_force(value) -> None:
    """Make a distribution, or None, the one in force: of this thread within a scope, else of all."""
    if context.distribution is None:
        _everywhere[0] = value
    else:
        context.distribution = (value,)


def sharding(layout) -> Sharding:
    """The JAX sharding that a `TensorLayout` stands for, or the sharding itself."""
    found = getattr(layout, "backend_layout", layout)
    if not isinstance(found, Sharding):
        raise TypeError(
            "A layout is a `distribution.TensorLayout` or a `jax.sharding.Sharding`. Received: "
            f"{layout!r} of type {type(layout).__name__}"
        )
    return found


def layout_of(variable):
    """A variable's own layout, or that of the distribution in force; None without one."""
    layout, current = variable._layout, distribution()
    if layout is not None or current is None:
        return layout
    if variable._weight_path is not None:
        variable = types.SimpleNamespace(
            path=variable._weight_path, shape=variable.shape, dtype=variable.dtype, _layout=None
        )
    return current.get_variable_layout(variable)


def sharding_of(variable) -> Sharding | None:
    """Where a variable belongs, by its layout. None: anywhere."""
    layout = layout_of(variable)
    if layout is None:
        return None
    found = sharding(layout)
    check_fits(found, variable.shape, f"the variable {variable.path!r}")
    return found


def check_fits(found: Sharding, shape: tuple, what: str) -> None:
    """Raise ValueError if an array of a shape cannot be spread so."""
    if not isinstance(found, NamedSharding):
        return
    if len(found.spec) > len(shape):
        raise ValueError(
            f"The layout {tuple(found.spec)} has {len(found.spec)} axes, and {what} of shape "
            f"{tuple(shape)} has {len(shape)}. Give it one entry for each axis: a mesh's axis, or None."
        )
    if _divides(found, shape):
        return
    sizes = dict(found.mesh.shape)
    raise ValueError(
        f"The layout {tuple(found.spec)} does not divide {what} of shape {tuple(shape)}: the mesh has the "
        f"sizes {sizes}, and an axis has to be a multiple of the devices that it is spread over. Take "
        "another axis, or None for this one."
    )


def _divides(found: Sharding, shape: tuple) -> bool:
    try:
        found.shard_shape(tuple(shape))
    except ValueError:
        return False
    return True


def put(value, found: Sharding) -> jax.Array:
    """A value on a sharding's devices. With several processes, each gives all of it.

    >>> import jax, numpy
    >>> from cornu.core.placement import put
    >>> put(numpy.ones(2), jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])).shape
    (2,)
    """
    if isinstance(value, jax.Array) and value.sharding.is_equivalent_to(found, value.ndim):
        return value
    if found.is_fully_addressable:
        return jax.device_put(value, found)
    # `device_put` would compare the processes' values each time.
    host = fetch(value)
    return jax.make_array_from_callback(host.shape, found, lambda index: host[index])


def fetch(value) -> np.ndarray:
    """A value as an array of NumPy; if no process has all of it, every process has to call this."""
    if isinstance(value, jax.Array) and not (
        value.is_fully_addressable or value.is_fully_replicated
    ):
        if context.alone is not None:
            raise RuntimeError(
                f"{context.alone} reads an array that is spread over processes, but only this one calls "
                "it: it would wait forever for the others. Read it in a callback of all processes "
                "(`in_first_process_only = False`). TensorBoard can do without: `histogram_freq=0`."
            )
        from jax.experimental import multihost_utils

        value = multihost_utils.process_allgather(value, tiled=True)
    return np.asarray(value)


def initial(variable, value) -> jax.Array:
    """A new variable's value where it belongs."""
    if variable._layout is None and distribution() is None:
        return value
    found = sharding_of(variable)
    return value if found is None else put(value, found)


def spread_sharding(value) -> Sharding | None:
    """The sharding of an array on several devices."""
    found = getattr(value, "sharding", None)
    return found if found is not None and len(found.device_set) > 1 else None


def constrained(value, found: Sharding | None):
    """A traced value, or another, with a sharding."""
    if found is None:
        return value
    if isinstance(value, jax.core.Tracer):
        return lax.with_sharding_constraint(value, found)
    return put(value, found)


def on_each_device(tree):
    """Arrays that every device has whole; without a distribution, as they are."""
    current = distribution()
    if current is None:
        return tree
    whole = NamedSharding(current.device_mesh.backend_mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: constrained(leaf, whole), tree)


def share_out(tree, axis: int = 0):
    """Batches, of which each device gets its part of the rows that lie along `axis`.

    Where the devices do not divide the rows, each gets all of them, and does all the work: so does the last
    batch of an epoch, and the numbers are those of one device.
    """
    current = distribution()
    if current is None:
        return tree
    mesh = current.device_mesh.backend_mesh
    own = brings_own_rows(current)

    def shared(leaf):
        shape = tuple(leaf.shape)
        if len(shape) <= axis:
            return put(leaf, NamedSharding(mesh, PartitionSpec()))
        axes = current.get_data_layout(shape[axis:]).axes
        found = NamedSharding(mesh, PartitionSpec(*[None] * axis, *axes))
        if own:
            return _with_rows_of_each_process(found, np.asarray(leaf), axis)
        if not _divides(found, shape):
            found = NamedSharding(mesh, PartitionSpec())
        return put(leaf, found)

    return jax.tree.map(shared, tree)


def _with_rows_of_each_process(found: NamedSharding, rows: np.ndarray, axis: int) -> jax.Array:
    try:
        return jax.make_array_from_process_local_data(found, rows)
    except ValueError as error:
        devices = len(found.addressable_devices)
        raise ValueError(
            f"This process brings {rows.shape[axis]} rows of a batch, which cannot be shared out to its "
            f"{devices} devices: with `auto_shard_dataset=False` they have to divide each batch, the last "
            "one, too. Leave the rest out, as with `batch(n, drop_remainder=True)`, or let `fit` share "
            "the data out."
        ) from error


def mesh_of_batches():
    """The mesh of the distribution in force, if it is one of CPUs with one axis, that of batches."""
    current = distribution()
    if current is None:
        return None
    mesh = current.device_mesh.backend_mesh
    one = mesh.axis_names == (current.batch_dim_name,) and mesh.size > 1
    return mesh if one and mesh.devices.flat[0].platform == "cpu" else None


def brings_own_rows(current) -> bool:
    """Whether each process' data are its own share, and not the whole."""
    return current is not None and current.num_processes > 1 and not current.auto_shard_dataset


def place(variables: list, values: list) -> list:
    """Where variables belong elsewhere than they are, their moved values; None for the others."""
    found = [sharding_of(variable) for variable in variables]
    return [
        None
        if target is None
        or (isinstance(value, jax.Array) and value.sharding.is_equivalent_to(target, value.ndim))
        else put(value, target)
        for value, target in zip(values, found, strict=True)
    ]


def _without_batch(found: Sharding, shape: tuple) -> Sharding:
    """The sharding itself; without its first axis where that does not divide a batch."""
    if not isinstance(found, NamedSharding) or not shape or not found.spec:
        return found
    alone = NamedSharding(found.mesh, PartitionSpec(found.spec[0]))
    if _divides(alone, shape[:1]):
        return found
    return NamedSharding(found.mesh, PartitionSpec(None, *found.spec[1:]))


def shard_axes() -> tuple[str, ...]:
    """The axes of a mesh that the code of each device runs along by itself: those of `jax.shard_map`."""
    return tuple(jax.sharding.get_abstract_mesh().manual_axes)


def laid_out(outputs, path: str):
    """A layer's outputs, where the distribution has a layout for `path/output`."""
    layout = distribution().get_tensor_layout(f"{path}/output")
    if layout is None:
        return outputs
    found = sharding(layout)

    def constrain(value):
        if not isinstance(value, jax.Array):
            return value
        fitting = _without_batch(found, value.shape)
        check_fits(fitting, value.shape, f"the output of '{path}'")
        return constrained(value, fitting)

    return jax.tree.map(constrain, outputs)
