"""How far a student's outputs, or its features, are from its teacher's."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cornu import losses
from cornu.core import registry
from cornu.core.configurable import Configurable
from cornu.losses import KLDivergence, Loss


def _is_leaf(value) -> bool:
    return value is None or callable(value)


def as_losses(structure):
    """A structure of losses: names and configurations in it become functions."""
    if isinstance(structure, list | tuple):
        return type(structure)(map(as_losses, structure))
    if isinstance(structure, dict) and "class_name" not in structure:
        return {key: as_losses(value) for key, value in structure.items()}
    return losses.get(structure)


def per_output(function: Callable, structure, *outputs) -> list:
    """`function(loss, …)` for each loss of a structure and its outputs, without those that are None.

    Raises ValueError if the outputs have another structure than the losses.
    """
    found: list
    shape: Any
    found, shape = jax.tree.flatten(structure, is_leaf=_is_leaf)
    try:
        columns = [shape.flatten_up_to(each) for each in outputs]
    except ValueError as error:
        raise ValueError(
            f"Loss structure mismatch: the losses are {structure}, but the outputs are "
            f"{jax.tree.map(jnp.shape, outputs[0])}. {error}"
        ) from None
    rows = zip(found, *columns, strict=True)
    return [function(loss, *row) for loss, *row in rows if loss is not None]


class DistillationLoss(Configurable):
    """What a student is told by its teacher. A subclass overrides `compute_loss`.

    Source: Keras: DistillationLoss.

    >>> import cornu, jax.numpy as jnp
    >>> class Distance(cornu.distillation.DistillationLoss):
    ...     def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
    ...         return jnp.mean(jnp.abs(teacher_outputs - student_outputs))
    >>> float(Distance().compute_loss(jnp.zeros(2), jnp.ones(2)))
    1.0
    """

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        """The loss, a scalar."""
        raise NotImplementedError(
            f"{type(self).__name__} does not have a `compute_loss()` method implemented."
        )

    def validate_outputs(self, teacher_outputs, student_outputs) -> None:
        """Raise ValueError if the outputs cannot be compared."""
        first: Any = jax.tree.structure(teacher_outputs)
        second: Any = jax.tree.structure(student_outputs)
        if first != second:
            raise ValueError(
                f"The teacher's outputs are {first}, the student's {second}: they need the same structure."
            )

    def validate_model_compatibility(self, teacher, student) -> None:
        """Raise ValueError if this loss cannot be computed for these models."""

    def _set_losses(self, loss) -> None:
        self.loss: Any = as_losses(loss)
        if not any(callable(each) for each in jax.tree.leaves(self.loss, is_leaf=_is_leaf)):
            raise ValueError(
                f"The `loss` argument in `{type(self).__name__}` must contain at least one non-`None` "
                f"value. Received: loss={loss}"
            )


@registry.register("distillation_loss", module="keras.distillation")
class FeatureDistillation(DistillationLoss):
    """The mean loss between what a layer of the teacher and one of the student compute.

    Args:
        loss: name, `Loss` or function; or a structure of such as the layers' outputs have, with None for
            those that do not count.
        teacher_layer_name, student_layer_name: names of the layers; default: the models' outputs.

    Source: Keras: FeatureDistillation; Romero et al. 2015, "FitNets".

    >>> import cornu, jax.numpy as jnp
    >>> loss = cornu.distillation.FeatureDistillation("mse")
    >>> float(loss.compute_loss(jnp.zeros((1, 2)), jnp.ones((1, 2))))
    1.0
    """

    def __init__(self, loss="mse", teacher_layer_name=None, student_layer_name=None):
        self._set_losses(loss)
        self.teacher_layer_name = teacher_layer_name
        self.student_layer_name = student_layer_name

    def validate_model_compatibility(self, teacher, student) -> None:
        for who, model, name in (
            ("teacher", teacher, self.teacher_layer_name),
            ("student", student, self.student_layer_name),
        ):
            if name is None:
                continue
            if not hasattr(model, "inputs"):
                raise ValueError(
                    "FeatureDistillation with specific layer names requires Functional or Sequential "
                    f"models that are built. The {who} has no graph. Leave the names out to compare the "
                    "outputs."
                )
            try:
                model.get_layer(name)
            except ValueError as error:
                raise ValueError(f"In {who} model: {error}") from None

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        def mean(loss, teacher, student):
            return jnp.mean(loss(teacher, student))

        return sum(per_output(mean, self.loss, teacher_outputs, student_outputs))


@registry.register("distillation_loss", module="keras.distillation")
class LogitsDistillation(DistillationLoss):
    """The loss between the outputs of teacher and student, divided by a temperature.

    With the divergence of Kullback and Leibler it is `temperature ** 2 * KL(softmax(teacher / temperature),
    softmax(student / temperature))`; other losses are given the divided outputs.

    Args:
        temperature: the larger, the more the small outputs count.
        loss: name, `Loss` or function; or a structure of such as the outputs have, with None for those
            that do not count.

    Source: Keras: LogitsDistillation; Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".

    >>> import cornu, jax.numpy as jnp
    >>> loss = cornu.distillation.LogitsDistillation(temperature=2.0)
    >>> float(loss.compute_loss(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 2.0]])))
    0.0
    """

    def __init__(self, temperature=3.0, loss="kl_divergence"):
        self._set_losses(loss)
        if isinstance(temperature, bool) or not isinstance(temperature, int | float):
            raise ValueError(f"temperature must be a number, got {type(temperature)}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive. Received: {temperature}")
        self.temperature = temperature

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        def scaled(loss, teacher, student):
            teacher, student = teacher / self.temperature, student / self.temperature
            if not isinstance(loss, KLDivergence):
                return jnp.mean(loss(teacher, student))
            teacher, student = jax.nn.softmax(teacher, axis=-1), jax.nn.softmax(student, axis=-1)
            return jnp.mean(loss(teacher, student)) * self.temperature**2

        return sum(per_output(scaled, self.loss, teacher_outputs, student_outputs))


def mean_loss(loss, y, y_pred):
    """The mean of a loss over its batch."""
    found = loss(y, y_pred)
    return found if isinstance(loss, Loss) and not inspect.isfunction(loss) else jnp.mean(found)
