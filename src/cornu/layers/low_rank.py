"""Low-rank adaptation: a weight stays as it is, and two small matrices are trained beside it."""

from typing import Any

import numpy as np

from cornu.core.layer import Layer
from cornu.core.variable import Variable
from cornu.layers import weight_arguments


class LowRank(Layer):
    """A layer whose main weight can be adapted: `weight + (alpha / rank) * a @ b` is what it computes with.

    Files hold the sum, as those of Keras do: who loads one need not know of the adaptation.

    Args:
        lora_rank: rank of the product, if the weight is adapted from the start; see `enable_lora`.
        lora_alpha: default: the rank.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
    """

    # The name of the weight. `_kernel` holds the variable, `kernel` is what it is with the adaptation.
    _main = "kernel"
    lora_enabled = False
    lora_rank: int | None
    lora_alpha: float | None

    def __init__(self, *, lora_rank=None, lora_alpha=None, **kwargs):
        super().__init__(**kwargs)
        self._set_adaptation(lora_rank, lora_alpha)

    def _set_adaptation(self, rank, alpha) -> None:
        """Check and keep the constructor's arguments."""
        for name, value in (("lora_rank", rank), ("lora_alpha", alpha)):
            whole = name == "lora_rank"
            allowed = int | np.integer if whole else int | float | np.integer | np.floating
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, allowed) or (whole and value < 1)
            ):
                raise ValueError(
                    f"Layer '{self.name}': `{name}` must be a positive {'integer' if whole else 'number'}"
                    f" or None. Received: {name}={value!r}"
                )
        self.lora_rank = rank
        self.lora_alpha = rank if alpha is None else alpha

    def _config_names(self) -> list[str]:
        names = super()._config_names()
        return names if self.lora_rank else [n for n in names if not n.startswith("lora_")]

    def add_weight(self, *args, **kwargs) -> Variable:
        """Make a weight that belongs to this layer, also when it is built already."""
        weight = super().add_weight(*args, **kwargs)
        if self.built and self.path:
            weight.path = f"{self.path}/{weight.name}"
        return weight

    @property
    def _main_variable(self) -> Any:
        """The variable of the main weight."""
        try:
            return self.__dict__[f"_{self._main}"]
        except KeyError:
            raise AttributeError(
                f"Layer '{self.name}': you must build the layer before accessing `{self._main}`."
            ) from None

    @_main_variable.setter
    def _main_variable(self, variable) -> None:
        # An attribute that is set anew is the last one, as is the variable.
        self.__dict__.pop(f"_{self._main}", None)
        self.__dict__[f"_{self._main}"] = variable

    def _add_main(self, shape, **arguments) -> None:
        self._main_variable = weight_arguments.add(self, self._main, shape, **arguments)

    def _effective(self):
        """The variable of the main weight or, with an adaptation, the sum."""
        if not self.lora_enabled:
            return self._main_variable
        return self._sum().astype(self.compute_dtype)

    def _sum(self):
        """The main weight and what has been learned beside it, as floats."""
        return self._main_variable.value + self._adaptation()

    def _effective_value(self):
        """The array that the layer computes with."""
        weight = self._effective()
        return weight.value if isinstance(weight, Variable) else weight

    def _adaptation(self):
        """`(alpha / rank) * a @ b`, in the shape of the weight."""
        return self._lora_scale * (self._lora_a.value @ self._lora_b.value)

    @property
    def _lora_scale(self) -> float:
        return self.lora_alpha / self.lora_rank  # type: ignore[operator]

    @property
    def _lora_a(self) -> Variable:
        return getattr(self, f"lora_{self._main}_a")

    @property
    def _lora_b(self) -> Variable:
        return getattr(self, f"lora_{self._main}_b")

    def enable_lora(self, rank, lora_alpha=None, a_initializer="he_uniform", b_initializer="zeros"):
        """Freeze the main weight, and train two small matrices beside it from now on.

        Compile the model after this, as the weights that are trained are others.

        Args:
            rank: the number of columns of the one and of rows of the other.
            lora_alpha: the product counts `lora_alpha / rank` times; default: once.
            a_initializer, b_initializer: initial values. With zeros in one of them, the layer computes
                at first what it did before.

        Raises ValueError if the layer is not built, has them already, or has a constraint on the weight.
        """
        if getattr(self, f"{self._main}_constraint") is not None:
            raise ValueError(
                f"Layer '{self.name}': Lora is incompatible with {self._main.removesuffix('s')} "
                "constraints: it would be unclear what to constrain. Remove the "
                f"`{self._main}_constraint` argument to enable lora."
            )
        if not self.built:
            raise ValueError(
                f"Cannot enable lora on a layer that isn't yet built. Build '{self.name}' first."
            )
        if self.lora_enabled:
            raise ValueError(
                f"lora is already enabled in layer '{self.name}'. This can only be done once per layer."
            )
        self._set_adaptation(rank, lora_alpha)
        self._add_adaptation(a_initializer, b_initializer)

    def _add_adaptation(self, a_initializer="he_uniform", b_initializer="zeros") -> None:
        *outer, inner = self._main_shape()
        rank, regularizer = self.lora_rank, getattr(self, f"{self._main}_regularizer")
        for part, shape, initializer in (
            ("a", (*outer, rank), a_initializer),
            ("b", (rank, inner), b_initializer),
        ):
            # In float32 whatever the layer's dtype, so that small steps are not lost.
            name = f"lora_{self._main}_{part}"
            weight = self.add_weight(
                shape, initializer, "float32", regularizer=regularizer, name=name
            )
            setattr(self, name, weight)
        self._main_variable.trainable = False
        self.lora_enabled = True

    def _may_train(self, weight: Variable) -> bool:
        # The main weight stays frozen if the layer is made trainable again.
        frozen = self.lora_enabled and weight is self._main_variable
        return not frozen and super()._may_train(weight)

    def _main_shape(self) -> tuple:
        return tuple(self._main_variable.shape)

    # ---- files

    def _saved_weights(self) -> list[Variable]:
        if not self.lora_enabled:
            return super()._saved_weights()
        main, factors = self._main_variable, (self._lora_a, self._lora_b)
        rest = [w for w in self._own_weights() if not any(w is f for f in (main, *factors))]
        return [main, *rest]

    def _saved_values(self) -> list[np.ndarray]:
        if not self.lora_enabled:
            return super()._saved_values()
        merged = np.asarray(self._sum().astype(self._main_variable.dtype))
        return [merged, *(w.numpy() for w in self._saved_weights()[1:])]

    def _were_loaded(self) -> None:
        """What was learned beside the weight is in the weight that a file holds."""
        if self.lora_enabled:
            for factor in (self._lora_a, self._lora_b):
                factor.assign(np.zeros(factor.shape, factor.dtype))
