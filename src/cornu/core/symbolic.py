"""Symbolic tensors, and the graph that calls on them record.

A `KerasTensor` has a shape (None where any size is allowed) and a dtype, but no values. Calling a layer
or a function of `cornu.ops` on one records a `Node`; a `Model(inputs, outputs)` replays the nodes
between its inputs and its outputs.
"""

import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import jax
import numpy as np

from cornu.core import masking, naming, registry
from cornu.core.configurable import Configurable
from cornu.core.context import context, within
from cornu.core.dtype import for_jax, is_sparse, standardize_dtype
from cornu.core.variable import Variable, throwaway_scope
from cornu.core.watching import seen


class History(NamedTuple):
    """Where a symbolic tensor comes from."""

    operation: Any
    node_index: int
    tensor_index: int


class KerasTensor:
    """A tensor without values: a shape, a dtype and the operation that it comes from.

    Args:
        shape: sizes; None where any size goes (the batch, say).
        dtype: dtype of the elements.
        sparse: whether the values that are given for it may be sparse.
        ragged: must be False: arrays of JAX have rows of one length.
        record_history: must be True: it is known where a tensor comes from.
        name: default: `keras_tensor`, `keras_tensor_1` …

    Source: Keras: KerasTensor.

    >>> import cornu
    >>> x = cornu.Input((28, 28, 1))
    >>> (2 * x + 1).shape
    (None, 28, 28, 1)
    """

    # Of tensors whose rows differ in length.
    ragged = False
    ragged_rank = None
    row_splits_dtype = None

    def __init__(
        self,
        shape,
        dtype="float32",
        sparse=False,
        ragged=False,
        record_history=True,
        name=None,
        **kwargs,
    ):
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        unknown = kwargs.keys() - {"ragged_rank", "row_splits_dtype"}
        if unknown:
            raise TypeError(f"Unexpected keyword arguments: {', '.join(sorted(unknown))}")
        if ragged or kwargs:
            raise ValueError(
                "A KerasTensor cannot be ragged: arrays of JAX have rows of one length. Fill shorter rows "
                "up, with `utils.pad_sequences` say, and let a `Masking` layer skip what was filled in."
            )
        if not record_history:
            raise ValueError(
                "Leave `record_history=True`: a model is made from what its tensors come from."
            )
        self.shape = tuple(None if size is None else int(size) for size in shape)
        self.dtype = standardize_dtype(dtype)
        self.sparse = sparse
        self.name = name or naming.auto_name("KerasTensor")
        self._keras_history: Any = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def reshape(self, newshape):
        """The same elements in another shape."""
        return record("reshape", _methods["reshape"], (self, newshape), {})

    def squeeze(self, axis=None):
        """Without the axes of size one."""
        return record("squeeze", _methods["squeeze"], (self,), {"axis": axis})

    def __repr__(self):
        return (
            f"<KerasTensor shape={self.shape}, dtype={self.dtype}, sparse={self.sparse}, "
            f"name={self.name}>"
        )

    def __array__(self, *args, **kwargs):
        raise ValueError(
            "A KerasTensor is symbolic: it's a placeholder for a shape and a dtype and has no "
            "actual numerical value, so it cannot become a NumPy array. Use a function of "
            "`cornu.ops` on it, or put your own function into a layer:\n"
            "    class MyLayer(Layer):\n"
            "        def call(self, x):\n"
            "            return jnp.…(x)\n"
            "    y = MyLayer()(x)"
        )

    __jax_array__ = __array__

    def __iter__(self):
        raise TypeError("Iterating over a symbolic KerasTensor is not supported.")

    def __bool__(self):
        raise TypeError(
            "A symbolic KerasTensor has no truth value: its values are not known yet. Use "
            "`cornu.ops.where` or `cornu.ops.cond`."
        )

    def __getitem__(self, key):
        return record("get_item", operator.getitem, (self, key), {})


# Functions of a module, so that a model that uses them can be pickled.
def _reshape(x, newshape):
    return x.reshape(newshape)


def _squeeze(x, axis=None):
    return x.squeeze(axis)


_methods: dict[str, Callable] = {"reshape": _reshape, "squeeze": _squeeze}


def _apply_to_two(method, x1, x2):
    x1, x2 = (np.asarray(v) if isinstance(v, (list, tuple)) else v for v in (x1, x2))
    return getattr(x1, method)(x2) if hasattr(x1, "aval") else getattr(x2, _reflected(method))(x1)


def _apply_of_jax(name, *arrays):
    return getattr(jax.numpy, name)(
        *(np.asarray(x) if isinstance(x, (list, tuple)) else x for x in arrays)
    )


def _operator(name, method, reverse):
    # Those of truth values are so for integers, too, as in Keras.
    if name.startswith("logical_"):
        apply = functools.partial(_apply_of_jax, name)
    else:
        apply = functools.partial(_apply_to_two, method)

    def operator(self, other):
        return record(name, apply, (other, self) if reverse else (self, other), {})

    return operator


def _reflected(method: str) -> str:
    comparisons = {"__lt__": "__gt__", "__le__": "__ge__", "__gt__": "__lt__", "__ge__": "__le__"}
    if method in ("__eq__", "__ne__"):
        return method
    return comparisons.get(method) or f"__r{method[2:]}"


_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "mod",
    "pow": "power",
    "matmul": "matmul",
    "and": "logical_and",
    "or": "logical_or",
    "xor": "logical_xor",
}
for _short, _name in _OPERATORS.items():
    setattr(KerasTensor, f"__{_short}__", _operator(_name, f"__{_short}__", reverse=False))
    setattr(KerasTensor, f"__r{_short}__", _operator(_name, f"__{_short}__", reverse=True))
for _short, _name in {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "ne": "not_equal",
}.items():
    setattr(KerasTensor, f"__{_short}__", _operator(_name, f"__{_short}__", reverse=False))
for _short, _name in {"neg": "negative", "abs": "absolute", "invert": "logical_not"}.items():
    setattr(
        KerasTensor,
        f"__{_short}__",
        lambda self, _n=_name: record(_n, functools.partial(_apply_of_jax, _n), (self,), {}),
    )


def is_keras_tensor(x) -> bool:
    """Whether a value is symbolic: it has a shape and a dtype, but no values."""
    return isinstance(x, KerasTensor)


def any_symbolic(*structures) -> bool:
    """Whether a KerasTensor is anywhere in the arguments."""
    return any(isinstance(leaf, KerasTensor) for leaf in jax.tree.leaves(structures))


class Operation(Configurable):
    """A function that becomes part of a model when it is called on symbolic tensors; every layer is one.

    A subclass defines `call`. Unlike a `Layer`, it has no weights and no dtype: `call` gets its arrays as
    they are. Register the class to write models with it to files.

    Args:
        name: default: the class' name in snake case.

    Source: Keras: Operation.

    >>> import cornu
    >>> class Distance(cornu.Operation):
    ...     def call(self, a, b):
    ...         return cornu.ops.norm(a - b, axis=-1)
    >>> Distance()(cornu.Input((3,)), cornu.Input((3,))).shape
    (None,)
    """

    name: str
    # The scope that it was made in, if it computes again what it needs for gradients.
    _remat_scope: Any = None

    def __init__(self, name=None):
        if name is not None and not isinstance(name, str):
            raise ValueError(f"Argument `name` must be a string. Received: name={name!r}")
        if name is not None and "/" in name:
            raise ValueError(
                "Argument `name` must be a string and cannot contain character `/`. "
                f"Received: name={name!r}"
            )
        self._init_graph()
        self.name = name or naming.auto_name(type(self).__name__)
        self.trainable, self.built = False, True
        if context.remat is not None:
            self._remat_scope = context.remat

    def __call__(self, *args, **kwargs):
        if "_inbound_nodes" not in vars(self):
            kind = type(self).__name__
            raise RuntimeError(
                f"In {kind}, `super().__init__()` is not called: call it in `__init__`."
            )
        if any_symbolic(args, kwargs):
            return self.symbolic_call(*args, **kwargs)
        call = self.rematerialized_call(self.call)
        return seen(self, (args, kwargs), {}, call(*plain(args), **plain(kwargs)))

    def symbolic_call(self, *args, **kwargs):
        """Record a call on symbolic tensors in their graph; returns the symbolic outputs."""
        outputs = self.compute_output_spec(*args, **kwargs)
        Node(self, args, kwargs, outputs)
        return outputs

    def call(self, *args, **kwargs):
        """The outputs for arrays."""
        raise NotImplementedError(f"{type(self).__name__} does not define `call`.")

    def quantized_call(self, *args, **kwargs):
        """`call` with quantized weights; only layers have any."""
        raise NotImplementedError(f"{type(self).__name__} does not define `quantized_call`.")

    def rematerialized_call(self, layer_call, *args, **kwargs):
        """A `call` as the `RematScope` says that the operation was made in; without one, the same.

        Args:
            layer_call: `call`, or `quantized_call`.
            args, kwargs: not used: the call's own arguments say whether their results are kept.
        """
        return (
            layer_call if self._remat_scope is None else self._remat_scope.applied(self, layer_call)
        )

    def compute_output_spec(self, *args, **kwargs):
        """The symbolic outputs for symbolic inputs, by default those of `call`."""
        return infer_outputs(self.call, args, kwargs)

    def _init_graph(self):
        self._inbound_nodes: list[Node] = []
        self._outbound_nodes: list[Node] = []

    def _first_node(self, what: str):
        nodes = self.__dict__.get("_inbound_nodes")
        if not nodes:
            raise AttributeError(
                f"The layer {self.name} has never been called and thus has no defined {what}."
            )
        return nodes[0]

    @property
    def input(self):
        """The symbolic tensor, or list of them, that the layer was first called on."""
        tensors = self._first_node("input").input_tensors
        return tensors[0] if len(tensors) == 1 else tensors

    @property
    def output(self):
        """The symbolic tensor, or structure of them, that the layer's first call returned."""
        return self._first_node("output").outputs


class Node:
    """One call of an operation on symbolic tensors."""

    def __init__(self, operation, args: tuple, kwargs: dict, outputs):
        self.operation = operation
        self.args, self.kwargs, self.outputs = args, kwargs, outputs
        self.input_tensors = [
            leaf for leaf in jax.tree.leaves((args, kwargs)) if isinstance(leaf, KerasTensor)
        ]
        self.output_tensors = [
            leaf for leaf in jax.tree.leaves(outputs) if isinstance(leaf, KerasTensor)
        ]
        # Of these, unlike arrays, the values may change.
        self.variables = [
            leaf
            for leaf in jax.tree.leaves((args, kwargs), is_leaf=lambda v: isinstance(v, Variable))
            if isinstance(leaf, Variable)
        ]
        self.index = len(operation._inbound_nodes)
        for i, tensor in enumerate(self.output_tensors):
            tensor._keras_history = History(operation, self.index, i)
        operation._inbound_nodes.append(self)
        for tensor in self.input_tensors:
            # One that was made by hand has a shape to try a layer on, but begins no model.
            if tensor._keras_history is not None:
                tensor._keras_history.operation._outbound_nodes.append(self)

    @property
    def is_input(self) -> bool:
        """Whether the graph starts here."""
        return not self.input_tensors

    @property
    def parent_nodes(self) -> list["Node"]:
        """The nodes that made this one's inputs. (A tensor that was made by hand shows shapes alone.)"""
        return [node_of(t) for t in self.input_tensors if t._keras_history is not None]

    def __repr__(self):
        return f"<Node operation={self.operation.name}, id={id(self)}>"


def node_of(tensor: KerasTensor) -> Node:
    """The node that a symbolic tensor comes from."""
    if tensor._keras_history is None:
        raise ValueError(
            f"{tensor!r} was made by hand and comes from no layer. Start a model with `Input(shape)`."
        )
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


class UnknownSize(ValueError):
    """Without a size that is not known, what a function returns can't be told."""


# Functions whose result has the shape that they are given, that of the batch, too.
_SHAPED = ("reshape", "broadcast_to")


class FunctionOperation(Operation):
    """A function of `cornu.ops`, or an operator, in a graph."""

    def __init__(
        self, function_name: str, function: Callable | None = None, name: str | None = None
    ):
        super().__init__(name or naming.auto_name(function_name))
        # A function may draw random numbers, which must be the same when it is computed again.
        self._remat_scope = None
        self.function_name = function_name
        self.function = function or registry.find("op", function_name)

    def call(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def compute_output_spec(self, *args, **kwargs):
        """The symbolic outputs; a size of None may be one that the function needs there."""
        # Of an unknown size, a part may be shorter than it is asked for.
        is_part = self.function_name in ("get_item", "diag", "diagonal")
        try:
            return infer_outputs(self.call, args, kwargs, (2**20, 1) if is_part else _PROBES)
        except UnknownSize:
            raise
        except Exception as error:
            # Into how many parts a size is divided may be given.
            divisor = math.prod(
                n for n in jax.tree.leaves((args, kwargs)) if type(n) is int and n > 1
            )
            with suppress(Exception):
                return infer_outputs(self.call, args, kwargs, [divisor * n for n in _PROBES])
            for sizes in _needed_sizes((args, kwargs), self.function_name in _SHAPED):
                try:
                    return infer_outputs(self.call, *sizes)
                except Exception:
                    continue
            raise error

    def __getstate__(self):
        state = {**self.__dict__, "_constructor_arguments": {}}
        # Pickle would look for it in its module, which has it decorated.
        if registry.find("op", self.function_name) is self.function:
            del state["function"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.__dict__.setdefault("function", registry.find("op", self.function_name))

    def get_config(self) -> dict:
        return {"function_name": self.function_name, "name": self.name}


def plain(structure):
    """The structure with variables replaced by their arrays, and NumPy's arrays as JAX takes them."""
    return jax.tree.map(
        lambda leaf: leaf.value if isinstance(leaf, Variable) else for_jax(leaf),
        structure,
        is_leaf=lambda leaf: isinstance(leaf, Variable) or is_sparse(leaf),
    )


def record(name: str, function: Callable, args: tuple, kwargs: dict):
    """Record a call of a function on symbolic tensors; returns symbolic outputs."""
    return FunctionOperation(name, function)(*args, **kwargs)


# Sizes that replace None while a shape is inferred. What comes out different for the two depends
# on the unknown size. They are far apart and have many divisors, so that pooling and striding by
# small numbers works and cannot give the same result for both.
_PROBES = (96, 160)


@contextmanager
def known_batch(size: int | None) -> Iterator[None]:
    """Within, shapes are inferred with only this size for a batch of None."""
    with within(batch=size):
        yield


def known_sizes(shape) -> tuple:
    """A shape in a trial, with None for the sizes that replaced unknown ones."""
    first, rest = context.first, context.rest
    return tuple(
        None if size is not None and size == (rest if axis else first) else size
        for axis, size in enumerate(shape)
    )


def _forget_probe(error: Exception, trial: Callable, known: bool) -> None:
    """Put None in place of the size that was tried into the message of an error in a trial."""
    try:
        trial(_PROBES[1], _PROBES[0] if known else _PROBES[1])
    except Exception as other:
        # Numbers that belong to a name stay: of a layer that is made in each trial.
        parts, others = (re.split(r"(?<!\w)(\d+)", str(e)) for e in (error, other))
        if error.args == (str(error),) and parts[::2] == others[::2]:
            merged = [a if a == b else "None" for a, b in zip(parts, others, strict=True)]
            error.args = ("".join(merged),)


def _needed_sizes(arguments, with_batch: bool, limit: int = 64) -> Iterator:
    """The arguments with known sizes for unknown ones: first those they meet when shapes are broadcast.

    After these, other sizes of the arguments' shapes, for one unknown after the other, up to a limit. Where
    the first size of all is unknown, it is a batch's, which nothing may depend on if not `with_batch`.
    """
    leaves, structure = jax.tree.flatten(arguments)
    tensors = [i for i, leaf in enumerate(leaves) if isinstance(leaf, KerasTensor)]
    shapes = [leaves[i].shape for i in tensors]
    first = 0 if with_batch or not all(None in shape[:1] for shape in shapes) else 1
    unknown = [
        (n, axis)
        for n, shape in enumerate(shapes)
        for axis, size in enumerate(shape)
        if size is None and axis >= first
    ]

    def filled(sizes: dict):
        changed = list(leaves)
        for n, i in enumerate(tensors):
            shape = [sizes.get((n, axis), size) for axis, size in enumerate(shapes[n])]
            changed[i] = KerasTensor(shape, leaves[i].dtype, name=leaves[i].name)
            masking.set_mask(changed[i], masking.get_mask(leaves[i]))
        return jax.tree.unflatten(structure, changed)

    met = {}
    for n, axis in unknown:
        back = axis - len(shapes[n])
        there = {s[back] for s in shapes if len(s) >= -back} - {None, 1}
        if len(there) == 1:
            met[n, axis] = there.pop()
    if met:
        yield filled(met)
    known = {size for shape in shapes for size in shape if len(shapes) > 1} - {None, 1}
    # The number of parts, or the sizes of the result, may be given.
    known |= {leaf for leaf in leaves if type(leaf) is int and leaf > 1}
    choices = itertools.product([None, *sorted(known)], repeat=len(unknown))
    for choice in itertools.islice(choices, 1, limit):
        yield filled(dict(zip(unknown, choice, strict=True)))


def _filled(shape, first: int, rest: int) -> tuple:
    return tuple(
        (rest if axis else first) if size is None else size for axis, size in enumerate(shape)
    )


def struct(shape, dtype) -> jax.ShapeDtypeStruct:
    """What JAX would hold of such an array: int64 and float64 are narrower unless 64 bits are enabled."""
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(dtype))


def infer_outputs(function: Callable, args=(), kwargs=None, probes=_PROBES):
    """The symbolic outputs of a function on symbolic arguments, without computing anything.

    Sizes that are None in the arguments are tried with two different sizes, `probes`; the sizes of the
    outputs that differ between the two are None. The size of a batch of data is tried alone: see
    `known_batch`.
    """
    leaves, structure = jax.tree.flatten((args, kwargs or {}))
    indices = [i for i, leaf in enumerate(leaves) if isinstance(leaf, KerasTensor)]

    def run(first, rest, *arrays):
        filled = list(leaves)
        for index, array in zip(indices, arrays, strict=True):
            filled[index] = array
        for index, array in zip(indices, arrays, strict=True):
            mask = masking.get_mask(leaves[index])
            if isinstance(mask, KerasTensor):
                mask = jax.numpy.ones(_filled(mask.shape, first, rest), mask.dtype)
            if mask is not None:
                masking.set_mask(array, mask)
        filled_args, filled_kwargs = jax.tree.unflatten(structure, filled)
        with throwaway_scope():
            outputs = function(*plain(filled_args), **plain(filled_kwargs))
        return outputs, [masking.get_mask(leaf) for leaf in jax.tree.leaves(outputs)]

    shapes = [leaves[i].shape for i in indices]
    batch, has_batch = context.batch, any(None in shape[:1] for shape in shapes)
    is_known = not any(None in shape[0 if batch is None else 1 :] for shape in shapes)

    def trial(first, rest):
        arrays = [struct(_filled(leaves[i].shape, first, rest), leaves[i].dtype) for i in indices]
        previous = context.first, context.rest
        is_tried = not is_known and any(None in shape[1:] for shape in shapes)
        context.first = first if has_batch and batch is None else None
        context.rest = rest if is_tried else None
        try:
            return jax.eval_shape(functools.partial(run, first, rest), *arrays)
        finally:
            context.first, context.rest = previous

    first_probe, second_probe = ((p if batch is None else batch, p) for p in probes)
    try:
        first = trial(*first_probe)
    except Exception as error:
        if has_batch or not is_known:
            _forget_probe(error, trial, is_known)
        raise
    second = first if is_known else trial(*second_probe)

    def merge(a, b):
        shape = [m if m == n else None for m, n in zip(a.shape, b.shape, strict=True)]
        if has_batch and shape and batch is not None and shape[0] == batch:
            shape[0] = None
        return KerasTensor(shape, dtype=a.dtype)

    outputs, masks = jax.tree.map(merge, first, second)
    for tensor, mask in zip(jax.tree.leaves(outputs), masks, strict=True):
        if mask is not None:
            masking.set_mask(tensor, mask)
    return outputs
