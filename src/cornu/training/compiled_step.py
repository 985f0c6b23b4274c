"""A compiled step, together with the variables that it reads and updates."""

import contextlib
import functools
import itertools
import operator
import threading
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import placement
from cornu.core.kernels import native
from cornu.core.layer import running_layer
from cornu.core.variable import put_values, take_values
from cornu.data.array_source import gather
from cornu.inference.quick import QuickPredictions
from cornu.ops import joined_sums
from cornu.ops.fixed_order import compiler_options, in_fixed_order, ordered
from cornu.training import device_memory, interrupts
from cornu.training.step import State, refuse_untracked, run

# Steps in one call of a compiled function.
MOST_AT_ONCE = 16


class CompiledStep:
    """A step of one kind, compiled for each shape of a batch.

    Args:
        method: `(state, data) -> (results, state)`.
        kind: `"train"`, `"test"` or `"predict"`.
        variables: those of the state.
        compiles: whether to compile at all.
        turn: a lock that a step of training holds.
        layers: returns the layers that a search of the model has found.
    """

    def __init__(
        self,
        method: Callable,
        kind: str,
        variables: State,
        compiles: bool,
        turn,
        layers: Callable[[], list],
    ):
        self._method, self._kind, self._compiles = method, kind, compiles
        self._state, self._variables = variables, list(itertools.chain(*variables))
        self._turn, self._layers = turn, layers
        # The model's own when this was last read, and what follows from it.
        self.structure: object = None
        self.settings: list = []
        self.examples_are_alone: bool | None = None
        self._compiled: dict = {}
        # Of the arguments that it was compiled for; those of programs that are no loop over several steps.
        self._sizes: set = set()
        self._alone: set = set()
        # The function that was compiled last, and the shapes of its arguments.
        self._traced: tuple = ()
        # The bytes that it takes on a device besides its arguments, and with them.
        self.temporaries = self.memory = 0
        # How many steps in one call have proved to be a good number.
        self.at_once = 1
        # Whether a step has proved to be so short that the device should not wait for the next call.
        self.is_quick = False
        # Whether a step survived non-finite values when it was tried.
        self.survives = False
        # Variables that are read and are no part of the state, such as a loss network's.
        self._outside: list = []
        self._quick = QuickPredictions()
        # What `tried` calls, for which list of these.
        self._trial: tuple = (None, None)

    def with_method(self, method: Callable) -> "CompiledStep":
        """Another step on the same variables."""
        return CompiledStep(
            method, self._kind, self._state, self._compiles, self._turn, self._layers
        )

    @property
    def compiles(self) -> bool:
        """Whether it is compiled at all."""
        return self._compiles

    def was_made_for(self, settings: list) -> bool:
        """Whether attributes of layers and optimizer that it holds as constants are unchanged."""
        return all(
            new is old or (len(new) == len(old) and all(map(operator.is_, new, old)))
            for new, old in zip(settings, self.settings, strict=True)
        )

    def holds(self, variables, first: int = 0) -> bool:
        """Whether these are its variables, in the state's lists from `first` on."""
        own = self._state[first:]
        return list(map(len, own)) == list(map(len, variables)) and all(
            map(operator.is_, itertools.chain(*own), itertools.chain(*variables))
        )

    def tried(self, batch):
        """The logs of a step, and the weights after it; nothing changes."""
        outside = self._outside
        if self._trial[0] is not outside:
            pure = functools.partial(self._run, outside)
            self._trial = outside, jax.jit(pure) if self._compiles else pure
        try:
            logs, new = self._trial[1](*self._take(outside), batch)
        except _Missed as missed:
            self._pass(missed.variables)
            return self.tried(batch)
        return logs, new[: len(self._state.trainable)]

    def _run(self, outside, values, outside_values, data):
        missed: dict = {}
        hear = functools.partial(self._miss, missed)
        done = run(
            self._method, self._kind, self._state, outside, hear, values, outside_values, data
        )
        if missed and self._compiles:
            raise _Missed(missed.values())
        result, new = done
        # What lies on several devices stays as it lies.
        new = [
            v if v is None else placement.constrained(v, place)
            for v, place in zip(new, self._places(outside), strict=True)
        ]
        return self._everywhere(result), new

    def _places(self, outside: list) -> list:
        return [placement.spread_sharding(v._value) for v in [*self._variables, *outside]]

    def _everywhere(self, result):
        """Logs, which every device has; outputs only where no process has all of them."""
        current = placement.distribution()
        if current is None or (self._kind == "predict" and current.num_processes == 1):
            return result
        return placement.on_each_device(result)

    def traced(self, *arguments) -> tuple:
        """What JAX traces of a step on such a batch, and the values of the variables."""
        if not self._compiles:
            step = self.with_method(self._method)
            step._compiles = True
            return step.traced(*arguments)
        try:
            step, outside = self._make(self._run)
            values = self._take(outside)
            return step.trace(*values, *arguments), [*values[0], *values[1]]
        except _Missed as missed:
            self._pass(missed.variables)
            return self.traced(*arguments)

    def place(self) -> None:
        """Move variables to where the distribution in force wants them."""
        with self._turn:
            variables = [*self._variables, *self._outside]
            moved = placement.place(variables, take_values(variables))
            if any(value is not None for value in moved):
                put_values(variables, moved)
                self._compiled, self._sizes = {}, set()

    def _miss(self, missed: dict, variable) -> bool:
        """Called with a variable that the step uses and that no search of the model has found."""
        outermost = running_layer()
        if variable.trainable and outermost is not None and outermost in self._layers():
            refuse_untracked(variable, outermost)
        missed[id(variable)] = variable
        # It becomes an argument of the compiled step; without compiling it is simply assigned.
        return self._compiles

    def _run_row(self, outside, values, outside_values, arrays, rows):
        """One step on these rows."""
        return self._run(outside, values, outside_values, gather(arrays, rows))

    def _run_rows(self, outside, values, outside_values, arrays, rows, count):
        """`count` steps, each on the next `rows`: one program whatever their number."""

        def step(values, outside_values, rows):
            return self._run(outside, values, outside_values, gather(arrays, rows))

        made = jax.make_jaxpr(step, return_shape=True)
        traced, (result, new) = made(values, outside_values, rows[0])
        traced = self._joined(outside, ordered(traced), arrays, rows[0])
        first = [*values, *outside_values]
        changed = [i for i, value in enumerate(new) if value is not None]

        def again(i, state):
            before = list(first)
            for index, value in zip(changed, state[1], strict=True):
                before[index] = value
            found = jax.core.eval_jaxpr(traced.jaxpr, traced.consts, *before, rows[i])
            return found[: len(found) - len(changed)], found[len(found) - len(changed) :]

        nothing = [jnp.zeros(v.shape, v.dtype) for v in jax.tree.leaves(result)]
        state = nothing, [first[i] for i in changed]
        results, changes = jax.lax.fori_loop(0, count, again, state)
        for index, value in zip(changed, changes, strict=True):
            new[index] = value
        return jax.tree.unflatten(jax.tree.structure(result), results), new

    def _joined(self, outside: list, traced, *data):
        """A traced step, which sums over the devices once instead of often where they are CPUs.

        `data` are those of a batch, or arrays and what is taken of them.
        """
        places = [place for place in self._places(outside) if place is not None]
        mesh = placement.mesh_of_batches()
        if mesh is None or not all(p.is_fully_replicated for p in places):
            return traced
        batch = jax.eval_shape(gather, *data) if len(data) > 1 else data
        sizes = {leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.ndim}
        if len(sizes) != 1:
            return traced
        (rows,) = sizes
        return traced if rows % mesh.size else joined_sums.joined(traced, mesh, rows)

    def _one_by_one(self, outside, values, outside_values, arrays, rows, count):
        """The same, without compiling."""
        for i in range(int(count)):
            result, new = self._run(outside, values, outside_values, gather(arrays, rows[i]))
            values = [v if n is None else n for v, n in zip(values, new, strict=True)]
        return result, values

    def _make(self, method: Callable) -> tuple:
        """The step as `method` does it, and the variables that it takes in addition to its own."""
        outside = self._outside
        if not self._compiles:
            method = self._one_by_one if method == self._run_rows else method
            return functools.partial(method, outside), outside
        # Only training gives weights away, so that evaluation and prediction may run in several threads.
        donated = 0 if self._kind == "train" else ()
        step = functools.partial(method, outside)
        if method != self._run_rows:
            step = in_fixed_order(step, then=functools.partial(self._joined, outside))
        options = compiler_options()
        return jax.jit(step, donate_argnums=donated, compiler_options=options), outside

    def __call__(self, batch, arrays=None):
        """Run a step on a batch of a source and put the new state into the variables.

        With `arrays`, those on the device, `batch` is a list of the rows of several batches of one size, of
        which each is a step; at most `MOST_AT_ONCE`. Of batches that lie there one behind the other, it is
        a list of their numbers.
        """
        try:
            with self.explaining():
                return self._call(batch, arrays)
        except _Missed as missed:
            # It was only being traced.
            self._pass(missed.variables)
        return self(batch, arrays)

    @contextlib.contextmanager
    def explaining(self):
        """Within, an error of XLA's for want of memory becomes one that says what to do."""
        try:
            yield
        except RuntimeError as error:
            if not self._traced or not device_memory.is_exhausted(error):
                raise
            raise device_memory.explained(error, *self._traced) from error

    def _pass(self, variables: list) -> None:
        """Make these variables arguments of the step, so that they are no constants in it."""
        self._outside = list({id(v): v for v in [*self._outside, *variables]}.values())
        self._compiled, self._sizes = {}, set()

    def _call(self, batch, arrays):
        if arrays is None:
            return self._do(self._run, (placement.share_out(batch),))
        rows = np.zeros((MOST_AT_ONCE, *np.shape(batch[0])), np.int32)
        rows[: len(batch)] = batch
        sizes = rows.shape, *[leaf.shape for leaf in jax.tree.leaves(arrays)]
        if self._is_loop(sizes):
            shared = placement.share_out(rows, axis=1)
            try:
                return self._do(self._run_rows, (arrays, shared, np.int32(len(batch))))
            except _Slow:
                self._alone.add(sizes)
        result = None
        for row in rows[: len(batch)]:
            # Of what is left to do, one step is a call, and it is known when all have ended.
            jax.block_until_ready(result)
            result = self._do(self._run_row, (arrays, placement.share_out(row)))
        return result

    def _is_loop(self, sizes: tuple) -> bool:
        """Whether several steps on arguments of these sizes are one program."""
        return sizes not in self._alone and (
            not self._compiles or native().in_use or jax.default_backend() != "cpu"
        )

    def _do(self, method: Callable, arguments: tuple):
        """Compile, run, and put the new state into the variables."""
        compiled, known = self._compiled, self._sizes
        if method not in compiled:
            compiled[method] = self._make(method)
        step, outside = compiled[method]
        if self._kind == "predict" and self._compiles and placement.distribution() is None:
            values = self._take(outside)
            trace = functools.partial(step.trace, *values, *arguments)
            result = self._quick(trace, [*values[0], *values[1]], arguments)
            if result is not None:
                return result
        if self._compiles:
            sizes = (method, *[leaf.shape for leaf in jax.tree.leaves(arguments)])
            if sizes not in known:
                self._compile(step, outside, method, arguments)
                known.add(sizes)
                if (current := placement.distribution()) is not None:
                    current.check()
        if self._kind != "train":
            result, new = self._read(step, outside, arguments)
            put_values([*self._variables, *outside], new)
            return result
        # The step takes the old arrays' memory. An interrupt (Ctrl-C) between that and the assignment
        # would leave weights without numbers, so it waits; one that comes as an exception in another way
        # finds what the step returned stored by `extend(map(…))`, and `finally` assigns it.
        done: list = []
        with self._turn, interrupts.postponed():
            values = self._take(outside)
            try:
                done.extend(map(step, *([a] for a in (*values, *arguments))))
            finally:
                for _, new in done:
                    put_values([*self._variables, *outside], new)
        return done[0][0]

    def _compile(self, step, outside: list, method: Callable, arguments: tuple) -> None:
        given = (*self._take(outside), *arguments)
        self._traced = functools.partial(method, outside), device_memory.shapes(given)
        look = _refuse_slow_loop if method == self._run_rows else None
        compiled = interrupts.compile_ahead(step, *given, look=look)
        if compiled is not None:
            place = next(
                (d for v in given[0] if isinstance(v, jax.Array) for d in v.devices()), None
            )
            self.temporaries, self.memory = device_memory.check(compiled, place, *self._traced)

    def _take(self, outside: list) -> tuple[list, list]:
        """The values of the step's own variables, and of those outside."""
        values = take_values([*self._variables, *outside])
        own = len(self._variables)
        return values[:own], values[own:]

    def _read(self, step, outside: list, arguments: tuple):
        """A step that donates nothing. Training in another thread does, so its step is waited for."""
        values = self._take(outside)
        try:
            return step(*values, *arguments)
        except Exception:
            if not _are_gone(values):
                raise
        # One that trains this very model ends while the lock is waited for, one that trains another of the
        # same layers soon.
        for _ in range(1000):
            with self._turn:
                values = self._take(outside)
                if not _are_gone(values):
                    return step(*values, *arguments)
            time.sleep(0.01)
        return step(*values, *arguments)


def _are_gone(values: tuple[list, list]) -> bool:
    """Whether a step of training has donated some of these arrays."""
    return any(isinstance(v, jax.Array) and v.is_deleted() for v in itertools.chain(*values))


class Turn:
    """A lock; a copy of a model gets a new one."""

    def __init__(self):
        self._lock = threading.RLock()

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *error):
        self._lock.release()

    def __reduce__(self):
        return type(self), ()


def _refuse_slow_loop(lowered) -> None:
    """Raise `_Slow` for a convolution of XLA's, which on a CPU takes many times as long in a loop."""
    if jax.default_backend() == "cpu":
        text = lowered.compiler_ir("stablehlo").operation.get_asm(large_elements_limit=8)
        if "stablehlo.convolution" in text:
            raise _Slow


class _Slow(Exception):
    """Says that a program is slow as a loop."""


class _Missed(Exception):
    """Records which variables a traced step has read that were not among its arguments."""

    def __init__(self, variables):
        super().__init__()
        self.variables = list(variables)
