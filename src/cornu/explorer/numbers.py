"""What a window consists of, as a page gets it."""

from typing import Any

from cornu.explain.window import Window

# Values of a window that a page gets.
MOST_NUMBERS = 2048


def numbers_of(found: Window) -> dict[str, Any]:
    """What a window consists of, for JSON; of many values the first."""
    grids: list[dict] = []
    shown, every = 0, found.grids()
    for name, patch, kernel, padding in every:
        if shown + patch.size > MOST_NUMBERS and grids:
            break
        rows = max(1, MOST_NUMBERS // patch.shape[1])
        patch, padding = patch[:rows], padding[:rows]
        kernel = None if kernel is None else kernel[:rows]
        shown += patch.size
        grids.append(
            {
                "name": name,
                "patch": patch.tolist(),
                "kernel": None if kernel is None else kernel.tolist(),
                "padding": padding.tolist(),
                "sum": float((patch if kernel is None else patch * kernel).sum()),
            }
        )
    terms = found.terms
    return {
        "layer": found.layer,
        "kind": found.kind,
        "position": list(found.position),
        "channel": found.channel,
        "grids": grids,
        "left_out": len(every) - len(grids),
        "count": terms.products.size,
        "origin": list(terms.origin),
        "reach": list(terms.reach),
        "size": list(terms.values.shape[: len(terms.origin)]),
        "first_channel": terms.first_channel,
        "channels": terms.values.shape[-1] if terms.origin else 0,
        "steps": [step._asdict() for step in terms.steps],
        "result": found.result,
        "expected": found.expected,
    }
