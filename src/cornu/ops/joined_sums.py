"""One sum over all devices where XLA would make many: the gradients, the loss, the metrics.

Each device computes its part of a batch, and what is summed over the batch is summed over the devices then.
Between processes, each array of such a sum takes a message of its own, there and back, and small networks
wait for messages longer than they compute. So the equations of a traced step are sorted by how many sums,
one after the other, they need; those that need equally many are summed in one array.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.sharding import Mesh, PartitionSpec

from cornu.core import shared_memory
from cornu.core.kernels import Split


def _split(equation, rows: int) -> Split | None:
    """How the devices compute an equation whose results, or some, are sums over the batch."""
    shapes = [v.aval.shape for v in equation.invars]
    if equation.primitive.name in ("reduce_sum", "cornu_sum"):
        found = Split((0,), (None,)) if 0 in equation.params["axes"] else None
    elif equation.primitive is lax.dot_general_p:
        summed, together = equation.params["dimension_numbers"]
        both = all(0 in axes for axes in summed) and not any(together)
        both = both and summed[0].index(0) == summed[1].index(0)
        found = Split((0, 0), (None,)) if both else None
    elif equation.primitive.name == "cornu_ordered_product":
        both = all(axes[0] == 0 for axes in equation.params["summed"])
        found = Split((0, 0), (None,)) if both else None
    else:
        found = getattr(equation.primitive, "split", None)
    if found is None or None not in found.results:
        return None
    counts = {
        shape[axis] for shape, axis in zip(shapes, found.operands, strict=True) if axis is not None
    }
    return found if len(counts) == 1 and counts.pop() % rows == 0 else None


def joined(program, mesh: Mesh, rows: int):
    """A traced program in which the devices of a mesh of one axis sum as seldom as can be.

    Args:
        program: traced; what is not summed over the batch stays as it is.
        mesh: of one axis, along which batches lie.
        rows: of a batch of all devices, which they divide.
    """
    if program.effects:
        return program
    given = [
        jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in program.in_avals
    ]
    return jax.make_jaxpr(functools.partial(_evaluate, program, mesh, rows))(*given)


def _evaluate(program, mesh, rows, *arguments):
    known = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    known |= dict(zip(program.jaxpr.invars, arguments, strict=True))

    def value(v):
        return v.val if isinstance(v, core.Literal) else known[v]

    after: list = []
    for number, equations in enumerate(_by_sums(program.jaxpr, rows)):
        partial: list = []
        for equation, split in equations:
            operands = list(map(value, equation.invars))
            if split is None:
                results = _run(program.jaxpr, equation, operands)
            else:
                results = _on_each_device(equation, split, mesh, operands)
            for v, result, axis in zip(
                equation.outvars,
                results,
                split.results if split else [0] * len(results),
                strict=True,
            ):
                if axis is not None:
                    known[v] = result
            if split is not None:
                whole = [n for n, axis in enumerate(split.results) if axis is None]
                partial.append((split, [(equation.outvars[n], results[n]) for n in whole]))
        if partial:
            known.update(_summed(partial, mesh, number, after))
    return list(map(value, program.jaxpr.outvars))


def _by_sums(program, rows: int) -> list[list[tuple]]:
    """The equations, each with its split, by the number of sums that they wait for."""
    waits: dict = {}
    found: list[list[tuple]] = []
    for equation in program.eqns:
        count = max(
            (waits.get(v, 0) for v in equation.invars if not isinstance(v, core.Literal)),
            default=0,
        )
        split = _split(equation, rows)
        while len(found) <= count:
            found.append([])
        found[count].append((equation, split))
        for n, v in enumerate(equation.outvars):
            waits[v] = count + (split is not None and split.results[n] is None)
    return found


def _run(program, equation, operands) -> list:
    given = {
        v: o
        for v, o in zip(equation.invars, operands, strict=True)
        if not isinstance(v, core.Literal)
    }
    alone = program.replace(
        constvars=[],
        invars=list(given),
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
    )
    return jax.core.eval_jaxpr(alone, (), *given.values())


def _on_each_device(equation, split: Split, mesh: Mesh, operands) -> list:
    """The results; each device's own, along a new first axis, where they are sums."""
    (name,) = mesh.axis_names

    def spec(axis):
        return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, name)

    def local(*operands):
        results = equation.primitive.bind(*operands, **equation.params)
        results = results if equation.primitive.multiple_results else [results]
        return [
            r[None] if axis is None else r for r, axis in zip(results, split.results, strict=True)
        ]

    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=tuple(map(spec, split.operands)),
        out_specs=[spec(axis or 0) for axis in split.results],
        check_vma=False,
    )(*operands)


def _summed_as(dtype):
    """In what devices' parts are summed: not in 16 bits, where many small ones would be lost.

    So the gradients of mixed precision, too, go into one message with the float32 ones.
    """
    return jnp.dtype(jnp.float32) if dtype in (jnp.bfloat16, jnp.float16) else dtype


def _summed(partial: list, mesh: Mesh, number: int, after: list) -> dict:
    """What all devices together have, by variable, of what each has.

    Args:
        number: how many times there was summed before.
        after: a result of the last of these, if there is one.
    """
    sums = [each for split, pairs in partial if split.combine is None for each in pairs]
    others = [each for split, pairs in partial if split.combine is not None for each in pairs]
    found: dict = {}
    for gathers, pairs in ((False, sums), (True, others)):
        for dtype in dict.fromkeys(_summed_as(array.dtype) for _, array in pairs):
            same = [(v, array) for v, array in pairs if _summed_as(array.dtype) == dtype]
            arrays = [array for _, array in same]
            joined = over_devices(arrays, mesh, dtype, gathers, number, after)
            for (v, array), result in zip(same, joined, strict=True):
                found[v] = result.astype(array.dtype)
            after[:] = joined[:1]
    for split, pairs in partial:
        if split.combine is not None:
            results = split.combine(*(found[v] for v, _ in pairs))
            found.update(zip((v for v, _ in pairs), results, strict=True))
    return found


def over_devices(arrays: list, mesh: Mesh, dtype, gathers=False, number=0, after=()) -> list:
    """The sums over all devices of arrays whose first axis has one entry for each, or those side by side.

    Args:
        dtype: what they are summed in.
        gathers: whether the devices' entries are gathered, not summed.
        number: tells this call from others.
        after: what is computed before.
    """
    in_memory = shared_memory.spans(mesh) and dtype in shared_memory.DTYPES
    way = functools.partial(_by_memory, number, after) if in_memory else _by_message
    return way(arrays, mesh, dtype, gathers)


def _by_message(arrays: list, mesh: Mesh, dtype, gathers: bool) -> list:
    """In one message of XLA's."""
    (name,) = mesh.axis_names
    collective = lax.all_gather if gathers else lax.psum

    def all_of(*arrays):
        flat = [a.ravel().astype(dtype) for a in arrays]
        return collective(jnp.concatenate(flat), name)

    joined = _on_devices(all_of, mesh, len(arrays), ())(*arrays)
    ends = list(itertools.accumulate(math.prod(a.shape[1:]) for a in arrays))
    parts = [joined[..., begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    return [
        part.reshape(joined.shape[:-1] + a.shape[1:]) for part, a in zip(parts, arrays, strict=True)
    ]


def _by_memory(number: int, after, arrays: list, mesh: Mesh, dtype, gathers: bool) -> list:
    """Of processes that share memory."""

    def all_of(*given):
        parts = [a[0].astype(dtype) for a in given[: len(arrays)]]
        return shared_memory.total(parts, number, gathers, list(given[len(arrays) :]))

    return _on_devices(all_of, mesh, len(arrays), after)(*arrays, *after)


def _on_devices(function, mesh: Mesh, count: int, whole):
    """`function` of the devices' parts of `count` arrays, and of what is whole on each."""
    (name,) = mesh.axis_names
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(PartitionSpec(name),) * count + (PartitionSpec(),) * len(whole),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
