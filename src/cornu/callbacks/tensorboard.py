"""`TensorBoard`: write what TensorBoard shows."""

import importlib
import io
import os
import time
import warnings
from pathlib import Path

import numpy as np

from cornu.callbacks import projector
from cornu.callbacks.learning_rate import learning_rates, optimizers_of
from cornu.core import registry
from cornu.core.old_arguments import takes_old_arguments
from cornu.core.optional import MissingPackage
from cornu.training.callback import Callback

# Of Keras 2.
_IDLE = {
    "batch_size": "histograms are those of the weights",
    "write_grads": "gradients are not kept",
}


@registry.register("callback", module="keras.callbacks")
class TensorBoard(Callback):
    """Writes logs and weights for TensorBoard, below `log_dir` in `train` and `validation`.

    It needs the package `tensorboardX` or `tensorboard`.

    Args:
        log_dir: the folder.
        histogram_freq: write histograms of the weights every so many epochs, 0 for never.
        write_graph: whether to write a model that has a graph, for TensorBoard's page "Graphs".
        write_images: whether to write the weights as images along with the histograms.
        write_steps_per_second: whether to write how fast training is.
        update_freq: `"epoch"`, or a number of batches after which to write logs as well;
            `"batch"` means 1. Each time waits for the device.
        profile_batch: number of a batch, or the first and the last, to write a profile of (counted
            from 1 over all epochs), 0 for none.
        embeddings_freq: write the matrices of `Embedding` layers every so many epochs, for TensorBoard's
            page "Projector", which shows the last ones; 0 for never.
        embeddings_metadata: the name of a file in `log_dir` with a line for each row of all matrices, or
            a dict from layers' names to such files.

    Raises ImportError, when training begins, if neither package is installed, and ValueError if
    `embeddings_metadata` names no `Embedding` layer of the model.

    Source: Keras: TensorBoard.

    >>> import cornu
    >>> cornu.callbacks.TensorBoard("logs", histogram_freq=1).log_dir
    'logs'
    """

    in_first_process_only = True

    @takes_old_arguments(_IDLE)
    def __init__(
        self,
        log_dir="logs",
        histogram_freq=0,
        write_graph=True,
        write_images=False,
        write_steps_per_second=False,
        update_freq="epoch",
        profile_batch=0,
        embeddings_freq=0,
        embeddings_metadata=None,
    ):
        if embeddings_metadata and not embeddings_freq:
            raise ValueError(
                "TensorBoard: `embeddings_metadata` describes what `embeddings_freq` writes. Give it, too: "
                "embeddings_freq=1."
            )
        self.embeddings_freq, self.embeddings_metadata = embeddings_freq, embeddings_metadata
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq, self.write_graph = histogram_freq, write_graph
        self.write_images, self.write_steps_per_second = write_images, write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._first_profiled, self._last_profiled = _profile_range(profile_batch)
        self._writers: dict[str, _Writer] = {}
        self._num_batches = self._batches_before = 0
        self._profiles = False

    @property
    def summary(self):
        """TensorFlow's module `tf.summary`, for subclasses that write with it; Cornu writes without.

        Raises ImportError if TensorFlow is not installed.
        """
        try:
            return importlib.import_module("tensorflow.summary")
        except ImportError as error:
            raise MissingPackage(
                "`TensorBoard.summary` is the module of TensorFlow, which is not installed. Write with "
                "tensorboardX.SummaryWriter(log_dir), or run: pip install tensorflow"
            ) from error

    def _writer(self, folder: str) -> "_Writer":
        if folder not in self._writers:
            self._writers[folder] = _Writer(os.path.join(self.log_dir, folder))
        return self._writers[folder]

    @property
    def needs_every_batch(self) -> bool:
        """Whether anything is written after batches."""
        return self.update_freq != "epoch" or self._last_profiled > 0

    def on_train_begin(self, logs=None):
        self._num_batches = 0
        writer = self._writer("train")
        if self.write_graph and getattr(self.model, "_graph", None) is not None:
            try:
                writer.model(self.model.to_json())
            except (TypeError, ValueError) as error:
                warnings.warn(
                    f"TensorBoard gets no graph of the model '{self.model.name}', which cannot be "
                    f"described: {error}",
                    stacklevel=2,
                )

        if self.embeddings_freq:
            layers = projector.embedding_layers(self.model)
            projector.describe(Path(self.log_dir), layers, self.embeddings_metadata)

    def on_train_end(self, logs=None):
        self._end_profile()
        self._close()

    def _close(self):
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def on_epoch_begin(self, epoch, logs=None):
        self._batches_before = self._num_batches
        self._start_of_epoch = time.time()

    def on_train_batch_begin(self, batch, logs=None):
        self._start_of_batch = time.time()
        if self._num_batches + 1 == self._first_profiled:
            import jax

            jax.profiler.start_trace(os.path.join(self.log_dir, "train"))
            self._profiles = True

    def on_train_batch_end(self, batch, logs=None):
        self._num_batches = self._batches_before + batch + 1
        if self._num_batches == self._last_profiled:
            self._end_profile()
        if self.update_freq == "epoch" or self._num_batches % self.update_freq:
            return
        writer = self._writer("train")
        for name, value in (logs or {}).items():
            writer.scalar(f"batch_{name}", value, self._num_batches)
        if self.write_steps_per_second:
            speed = 1 / (time.time() - self._start_of_batch)
            writer.scalar("batch_steps_per_second", speed, self._num_batches)

    def _end_profile(self):
        if self._profiles:
            import jax

            jax.profiler.stop_trace()
            self._profiles = False

    def on_test_end(self, logs=None):
        iterations = getattr(self.model.optimizer, "iterations", None)
        if iterations is None:
            return
        in_fit = bool(self._writers)
        for name, value in (logs or {}).items():
            tag = f"evaluation_{name}_vs_iterations"
            self._writer("validation").scalar(tag, value, int(np.asarray(iterations)))
        if not in_fit:
            self._close()

    def on_epoch_end(self, epoch, logs=None):
        logs = dict(logs or {})
        if all(hasattr(each, "learning_rate") for each in optimizers_of(self.model).values()):
            logs.update(learning_rates(self.model))
        if self.write_steps_per_second:
            seconds = time.time() - self._start_of_epoch
            logs["steps_per_second"] = (self._num_batches - self._batches_before) / seconds
        for name, value in logs.items():
            folder = "validation" if name.startswith("val_") else "train"
            self._writer(folder).scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            for layer in projector.embedding_layers(self.model):
                projector.write(Path(self.log_dir), layer)
        for writer in self._writers.values():
            writer.flush()

    def _write_weights(self, epoch):
        writer = self._writer("train")
        for layer in self.model.layers:
            for weight in layer.weights:
                value = np.asarray(weight, dtype=np.float64)
                writer.histogram(f"{weight.path}/histogram", value, epoch)
                if self.write_images:
                    for i, image in enumerate(_images(value)):
                        writer.image(f"{weight.path}/image/{i}", image, epoch)


def _profile_range(profile_batch) -> tuple[int, int]:
    given = profile_batch
    if isinstance(given, str):
        given = tuple(int(part) for part in given.split(","))
    if isinstance(given, int):
        given = (given, given)
    if len(given) != 2 or given[0] < 0 or given[1] < given[0]:
        raise ValueError(
            "profile_batch must be a non-negative integer or 2-tuple of positive integers. A pair "
            f"of positive integers signifies a range of batches to profile. Found: {profile_batch}"
        )
    return given


def _images(value: np.ndarray):
    """A weight as at most three images, each with values from 0 to 255."""
    value = np.squeeze(value)
    if value.ndim < 2:
        value = value.reshape(1, -1)
    if value.ndim == 2 and value.shape[0] > value.shape[1]:
        value = value.T
    if value.ndim > 3:
        # Kernels side by side: rows, columns, everything else.
        value = value.reshape(*value.shape[:2], -1)
    images = [value] if value.ndim == 2 else list(np.moveaxis(value, -1, 0))[:3]
    low, span = value.min(), np.ptp(value) or 1
    return [((image - low) / span * 255).astype(np.uint8) for image in images]


class _Writer:
    """Writes events with whichever of the two packages is there; their classes are the same."""

    _SOURCES = (
        ("tensorboardX.proto", "tensorboardX.event_file_writer"),
        ("tensorboard.compat.proto", "tensorboard.summary.writer.event_file_writer"),
    )

    def __init__(self, folder: str):
        for proto, writer in self._SOURCES:
            try:
                self._events = importlib.import_module(f"{proto}.event_pb2")
                self._summaries = importlib.import_module(f"{proto}.summary_pb2")
                event_file_writer = importlib.import_module(writer)
                break
            except ImportError:
                continue
        else:
            raise MissingPackage(
                "The TensorBoard callback needs the package `tensorboardX` or `tensorboard`, and "
                "neither is installed. Run: pip install tensorboardX"
            )
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._file = event_file_writer.EventFileWriter(folder)

    def _add(self, step, **value):
        summary = self._summaries.Summary(value=[self._summaries.Summary.Value(**value)])
        self._file.add_event(self._events.Event(wall_time=time.time(), step=step, summary=summary))

    def scalar(self, tag, value, step):
        if np.ndim(value) == 0:
            self._add(step, tag=tag, simple_value=float(value))

    def model(self, description: str):
        # TensorBoard's names: the plugin, its version, and the dtype of strings in tensors.
        plugin = {"plugin_name": "graph_keras_model", "content": b"1"}
        tensor = {"dtype": 7, "string_val": [description.encode()]}
        self._add(0, tag="keras", metadata={"plugin_data": plugin}, tensor=tensor)

    def histogram(self, tag, value, step):
        counts, edges = np.histogram(value, bins=30)
        histogram = self._summaries.HistogramProto(
            min=value.min(),
            max=value.max(),
            num=value.size,
            sum=value.sum(),
            sum_squares=np.square(value).sum(),
            # The first bucket ends where the values begin.
            bucket_limit=edges.tolist(),
            bucket=[0, *counts.tolist()],
        )
        self._add(step, tag=tag, histo=histogram)

    def image(self, tag, image, step):
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(image, mode="L").save(file, "PNG")
        image = self._summaries.Summary.Image(
            height=image.shape[0],
            width=image.shape[1],
            colorspace=1,
            encoded_image_string=file.getvalue(),
        )
        self._add(step, tag=tag, image=image)

    def flush(self):
        self._file.flush()

    def close(self):
        self._file.close()
