"""The native kernels: loading their library, and primitives that run on it.

A primitive has a form in `lax`, which runs everywhere and is what tests compare with, and perhaps a
native one, which is chosen when a program is lowered for a CPU. To JAX it is an operation like any
other: it can be compiled, differentiated in both modes, and batched.
"""

import ctypes
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import cornu.kernels


class Native(NamedTuple):
    """Whether the native kernels are in use, for which instruction set, from which file, and why."""

    in_use: bool
    instruction_set: str | None
    reason: str
    library: str | None = None
    # Whether convolutions of bfloat16 are computed from it, and not from float32.
    multiplies_bfloat16: bool = False


def _interface() -> tuple[int, int]:
    """The version of XLA's interface for kernels, major and minor, as the header beside XLA says."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text()
    found = dict(re.findall(r"#define XLA_FFI_API_(MAJOR|MINOR) (\d+)", header))
    return int(found["MAJOR"]), int(found["MINOR"])


@functools.cache
def native() -> Native:
    """Load the library and tell XLA of it, once."""
    if os.environ.get("CORNU_NATIVE", "1") == "0":
        return Native(False, None, "switched off by CORNU_NATIVE=0")
    found = [
        p for folder in cornu.kernels.__path__ for p in Path(folder).glob("libcornu_kernels.*")
    ]
    if not found:
        reason = "not built: when Cornu was installed, there was no C++ compiler, or it failed"
        return Native(False, None, reason)
    try:
        library = ctypes.CDLL(str(found[0]))
        built_for = (ctypes.c_int * 2)()
        library.cornu_interface(built_for)
        major, minor = _interface()
        # XLA itself would refuse them only when it starts, and then not start at all.
        if built_for[0] != major or built_for[1] > minor:
            reason = (
                f"{found[0]} was built for a newer XLA than that of JAX {jax.__version__}: "
                "install Cornu again, or a newer JAX"
            )
            return Native(False, None, reason)
        library.cornu_names.restype = ctypes.c_char_p
        for name in library.cornu_names().decode().split():
            handler = jax.ffi.pycapsule(getattr(library, f"cornu_{name}"))
            jax.ffi.register_ffi_target(f"cornu_{name}", handler, platform="cpu")
    except (OSError, AttributeError, KeyError, RuntimeError, ValueError) as error:
        return Native(False, None, f"{found[0]} could not be used: {error}")
    library.cornu_instruction_set.restype = ctypes.c_char_p
    name, wanted = library.cornu_instruction_set().decode(), os.environ.get("CORNU_ISA")
    reason = "the best that this processor has"
    if wanted:
        reason = f"asked for by CORNU_ISA={wanted}" + (
            "" if name == wanted else ", which this processor or library does not have"
        )
    library.cornu_multiplies_pairs.restype = ctypes.c_bool
    return Native(True, name, reason, str(found[0]), library.cornu_multiplies_pairs())


# Formats that become float32 for a kernel, in which it computes, and again themselves after it, except
# where the processor multiplies pairs of bfloat16 and adds the products in float32.
HALF_PRECISION = (np.dtype(jax.numpy.bfloat16), np.dtype(np.float16))


class Split(NamedTuple):
    """How an operation is computed on several devices, each with its part of the batch.

    `operands` and `results` have one entry for each: the axis of the batch, or None for what is whole on
    each device. Results that are whole are sums over the devices, or else `combine` makes them of the
    devices' own, which lie along a new first axis. If all operands are whole, so are all results, on each
    device.
    """

    operands: tuple[int | None, ...]
    results: tuple[int | None, ...]
    combine: Callable | None = None


def _spread_call(call, split: Split, context, several):
    """`call` on each device's part of the batch; None where more than the batch may be spread."""
    meshes = {a.sharding.mesh for a in context.avals_in if not a.sharding.mesh.empty}
    if len(meshes) != 1:
        return None
    (mesh,) = meshes
    names = [name for name, size in mesh.shape.items() if size > 1]
    if len(names) != 1 or set(mesh.axis_types) != {AxisType.Auto}:
        return None
    (name,) = names
    counts = [
        a.shape[axis]
        for a, axis in zip(context.avals_in, split.operands, strict=True)
        if axis is not None
    ]
    if counts and (any(n not in (1, counts[0]) for n in counts) or counts[0] % mesh.shape[name]):
        return None

    def spec(axis, shape):
        if axis is None or shape[axis] != counts[0]:
            return PartitionSpec()
        return PartitionSpec(*[None] * axis, name)

    def local(*operands):
        results = list(call(*operands)) if several else [call(*operands)]
        whole = [n for n, axis in enumerate(split.results) if axis is None]
        if whole and counts:
            own = [results[n] for n in whole]
            if split.combine is None:
                combined = lax.psum(own, name)
            else:
                combined = split.combine(*lax.all_gather(own, name))
            for n, result in zip(whole, combined, strict=True):
                results[n] = result
        return results if several else results[0]

    inputs = [spec(axis, a.shape) for axis, a in zip(split.operands, context.avals_in, strict=True)]
    outputs = [
        spec(axis, a.shape) for axis, a in zip(split.results, context.avals_out, strict=True)
    ]
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=tuple(inputs),
        out_specs=outputs if several else outputs[0],
        check_vma=False,
    )


def _runs_natively(avals, context) -> bool:
    # What is exported must run where there is no Cornu.
    module = context.module_context
    return (
        not getattr(module.lowering_parameters, "for_export", False)
        and all(
            a.dtype in (np.float32, np.uint8, np.int32, np.uint32, *HALF_PRECISION) for a in avals
        )
        and all(isinstance(n, int) and n > 0 for a in avals for n in a.shape)
        and native().in_use
    )


def _varying(aval) -> frozenset:
    """The axes of a mesh along which an array inside `shard_map` varies."""
    manual = getattr(aval, "manual_axis_type", None)
    return aval.vma if manual is None else manual.varying


def _like(aval, shape, dtype):
    """An array of another shape, that varies along the same axes of a mesh."""
    if shape == aval.shape:
        return aval.update(dtype=dtype, weak_type=False)
    whole = NamedSharding(aval.sharding.mesh, PartitionSpec(*[None] * len(shape)))
    return aval.update(shape=shape, dtype=dtype, weak_type=False, sharding=whole)


def transpose(function, cotangent, shape, dtype):
    """What the transpose of a linear function, of an array of a shape, makes of a cotangent."""
    operand = _like(jax.typeof(cotangent), shape, dtype)
    return jax.linear_transpose(function, operand)(cotangent)[0]


_vary: Any = getattr(lax, "pvary", None) or functools.partial(lax.pcast, to="varying")


def _refuse_explicit(sharding) -> None:
    """Raise ValueError for an array that is spread along an axis of the kind `jax.make_mesh` makes."""
    mesh = sharding.mesh
    if mesh.empty or AxisType.Explicit not in mesh.axis_types:
        return
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    for entry in sharding.spec:
        for name in entry if isinstance(entry, tuple) else (entry,):
            if kinds.get(name) == AxisType.Explicit:
                raise ValueError(
                    f"An array is spread along the axis {name!r} of a mesh with explicit axes, where each "
                    "operation has to say how its result is spread. Cornu leaves that to XLA: make it "
                    "with `jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * "
                    "len(names))`, or with `distribution.DeviceMesh`."
                )


class _Primitive(Primitive):
    """A primitive whose operands all vary along the same axes of a mesh, as those of `lax` do.

    Inside `shard_map`, an operand that is the same on all devices is first said to vary: the gradient
    of that is the sum over the devices.
    """

    split: Split | None = None

    def bind(self, *operands, **parameters):
        for operand in operands:
            _refuse_explicit(jax.typeof(operand).sharding)
        varying = [_varying(jax.typeof(o)) for o in operands]
        everywhere = frozenset().union(*varying)
        operands = tuple(
            _vary(o, tuple(everywhere - v)) if everywhere - v else o
            for o, v in zip(operands, varying, strict=True)
        )
        return super().bind(*operands, **parameters)


def primitive(
    name,
    abstract,
    lax_form,
    attributes=None,
    batched=(0,),
    several=False,
    summed=None,
    in_place=0,
    split=None,
) -> Primitive:
    """Make a primitive.

    Args:
        name: that of the kernel, if there is one.
        abstract: `(*avals, **parameters)` to the shape and dtype of the result; a list of such if
            there are several.
        lax_form: the operation in terms of `jax.lax`.
        attributes: `(*avals, **parameters)` to what the native kernel gets beside its operands; None
            if there is no kernel.
        batched: which operands have the batch axis in front. If only these are mapped by `vmap`,
            the mapped axis becomes a part of it.
        several: whether there are several results.
        summed: `(*avals, **parameters)` to the number of channels that its sums go over; given if there
            is a kernel for pairs of bfloat16 of its first two operands, too.
        split: how the kernel is computed on several devices; by default, if there are operands with the
            batch axis in front, each part of the batch by itself.
        in_place: how many results the kernel may write where its operands of the same numbers lie.
    """
    made = _Primitive(f"cornu_{name}")
    made.multiple_results, made.split = several, split

    def results_as(kind, *avals, **parameters):
        results = abstract(*avals, **parameters)
        return [kind(*r) for r in results] if several else kind(*results)

    def abstract_eval(*avals, **parameters):
        return results_as(functools.partial(_like, avals[0]), *avals, **parameters)

    made.def_abstract_eval(abstract_eval)

    @functools.lru_cache(512)
    def compiled(**parameters):
        return jax.jit(functools.partial(made.bind, **parameters))

    made.def_impl(lambda *operands, **parameters: compiled(**parameters)(*operands))

    def call(*operands, **parameters):
        avals = [jax.typeof(o) for o in operands]
        results = results_as(jax.ShapeDtypeStruct, *avals, **parameters)
        of_pairs = (
            summed is not None
            and native().multiplies_bfloat16
            and all(a.dtype == jax.numpy.bfloat16 for a in avals[:2])
            and summed(*avals, **parameters) % 2 == 0
        )
        # What is pooled is summed in float32 first, and so comes as that.
        rounds = of_pairs and not several
        single = jax.tree.map(
            lambda r: r.update(dtype=np.float32) if r.dtype in HALF_PRECISION and not rounds else r,
            results,
        )
        call = jax.ffi.ffi_call(
            f"cornu_{name}_of_pairs" if of_pairs else f"cornu_{name}",
            single,
            input_output_aliases={n: n for n in range(in_place)},
        )
        kept = 2 if of_pairs else 0
        given = [
            o.astype(np.float32) if o.dtype in HALF_PRECISION and n >= kept else o
            for n, o in enumerate(operands)
        ]
        found = call(*given, **attributes(*avals, **parameters))
        return jax.tree.map(lambda f, r: f.astype(r.dtype), found, results)

    def lower(context, *operands, **parameters):
        chosen = None
        if attributes and _runs_natively(context.avals_in, context):
            chosen = functools.partial(call, **parameters)
            # XLA can split an operation of `lax` over devices, but would gather all of a kernel's operands
            # on each of them. (Within `shard_map`, each device has its part already.)
            if getattr(context.module_context.axis_context, "num_devices", 1) > 1:
                chosen = split_of(context) and _spread_call(
                    chosen, split_of(context), context, several
                )
        if chosen is not None:
            return mlir.lower_fun(chosen, multiple_results=several)(context, *operands)
        return mlir.lower_fun(lax_form, multiple_results=several)(context, *operands, **parameters)

    def split_of(context):
        if split is not None or not batched:
            return split
        axes = (0 if n in batched else None for n in range(len(context.avals_in)))
        return Split(tuple(axes), (0,) * len(context.avals_out))

    mlir.register_lowering(made, lower, platform="cpu")
    mlir.register_lowering(made, mlir.lower_fun(lax_form, multiple_results=several))

    def batch(operands, axes, **parameters):
        if any((axis is not None) != (n in batched) for n, axis in enumerate(axes)):
            results = jax.vmap(
                functools.partial(lax_form, **parameters),
                in_axes=tuple(axes),
            )(*operands)
        else:
            moved = [
                o if axis is None else jax.numpy.moveaxis(o, axis, 0)
                for o, axis in zip(operands, axes, strict=True)
            ]
            count = moved[batched[0]].shape[0]
            folded = [
                o if axis is None else o.reshape(count * o.shape[1], *o.shape[2:])
                for o, axis in zip(moved, axes, strict=True)
            ]
            results = jax.tree.map(
                lambda r: r.reshape(count, r.shape[0] // count, *r.shape[1:]),
                made.bind(*folded, **parameters),
            )
        return results, jax.tree.map(lambda _: 0, results)

    batching.primitive_batchers[made] = batch
    return made
