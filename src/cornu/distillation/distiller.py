"""`Distiller`: a student that learns from data and from a teacher."""

from typing import Any

import jax
import jax.numpy as jnp

from cornu.core import registry
from cornu.core.tracking import Aside
from cornu.distillation.losses import as_losses, mean_loss, per_output
from cornu.metrics import Mean
from cornu.models import Model


@registry.register("layer", "Distiller", module="keras.distillation")
class Distiller(Model):
    """A model that is its student, and trains it on data and on what a frozen teacher says of them.

    `loss = w * student_loss + (1 - w) * sum of weight * distillation_loss`. The logs have the parts:
    `student_loss`, `distillation_loss` and `total_loss`.

    Args:
        teacher: a trained model; it is frozen.
        student: the model to train, with inputs and outputs as the teacher's.
        distillation_losses: a `DistillationLoss`, or a list of them.
        distillation_loss_weights: a factor for each; default: ones.
        student_loss_weight: `w`, from 0 to 1.
        name: of this model.

    Source: Keras: Distiller.

    >>> import cornu
    >>> teacher, student = (cornu.Sequential([cornu.Input((4,)), cornu.layers.Dense(3)]) for _ in range(2))
    >>> distiller = cornu.distillation.Distiller(
    ...     teacher, student, cornu.distillation.LogitsDistillation(), student_loss_weight=0.3
    ... )
    >>> distiller.compile("adam", loss=cornu.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> len(distiller.trainable_variables)
    2
    """

    _teacher_features: Aside[Model]
    _student_features: Aside[Model]

    def __init__(
        self,
        teacher,
        student,
        distillation_losses,
        distillation_loss_weights=None,
        student_loss_weight=0.5,
        name="distiller",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        for who, model in (("Teacher", teacher), ("Student", student)):
            if not isinstance(model, Model):
                raise ValueError(f"{who} must be a Model, got {type(model)}")
        _compare(teacher, student)
        weight = student_loss_weight
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise ValueError(
                f"student_loss_weight must be a number between 0.0 and 1.0, got {student_loss_weight!r}"
            )
        if distillation_losses is None:
            raise ValueError(
                "'distillation_losses' cannot be `None`. Provide a distillation loss (e.g., "
                "LogitsDistillation or FeatureDistillation) or a list of distillation losses."
            )
        several = isinstance(distillation_losses, list | tuple)
        found = list(distillation_losses) if several else [distillation_losses]
        if distillation_loss_weights is None:
            distillation_loss_weights = [1.0] * len(found)
        elif not isinstance(distillation_loss_weights, list | tuple):
            distillation_loss_weights = [distillation_loss_weights]
        if len(distillation_loss_weights) != len(found):
            raise ValueError(
                f"Number of distillation_loss_weights ({len(distillation_loss_weights)}) must match "
                f"number of distillation_losses ({len(found)})"
            )
        for loss in found:
            loss.validate_model_compatibility(teacher, student)
        teacher.trainable = False
        self.teacher, self.student = teacher, student
        self.distillation_losses: list[Any] = found
        self.distillation_loss_weights = list(distillation_loss_weights)
        self.student_loss_weight = student_loss_weight
        self._student_loss: Any = None
        self.student_loss_tracker = Mean(name="student_loss")
        self.distillation_loss_tracker = Mean(name="distillation_loss")
        self.total_loss_tracker = Mean(name="total_loss")

    def compile(self, optimizer="adam", loss=None, metrics=None, **kwargs):
        """Configure training.

        Args:
            optimizer: for the student.
            loss: of the student's outputs and the targets, for several outputs a structure of such.
            metrics: a list, of the student's outputs.
            **kwargs: as for `Model.compile`.
        """
        if loss is None:
            raise ValueError(
                "'loss' cannot be `None`: it is what the student learns from the targets."
            )
        if metrics is not None and not isinstance(metrics, list | tuple):
            raise ValueError(f"metrics must be a list or tuple, got {type(metrics)}")
        self._student_loss = as_losses(loss)
        super().compile(optimizer=optimizer, loss=None, metrics=metrics, **kwargs)

    def call(self, inputs, training=None, **kwargs):
        return self.student(inputs, training=training, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The weighted sum of the student's loss and of those to the teacher.

        Raises ValueError for sample weights, which would have no effect.
        """
        if sample_weight is not None:
            raise ValueError(
                "Distiller does not weight samples. Leave `sample_weight` and `class_weight` out."
            )
        if y_pred is None:
            y_pred = self(x, training=training)
        student_loss = jnp.zeros(())
        if self.student_loss_weight > 0 and y is not None:
            student_loss = sum(per_output(mean_loss, self._student_loss, y, y_pred))
        distillation_loss = jnp.zeros(())
        if self.student_loss_weight < 1:
            distillation_loss = self._distillation_loss(x, y_pred, training)
        weight = self.student_loss_weight
        total = weight * student_loss + (1 - weight) * distillation_loss
        self.student_loss_tracker.update_state(student_loss)
        self.distillation_loss_tracker.update_state(distillation_loss)
        self.total_loss_tracker.update_state(total)
        return total

    def _distillation_loss(self, x, y_pred, training):
        names = [
            [getattr(loss, f"{who}_layer_name", None) for loss in self.distillation_losses]
            for who in ("teacher", "student")
        ]
        taught = self._features(self.teacher, "_teacher_features", names[0], x, None, False)
        learned = self._features(self.student, "_student_features", names[1], x, y_pred, training)
        total = jnp.zeros(())
        for loss, weight, teacher, student in zip(
            self.distillation_losses, self.distillation_loss_weights, *names, strict=True
        ):
            loss.validate_outputs(taught[teacher], learned[student])
            value = loss.compute_loss(taught[teacher], learned[student])
            if jnp.ndim(value) > 0:
                raise ValueError(
                    f"Distillation loss {type(loss).__name__} returned a non-scalar loss with shape "
                    f"{jnp.shape(value)}. The compute_loss method must return a scalar tensor."
                )
            total = total + weight * value
        return total

    def _features(self, model, kept: str, names: list, x, outputs, training) -> dict:
        """What the layers of these names compute; None names the model's outputs."""
        wanted = sorted({name for name in names if name is not None})
        if not wanted:
            return {None: model(x, training=training) if outputs is None else outputs}
        extractor = self.__dict__.get(kept)
        if extractor is None:
            layers = [model.get_layer(name).output for name in wanted]
            # It is no part of this model: its layers are the model's.
            extractor = Model(model.inputs, [model.output, *layers])
            object.__setattr__(self, kept, extractor)
        final, *features = extractor(x, training=training)
        found = {None: final if outputs is None else outputs}
        return {**found, **dict(zip(wanted, features, strict=True))}

    def get_compile_config(self) -> dict | None:
        return None

    def _config_names(self) -> list[str]:
        return [n for n in super()._config_names() if n != "dtype"]


def _compare(teacher, student) -> None:
    """Raise ValueError if two models with graphs do not take and give the same."""
    for what in ("inputs", "outputs"):
        if not (hasattr(teacher, what) and hasattr(student, what)):
            continue
        pair = [jax.tree.leaves(getattr(model, what)) for model in (teacher, student)]
        if len(pair[0]) != len(pair[1]):
            raise ValueError(
                f"Teacher and student have different numbers of {what}: {len(pair[0])} and {len(pair[1])}."
            )
        for mine, other in zip(*pair, strict=True):
            sizes = zip(mine.shape, other.shape, strict=False)
            same = all(a == b for a, b in sizes if a is not None and b is not None)
            if len(mine.shape) != len(other.shape) or not same:
                raise ValueError(
                    f"Teacher and student {what[:-1]} shapes are incompatible. Teacher: {mine.shape}, "
                    f"Student: {other.shape}. All dimensions must match."
                )
            if mine.dtype != other.dtype:
                raise ValueError(
                    f"Teacher and student {what[:-1]} dtypes must match. Teacher: {mine.dtype}, "
                    f"Student: {other.dtype}."
                )
