"""Whether a compiled step fits into the device's memory, and what to say if it does not."""

import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import jax

from cornu.core.watching import watched

# How many layers a message names.
_LARGEST = 5
_ADVICE = (
    "Try a smaller batch size, with the optimizer's gradient_accumulation_steps=n if n batches"
    " are to count as one; "
    'cornu.config.set_dtype_policy("mixed_bfloat16"), which halves the outputs; or'
    " cornu.RematScope, which computes outputs again instead of keeping them."
)


def bytes_needed(analysis) -> int:
    """The memory that a compiled function takes besides its arguments: temporaries and new outputs.

    Outputs in the place of donated arguments take none.

    Args:
        analysis: what `memory_analysis()` of the compiled function says.
    """
    new = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.temp_size_in_bytes + max(new, 0)


def check(compiled, device: jax.Device | None, trace: Callable, arguments) -> tuple[int, int]:
    """Refuse a step that cannot run on its device, and warn of one that may not.

    An accelerator's memory is known: arguments and what the step adds must be no more. A CPU's is not, as
    other programs come and go, the system may swap, and arguments may lie in files: the step is refused
    only if what it adds is more than all of the memory and all of the swap, and warned of if that is more
    than what is free.
    `CORNU_MEMORY_CHECK=0` turns both off.

    Args:
        compiled: what `jax.jit(…).lower(…).compile()` has returned.
        device: where it runs. Default: the first one.
        trace: the function that was compiled; the layers' outputs are looked for in it.
        arguments: those that it was compiled for, or their shapes.

    Returns how many bytes the step takes besides its arguments, and with them; 0 if the compiler does not
    say.

    Raises MemoryError.
    """
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0, 0
    needed = bytes_needed(analysis)
    sizes = needed, analysis.argument_size_in_bytes + needed
    if os.environ.get("CORNU_MEMORY_CHECK") == "0":
        return sizes
    device = device or jax.local_devices()[0]
    if device.platform == "cpu":
        limit, free = memory_of_this_machine()
        name = "this machine"
    else:
        limit = (device.memory_stats() or {}).get("bytes_limit", UNKNOWN)
        free = limit = limit - analysis.argument_size_in_bytes
        name = f"{device.device_kind} with them in it"
    if needed <= free:
        return sizes
    text = (
        f"takes {_size(needed)} besides its arguments; {name} has {_size(limit)}, of which {_size(free)} "
        f"are free.{_explained(trace, arguments)} {_ADVICE}"
    )
    if needed > limit:
        raise MemoryError(
            f"The step cannot run: it {text} Set CORNU_MEMORY_CHECK=0 to try it all the same."
        )
    warnings.warn(f"The step may run out of memory: it {text}", ResourceWarning, stacklevel=2)
    return sizes


def is_exhausted(error: BaseException) -> bool:
    """Whether XLA ran out of memory."""
    return isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def explained(error: BaseException, trace: Callable, arguments) -> MemoryError:
    """The same error, with the largest layers and what to try."""
    first = str(error).splitlines()[0]
    return MemoryError(
        f"The step ran out of memory.{_explained(trace, arguments)} {_ADVICE} ({first})"
    )


def shapes(arguments):
    """Shapes and dtypes of arrays, which hold no memory."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype) if hasattr(a, "shape") else a, arguments
    )


def _explained(trace: Callable, arguments) -> str:
    arguments = shapes(arguments)
    held = sum(_bytes(leaf) for leaf in jax.tree.leaves(arguments) if hasattr(leaf, "shape"))
    text = f" The arguments (weights, what the optimizer keeps, data) are {_size(held)}."
    rows = [
        f"{name} {tuple(shape)} {dtype}: {_size(size)}"
        for size, name, shape, dtype in _largest_outputs(trace, arguments)
    ]
    return text + (f" The largest outputs of layers: {'; '.join(rows)}." if rows else "")


def _largest_outputs(trace: Callable, arguments) -> list[tuple]:
    found: dict = {}

    def note(operation, given, called_with, outputs):
        # A layer that holds others returns the output of one of them.
        if not getattr(operation, "_layers", None):
            for leaf in jax.tree.leaves(outputs):
                if hasattr(leaf, "shape"):
                    name = getattr(operation, "path", operation.name)
                    row = (_bytes(leaf), name, leaf.shape, str(leaf.dtype))
                    found[name] = max(found.get(name, row), row)
        return outputs

    try:
        with watched(note):
            jax.eval_shape(trace, *arguments)
    except Exception:
        # The message matters more than its details.
        return []
    return sorted(found.values(), reverse=True)[:_LARGEST]


def _bytes(array) -> int:
    return math.prod(array.shape) * getattr(array.dtype, "itemsize", 4)


UNKNOWN = 2**62


def memory_of_this_machine() -> tuple[int, int]:
    """All memory and swap, and what of them is free; of the container, if that has less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        swap, free_swap = kilobytes["SwapTotal"], kilobytes["SwapFree"]
        total = (kilobytes["MemTotal"] + swap) * 1024
        free = (kilobytes["MemAvailable"] + free_swap) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return UNKNOWN, UNKNOWN
    # What is cached can be given up, so a container's limit bounds the whole, and not what is free.
    limit = _limit_of_container() + swap * 1024
    return min(total, limit), min(free, limit)


def _limit_of_container() -> int:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(path).read_text())
        except (OSError, ValueError):
            # There is no such file, or it says "max".
            continue
    return UNKNOWN


def _size(num_bytes: int) -> str:
    mebibytes = num_bytes / 2**20
    return f"{mebibytes / 1024:,.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:,.1f} MiB"
