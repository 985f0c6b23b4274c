"""What a question may change in a copy of the weights: single numbers, or steps against the gradient."""

import math
from typing import Any, NamedTuple

# Of a question: weights that are set, and steps of training.
MOST_EDITS, MOST_STEPS = 64, 20
# Batches in a row, and examples of one.
MOST_BATCHES, MOST_SIZE = 100, 64
# What any float of 32 bits holds, and what can still be multiplied.
_LARGEST = 1e9


class Value(NamedTuple):
    """A weight that is set, or all that an index with gaps means."""

    layer: int
    weight: str
    place: tuple[int | None, ...]
    value: float


class Batch(NamedTuple):
    """A batch of a training step by step: its number from 1 on, its size, and how far it has come.

    Phases: 0 forward, 1 loss, 2 backward, 3 update.
    """

    number: int
    size: int
    phase: int

    @property
    def done(self) -> int:
        """How many batches have moved the weights."""
        return self.number - (self.phase < 3)


class Steps(NamedTuple):
    """Steps of gradient descent for the example that is asked about."""

    target: list[float]
    rate: float
    steps: int


def parsed(given: Any) -> list[Value] | Steps | Batch | None:
    """The edits of a question.

    Args:
        given: what came as JSON: None; a list of `{"layer", "weight", "index", "value"}`; or
            `{"target", "rate", "steps"}`; or `{"batch", "size", "phase"}`.

    Raises ValueError for anything else.
    """
    if given is None:
        return None
    if isinstance(given, dict):
        return _batch(given) if "batch" in given else _steps(given)
    if not isinstance(given, list) or len(given) > MOST_EDITS:
        raise ValueError(
            f"Expected as edits a list of at most {MOST_EDITS} weights, or target, rate and steps."
        )
    return [_value(entry) for entry in given] or None


def target_of(given: Any) -> list[float]:
    """The target of a loss: a class, a number, or a list of at most 1,024 numbers."""
    numbers = given if isinstance(given, list) else [given]
    if not 0 < len(numbers) <= 1024:
        raise ValueError("Expected a class, or numbers, as target.")
    return [_number(number, "target") for number in numbers]


def rate_of(given: Any) -> float:
    """A learning rate."""
    rate = _number(given, "rate")
    if not 0 < rate <= 1e6:
        raise ValueError(f"Expected a rate above 0, of at most 1,000,000. Received: {rate!r}")
    return rate


def _steps(given: dict) -> Steps:
    if set(given) != {"target", "rate", "steps"}:
        raise ValueError("Expected as edits target, rate and steps.")
    steps = given["steps"]
    if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"Expected from 1 to {MOST_STEPS} steps.")
    return Steps(target_of(given["target"]), rate_of(given["rate"]), steps)


def _batch(given: dict) -> Batch:
    most = {"batch": (1, MOST_BATCHES), "size": (1, MOST_SIZE), "phase": (0, 3)}
    if set(given) != set(most):
        raise ValueError("Expected as edits batch, size and phase.")
    for name, (low, high) in most.items():
        if type(given[name]) is not int or not low <= given[name] <= high:
            raise ValueError(f"Expected a {name} from {low} to {high}.")
    return Batch(given["batch"], given["size"], given["phase"])


def _value(given: Any) -> Value:
    if not isinstance(given, dict) or set(given) != {"layer", "weight", "index", "value"}:
        raise ValueError("Expected for each weight its layer, weight, index and value.")
    layer, weight, index = given["layer"], given["weight"], given["index"]
    if type(layer) is not int or not isinstance(weight, str) or not isinstance(index, list):
        raise ValueError("Expected a layer's number, a weight's name, and a list as index.")
    if len(index) > 8 or not all(i is None or (type(i) is int and 0 <= i < 2**31) for i in index):
        raise ValueError("Expected as index numbers from 0 on; null for all along an axis.")
    return Value(layer, weight, tuple(index), _number(given["value"], "value"))


def _number(given: Any, name: str) -> float:
    if type(given) not in (int, float) or not math.isfinite(given) or abs(given) > _LARGEST:
        raise ValueError(f"Expected a number of at most {_LARGEST:,.0f} as {name}.")
    return float(given)
