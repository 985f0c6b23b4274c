"""Checkpoints of Orbax, laid out as Keras lays them out: a folder that has one for each step.

A step holds `pytree`, all variables in nested dicts by their paths; and, unless it is of weights only,
`model_config`, and `assets`, the files that layers keep.
"""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cornu.core.optional import required
from cornu.core.variable import Variable
from cornu.saving.counterparts import Counterparts, Names, Stored, renamed
from cornu.saving.errors import FileFormatError, learning_rate_was_read
from cornu.saving.reading import explained, limits, parse

_TREE, _CONFIGURATION, _FILES = "pytree", "model_config", "assets"
WEIGHTS = ("trainable_variables", "non_trainable_variables")
_OPTIMIZER, _SEED = "optimizer_variables", "seed_generator_state"
# What lies in the folder of a step: the first in those of newer versions, the second in all of a model.
_MARKS = ("_CHECKPOINT_METADATA", _TREE)


def orbax():
    """The newer form of the package."""
    return required("orbax.checkpoint", "A checkpoint of Orbax", package="orbax-checkpoint").v1


def steps(folder) -> list[int]:
    """The numbers of the checkpoints in a folder that are written to the end."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and p.is_dir())


def is_checkpoint(path) -> bool:
    """Whether a path is a folder of checkpoints, or a step in one, be it there or not."""
    path = Path(path)
    if path.is_dir():
        return bool(steps(path)) or _is_step(path)
    return not path.exists() and path.name.isdecimal() and bool(steps(path.parent))


def _is_step(path: Path) -> bool:
    return any((path / mark).exists() for mark in _MARKS)


class Checkpoint:
    """A checkpoint to be read.

    Args:
        path: the folder of a step; or one with several, of which the last is taken.

    Raises FileNotFoundError if the step is not there, FileFormatError if it is damaged.
    """

    def __init__(self, path):
        path = Path(path).absolute()
        if not path.exists():
            raise FileNotFoundError(
                f"There is no checkpoint {path.name} in {path.parent}. It has: "
                f"{', '.join(map(str, steps(path.parent)))}."
            )
        self.path = path if _is_step(path) else path / str(steps(path)[-1])
        self._orbax = orbax()
        with self._explained():
            self._parts = self._orbax.checkpointables_metadata(self.path).metadata
            self._arrays(_TREE)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        others = [str(step) for step in steps(self.path.parent) if str(step) != self.path.name]
        hint = f" (others beside it: {', '.join(others)})" if others else ""
        with explained(self.path, f"is damaged, or no checkpoint of a model{hint}"):
            try:
                yield
            except FileNotFoundError as error:
                raise ValueError(str(error)) from error

    def _load(self, part: str, target=None):
        with self._explained():
            try:
                return self._orbax.load_checkpointables(self.path, {part: target})[part]
            except OSError:
                raise
            except Exception as error:
                # Orbax' own message names all its classes; the cause says what is wrong.
                reason = " ".join(str(error.__cause__ or error).split())
                raise ValueError(f"its '{part}' cannot be read: {reason:.200}") from error

    def _arrays(self, part: str) -> dict[Names, Any]:
        """What is known of the arrays of a part, by their paths."""
        described = self._parts.get(part)
        if not isinstance(described, dict):
            raise ValueError(f"its '{part}' cannot be read")
        return _leaves(described)

    def configuration(self) -> dict:
        """The model's configuration; raises FileFormatError if there is none."""
        if _CONFIGURATION not in self._parts:
            raise FileFormatError(
                f"{self.path} holds weights, but no model: it was saved with `save_weights_only=True`. "
                "Make the model, and use `load_weights`."
            )
        held = self._load(_CONFIGURATION)
        with self._explained():
            config = parse(held["config"], self.path)
            if not isinstance(config, dict):
                raise ValueError(f"its configuration is not an object, but {config!r:.50}")
        return config

    @contextmanager
    def files(self) -> Iterator[Path]:
        """A temporary folder with the files that layers keep."""
        with tempfile.TemporaryDirectory() as folder:
            if _FILES in self._parts:
                with self._explained():
                    _check_files(self._arrays(_FILES))
                for names, content in _leaves(self._load(_FILES)).items():
                    file = Path(folder).joinpath(*names)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(np.asarray(content).tobytes())
            yield Path(folder)

    def read_state(self, model, skip_mismatch=False) -> None:
        """Assign what the checkpoint holds to the variables of a model and of its optimizer.

        Each array goes to the devices of its variable. Nothing is changed if a weight does not fit,
        unless `skip_mismatch` is true; what is not for this optimizer is left out, with a warning.
        """
        with self._explained():
            held = {
                path: Stored(path, tuple(leaf.shape), leaf.dtype)
                for path, leaf in self._arrays(_TREE).items()
            }
        weights, seeds = _weights(model, held), _weights(model, held, seeds=True)
        if weights.problems and not skip_mismatch:
            raise FileFormatError(
                f"The checkpoint {self.path} does not fit the model '{model.name}': {weights.message()}. "
                "What does not fit is left out with `skip_mismatch=True`."
            )
        compiled_rate = _rate_before_training(model.optimizer)
        state = self._optimizer_state(model, held, weights.pairs)
        # Of seeds, those that do not fit go on as they are: not every file has them.
        wanted = {each.path: variable for variable, each in weights.pairs + seeds.pairs + state}
        values = _leaves(self._load(_TREE, self._target(self._parts[_TREE], wanted)))
        for path, variable in wanted.items():
            variable.assign(values[path])
        if compiled_rate is not None:
            rate = float(model.optimizer.learning_rate)
            if rate != compiled_rate:
                message = learning_rate_was_read(rate, compiled_rate, self.path)
                warnings.warn(message, stacklevel=4)

    def _optimizer_state(self, model, held: dict, weights: list) -> list:
        optimizer = model.optimizer
        stored = {path[1:]: each for path, each in held.items() if path[0] == _OPTIMIZER}
        if not stored or optimizer is None:
            return []
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        found = Counterparts(renamed(optimizer.variables, weights), stored)
        if found.problems:
            warnings.warn(
                f"The state of the optimizer in {self.path} cannot be used, so that it begins anew: "
                f"{found.message()}.",
                stacklevel=5,
            )
            return []
        return found.pairs

    def _target(self, described, wanted: dict, path: Names = ()):
        """What Orbax is to read: where each array goes, and which are left out."""
        if isinstance(described, dict):
            return {
                name: self._target(entry, wanted, (*path, name))
                for name, entry in described.items()
            }
        if path not in wanted:
            return self._orbax.PLACEHOLDER
        sharding = wanted[path].value.sharding
        return jax.ShapeDtypeStruct(described.shape, described.dtype, sharding=sharding)


def _rate_before_training(optimizer) -> float | None:
    """The learning rate of an optimizer that has done no step, if that is a number."""
    if optimizer is None or optimizer.built:
        return None
    rate = getattr(optimizer, "_learning_rate", None)
    return float(rate.numpy()) if isinstance(rate, Variable) else None


def _weights(model, held: dict, seeds=False) -> Counterparts:
    """The counterparts of a model's weights, or those of its seeds."""

    def is_asked_for(path: Names) -> bool:
        return (path[-1] == _SEED) == seeds

    own = [(path, v) for v in model.variables if is_asked_for(path := tuple(v.path.split("/")))]
    stored = {
        path[1:]: each for path, each in held.items() if path[0] in WEIGHTS and is_asked_for(path)
    }
    return Counterparts(own, stored)


def _leaves(tree: dict, path: Names = ()) -> dict[Names, Any]:
    found: dict[Names, Any] = {}
    for name, value in tree.items():
        where = (*path, name)
        found.update(_leaves(value, where) if isinstance(value, dict) else {where: value})
    return found


def _check_files(leaves: dict) -> None:
    if sum(stored.shape[0] for stored in leaves.values()) > limits.bytes:
        raise ValueError(f"its files exceed cornu.saving.limits.bytes = {limits.bytes}")
    for names, stored in leaves.items():
        if stored.dtype != np.uint8 or len(stored.shape) != 1:
            raise ValueError(f"{'/'.join(names)!r} is no file, but {stored.dtype} {stored.shape}")
        if any(name in ("", ".", "..") or set(name) & set("/\\:\0") for name in names):
            raise ValueError(f"{'/'.join(names)!r} is no plain name of a file")
