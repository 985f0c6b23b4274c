"""State: a `Variable` is a named box around one array, and `functional` takes the boxes away."""

import math
import operator
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cornu.core import naming, placement, registry
from cornu.core.context import context, within
from cornu.core.dtype import as_array, for_jax, is_float, new_array, standardize_dtype
from cornu.core.tracking import Tracked


class Scope:
    """The values of variables while a `functional` call runs, and what it collects.

    `missed` of the outermost scope is called with each variable that is read or assigned and has a value in
    none, and returns whether the scope takes what is assigned to it. With `takes_all`, this scope takes
    what is assigned to any variable.
    """

    def __init__(
        self,
        variables: Sequence["Variable"],
        values: Sequence[Any],
        catch_all=False,
        missed: Callable[["Variable"], bool] | None = None,
        takes_all=False,
    ):
        self.takes_all = takes_all or catch_all
        self.values = {id(v): value for v, value in zip(variables, values, strict=True)}
        # The variables that were assigned only because it takes all.
        self.taken: dict[int, Variable] = {}
        self.losses: list[tuple[Any, Any]] = []
        self.catch_all = catch_all
        self.missed = missed
        # Whether the values are those of a thread, and not of a pure function.
        self.of_thread = False


def running_scopes() -> list[Scope]:
    """The scopes that this thread is in, the innermost last."""
    return context.scopes


def current_scope() -> Scope | None:
    """The innermost running `functional` call, if any."""
    return next((scope for scope in reversed(context.scopes) if not scope.of_thread), None)


def _outermost() -> Scope | None:
    return next((s for s in context.scopes if not s.of_thread), None) if context.scopes else None


def is_thrown_away() -> bool:
    """Whether a `throwaway_scope` is around."""
    return any(scope.catch_all for scope in context.scopes)


@contextmanager
def throwaway_scope():
    """Within, nothing that is assigned to any variable lasts: for inferring shapes."""
    context.scopes.append(Scope([], [], catch_all=True))
    try:
        yield
    finally:
        context.scopes.pop()


# Held while values of several variables are read, or assigned, that belong together.
_exchange = threading.Lock()


def take_values(variables: Sequence["Variable"]) -> list:
    """The arrays of variables, all of one moment; those of this thread within `own_values`."""
    with _exchange:
        values = [v._value for v in variables]
    for scope in context.scopes:
        if scope.of_thread:
            values = [
                scope.values.get(id(v), own) for v, own in zip(variables, values, strict=True)
            ]
    return values


def put_values(variables: Sequence["Variable"], values: Sequence[Any]) -> None:
    """Assign arrays to variables, all at once and without a copy; None leaves a variable unchanged."""
    own = {}
    for scope in context.scopes:
        if scope.of_thread:
            own.update(dict.fromkeys(scope.values, scope))
    with _exchange:
        for variable, value in zip(variables, values, strict=True):
            if value is None:
                continue
            if own and id(variable) in own:
                own[id(variable)].values[id(variable)] = value
            else:
                variable._value = value


@contextmanager
def own_values(variables: Sequence["Variable"]):
    """Within, this thread has its own values for these variables, to begin with the present ones.

    Gives a function that returns the variables and their values, as `put_values` takes them.
    """
    scope = Scope(variables, [v._stored() for v in variables])
    scope.of_thread = True
    context.scopes.append(scope)
    try:
        yield lambda: (variables, [scope.values[id(v)] for v in variables])
    finally:
        context.scopes.remove(scope)


@contextmanager
def deferred_values(most_bytes: int):
    """Within, variables with an initializer take no memory: they are initialized when first read.

    A model can be made this way and get its values from elsewhere. At the end of the block, those without
    values get their initial ones. Raises MemoryError if variables of more than `most_bytes` are made.
    """
    made: list[Variable] = []
    with within(deferred=made, deferred_bytes=most_bytes):
        yield
        for variable in made:
            variable._fill()


class _Unset:
    """Stands for a value that is not there yet."""

    def __init__(self, initializer):
        self.initializer = initializer


class Variable(Tracked):
    """A named box around one array, the only kind of state in Cornu.

    Args:
        initializer: an array, or a callable `(shape, dtype) -> array` or the name of an initializer.
        shape: needed if `initializer` is a callable.
        dtype: dtype of the elements; default: that of the array, else `floatx()`.
        trainable: whether an optimizer may change it.
        autocast: whether a layer under mixed precision reads it in its compute dtype.
        aggregation: kept for Keras scripts; values are always whole arrays here.
        name: last part of `path`, which begins with the layer that it was made in.
        layout: a `distribution.TensorLayout` or `jax.sharding.Sharding`, if it is to be spread over
            devices in another way than the distribution in force says.

    A new value must have the old one's shape; its elements are converted. Arithmetic operators work
    on the value. Inside `functional` reads and writes go to the values given there.

    Source: Keras: Variable.

    >>> import cornu
    >>> v = cornu.Variable([1.0, 2.0], name="v")
    >>> v.assign(v + 1)
    <Variable path=v, shape=(2,), dtype=float32, value=[2. 3.]>
    """

    def __init__(
        self,
        initializer,
        shape=None,
        dtype=None,
        trainable=True,
        autocast=True,
        aggregation="none",
        synchronization="auto",
        name=None,
        layout=None,
    ):
        self._layout = layout
        # Of what an optimizer keeps of a weight: that weight's path.
        self._weight_path: str | None = None
        if layout is not None:
            # Says what is wrong with it.
            placement.sharding(layout)
        name = name or naming.auto_name(type(self).__name__)
        if not isinstance(name, str) or "/" in name:
            raise ValueError(
                "Argument `name` must be a string and cannot contain character `/`. "
                f"Received: name={name}"
            )
        self.name = name
        self.path = naming.path_of(name)
        self.aggregation = aggregation
        self.synchronization = synchronization
        self.autocast = bool(autocast)
        self.trainable = self.was_made_trainable = bool(trainable)
        self.regularizer: Callable | None = None
        self.constraint: Callable | None = None
        # An optimizer normally subtracts a gradient; float8 training stores it instead.
        self.overwrite_with_gradient = False
        if isinstance(initializer, str):
            initializer = registry.get("initializer", initializer)
        # A layer may be built while its shapes are being inferred, that is, within a trace; the
        # value must be a real array all the same.
        with jax.ensure_compile_time_eval():
            if callable(initializer):
                if shape is None:
                    raise ValueError(
                        "When creating a Variable from an initializer, the `shape` argument should "
                        f"be specified. Received: initializer={initializer} and shape=None"
                    )
                self.dtype = standardize_dtype(dtype)
                self.shape = tuple(shape)
                self._value: Any = _Unset(initializer)
                if context.deferred is not None:
                    self._defer(context.deferred)
                    return
                self._fill()
            else:
                value = initializer.value if isinstance(initializer, Variable) else initializer
                value = for_jax(value, dtype and standardize_dtype(dtype))
                self.dtype = standardize_dtype(dtype or _natural_dtype(value))
                self._value = new_array(value, self.dtype)
                self.shape = tuple(self._value.shape)
                self._value = placement.initial(self, self._value)

    def _fill(self) -> None:
        if isinstance(self._value, _Unset):
            with jax.ensure_compile_time_eval():
                value = self._value.initializer(self.shape, dtype=self.dtype)
                value = new_array(value, self.dtype)
                self.shape = tuple(value.shape)
                self._value = placement.initial(self, value)

    def _defer(self, variables: list["Variable"]) -> None:
        if any(not isinstance(n, int | np.integer) or n < 0 for n in self.shape):
            raise ValueError(f"The variable {self.path!r} cannot have the shape {self.shape}.")
        variables.append(self)
        context.deferred_bytes -= self.size * jnp.dtype(self.dtype).itemsize
        if context.deferred_bytes < 0:
            raise MemoryError(
                f"the variable {self.path!r} of shape {self.shape} makes all of them larger than allowed"
            )

    @property
    def value(self) -> jax.Array:
        """The array, in the compute dtype of the layer that is running under mixed precision."""
        value = self._value
        for scope in reversed(context.scopes):
            if id(self) in scope.values:
                value = scope.values[id(self)]
                break
        else:
            outermost = _outermost()
            if outermost is not None and outermost.missed is not None:
                outermost.missed(self)
        if type(value) is _Unset:
            self._fill()
            value = self._value
        if context.autocast and self.autocast and is_float(self.dtype):
            return value.astype(context.autocast)
        return value

    def assign(self, value) -> "Variable":
        """Put a copy of a new value of the same shape into the box."""
        value = value.value if isinstance(value, Variable) else value
        given = value
        if getattr(value, "dtype", None) != self.dtype or getattr(value, "weak_type", False):
            value = new_array(value, self.dtype)
        if tuple(value.shape) != self.shape:
            raise ValueError(
                "The shape of the target variable and the shape of the target value in "
                f"`variable.assign(value)` must match. variable.shape={self.shape}, "
                f"Received: value.shape={tuple(value.shape)}. Target variable: {self.path}"
            )
        for scope in reversed(context.scopes):
            if id(self) in scope.values or scope.takes_all:
                if id(self) not in scope.values:
                    scope.taken[id(self)] = self
                scope.values[id(self)] = jnp.asarray(value)
                return self
        outermost = _outermost()
        if outermost is not None and outermost.missed is not None and outermost.missed(self):
            outermost.values[id(self)] = jnp.asarray(value)
            return self
        if isinstance(value, jax.core.Tracer):
            raise RuntimeError(
                f"Variable {self.path!r} was assigned inside a compiled function that does not "
                "return its new value, so the assignment would be lost. Create the variable in "
                "`__init__` or `build()` and keep it as an attribute of the layer, so that the "
                "model knows of it."
            )
        # A copy, if that was none: another variable's array would be given away by training this one,
        # and what happens later to an array of NumPy's must not reach the variable.
        value = new_array(value) if value is given else value
        # What lies on several devices stays there, unless the new value says where it lies itself.
        spread = placement.spread_sharding(self._value)
        if spread is not None and len(value.sharding.device_set) == 1:
            value = placement.put(value, spread)
        self._value = value
        return self

    def assign_add(self, value) -> "Variable":
        """Add to the value."""
        return self.assign(self._stored() + as_array(_plain(value)))

    def assign_sub(self, value) -> "Variable":
        """Subtract from the value."""
        return self.assign(self._stored() - as_array(_plain(value)))

    def _stored(self):
        dtype, context.autocast = context.autocast, None
        try:
            return self.value
        finally:
            context.autocast = dtype

    def numpy(self) -> np.ndarray:
        """A copy as a NumPy array."""
        return np.array(placement.fetch(self._stored()))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __array__(self, dtype=None, copy=None):
        return np.array(placement.fetch(self._stored()), dtype=dtype, copy=copy)

    def __jax_array__(self):
        return self.value

    @property
    def __numpy_dtype__(self):
        return jnp.dtype(self.dtype)

    def __repr__(self):
        value = self._stored()
        shown: Any = "<traced>"
        if not isinstance(value, jax.core.Tracer):
            # To show it, no process waits for the others.
            whole = value.is_fully_addressable or value.is_fully_replicated
            shown = np.asarray(value) if whole else "<on other processes, too>"
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}, value={shown}>"

    @property
    def _id(self):
        # What TensorFlow's tape asks a variable for.
        raise AttributeError(
            f"Variable '{self.path}' belongs to JAX, and TensorFlow's `GradientTape` knows nothing of it. "
            "Use `jax.grad`, or override `train_step` as docs/custom.md shows."
        )

    def __getitem__(self, index):
        return self.value[index]

    def __len__(self):
        return len(self.value)

    def __iter__(self):
        return iter(self.value)

    def __float__(self):
        return float(self.value)

    def __int__(self):
        return int(self.value)

    def __index__(self):
        return operator.index(self.value)

    def __round__(self, ndigits=None):
        return jnp.round(self.value, ndigits or 0)

    def __bool__(self):
        if self.size != 1:
            raise TypeError(
                f"A Keras Variable cannot be used as a boolean: {self.path!r} of shape {self.shape} has "
                f"{self.size} values. Use `cornu.ops.any(x)` or `cornu.ops.all(x)`."
            )
        return bool(self.value)

    def __getstate__(self):
        self._fill()
        # Devices are those of a process.
        return {**self.__dict__, "_value": placement.fetch(self._value), "_layout": None}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._value = jnp.asarray(self._value)

    def __deepcopy__(self, memo):
        self._fill()
        copy = object.__new__(type(self))
        memo[id(self)] = copy
        copy.__dict__.update(self.__dict__)
        # A donated buffer must have one owner.
        copy._value = jnp.array(self._value)
        return copy


def _plain(value):
    return value.value if isinstance(value, Variable) else value


def _natural_dtype(value):
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        dtype = np.asarray(value).dtype
        # Python numbers, like Keras: floats are `floatx`, integers 32 bits wide.
        return {"float64": None, "int64": "int32"}.get(dtype.name, dtype.name)
    name = jnp.dtype(dtype).name
    return jax.dtypes.canonicalize_dtype(name).name


def _add_operators():
    names = (
        "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul "
        "rmatmul lt le gt ge eq ne"
    ).split()
    # As in Keras, of truth values: `Variable(6) & 3` is True, and not 2.
    logical = {"and": jnp.logical_and, "or": jnp.logical_or, "xor": jnp.logical_xor}

    def binary(name):
        def apply(self, other):
            value, other = self.value, for_jax(_plain(other))
            if isinstance(other, (list, tuple)):
                other = np.asarray(other, dtype=value.dtype)
            return getattr(value, name)(other)

        apply.__name__ = name
        return apply

    for name in names:
        setattr(Variable, f"__{name}__", binary(f"__{name}__"))
    for name, function in logical.items():
        for method in (f"__{name}__", f"__r{name}__"):
            setattr(
                Variable,
                method,
                lambda self, other, _f=function: _f(self.value, as_array(_plain(other))),
            )
    for name in ("neg", "pos", "abs", "invert"):
        setattr(Variable, f"__{name}__", lambda self, _n=f"__{name}__": getattr(self.value, _n)())
    Variable.__hash__ = object.__hash__  # type: ignore[assignment]


_add_operators()


def _array_type(variable: Variable):
    value = variable.value
    if isinstance(value, jax.core.Tracer) and not _BIND_TAKES_VALUES:
        raise ValueError(
            f"Variable {variable.path!r} was given to a function of JAX within a compiled or "
            f"differentiated function, where JAX {jax.__version__} takes arrays only. Give it the "
            "array, `variable.value`, or use a function of `cornu.ops`."
        )
    return jax.typeof(value)


# From this version on, JAX converts such a value wherever an operation takes it.
_BIND_TAKES_VALUES = tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 10)


def _introduce_to_jax() -> None:
    """Let functions of JAX (`jit`, `grad`, those of `jax.numpy`) take a variable for its array.

    To functions of `jax.tree` it stays one leaf, at the same position as its gradient. What JAX offers in
    public, a kind of pytree, would put a branch there. Without this, JAX asks users to convert variables.
    """
    try:
        from jax._src import core, dtypes

        types = core.pytype_aval_mappings
        register = getattr(dtypes, "register_canonicalize_value_handler", None)
        register = register or dtypes.canonicalize_value_handlers.__setitem__
        register(Variable, lambda variable: variable.value)
    except (ImportError, AttributeError):
        return
    types[Variable] = _array_type


_introduce_to_jax()


def functional(
    method: Callable,
    variables: Sequence[Variable],
    collect_losses: bool = False,
    missed: Callable[[Variable], bool] | None = None,
):
    """Turn a method that reads and assigns variables into a pure function of their values.

    Args:
        method: anything callable.
        variables: the variables that it may read and assign.
        collect_losses: also return the losses that layers added meanwhile.
        missed: if this is the outermost of such functions, called with each other variable: see `Scope`.

    Returns:
        `pure(values, *args, **kwargs) -> (result, new_values)`, or `(result, new_values, losses)`
        with `losses` a list of `(layer, value)`. It may be traced, differentiated and compiled.

    >>> import jax, cornu
    >>> from cornu.core.variable import functional
    >>> counter = cornu.Variable(0, name="counter")
    >>> count = jax.jit(functional(lambda n: counter.assign_add(n).value * 10, [counter]))
    >>> result, new_values = count([counter.value], 2)
    >>> int(result), int(new_values[0]), int(counter)
    (20, 2, 0)
    """
    variables = list(variables)

    def pure(values, *args, **kwargs):
        # A variable among the values means its current value.
        values = [v._stored() if isinstance(v, Variable) else v for v in values]
        scope = Scope(variables, values, missed=missed)
        context.scopes.append(scope)
        try:
            # Outside, a variable that comes back would have another value.
            result = _with_values(method(*args, **kwargs))
        finally:
            context.scopes.pop()
        new_values = [scope.values[id(v)] for v in variables]
        if collect_losses:
            return result, new_values, scope.losses
        return result, new_values

    return pure


def _is_variable(value) -> bool:
    return isinstance(value, Variable)


def _with_values(result):
    """A result with the values of variables in their places."""
    if not any(map(_is_variable, jax.tree.leaves(result, is_leaf=_is_variable))):
        return result
    return jax.tree.map(
        lambda leaf: leaf.value if _is_variable(leaf) else leaf, result, is_leaf=_is_variable
    )


def taking_out(function: Callable) -> tuple[Callable, Callable]:
    """For a function that JAX transforms within other scopes: what it assigns there comes out as a result.

    Returns:
        `(run, put)`: `run(...)` is `(result, assigned)`, and leaves the scopes as they were;
        `put(assigned)` assigns it, after the transformation.
    """
    found: list[tuple[Scope, int]] = []

    def run(*args, **kwargs):
        scopes = list(context.scopes)
        before = [dict(scope.values) for scope in scopes]
        result = function(*args, **kwargs)
        found[:], assigned = [], []
        for scope, old in zip(scopes, before, strict=True):
            for key, value in scope.values.items():
                if old.get(key) is not value:
                    found.append((scope, key))
                    assigned.append(value)
            scope.values.clear()
            scope.values.update(old)
        return result, assigned

    def put(assigned) -> None:
        for (scope, key), value in zip(found, assigned, strict=True):
            scope.values[key] = value

    return run, put


def assigned_by(function: Callable, *arguments) -> tuple[Any, list[tuple[Variable, Any]]]:
    """What a function returns, and the variables that it assigns, each with its new value.

    No variable is changed. They come in the order of its first looks at them.

    >>> import cornu
    >>> from cornu.core.variable import assigned_by
    >>> counter = cornu.Variable(0, name="counter")
    >>> _, assigned = assigned_by(counter.assign_add, 1)
    >>> [(v.name, int(value)) for v, value in assigned], int(counter)
    ([('counter', 1)], 0)
    """
    seen: dict[int, Variable] = {}

    def missed(variable):
        seen.setdefault(id(variable), variable)
        return True

    scope = Scope([], [], missed=missed)
    context.scopes.append(scope)
    try:
        result = function(*arguments)
    finally:
        context.scopes.pop()
    return result, [(v, scope.values[key]) for key, v in seen.items() if key in scope.values]
