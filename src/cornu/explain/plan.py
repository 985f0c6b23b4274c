"""How long a training step takes on many devices, and what it needs: `plan`."""

import dataclasses
import difflib
import json
import math
import time
from pathlib import Path
from statistics import median

import jax
import numpy as np

from cornu.explain.arithmetic import arithmetic
from cornu.explain.observe import example_inputs
from cornu.layers.batch_normalization import BatchNormalization
from cornu.training.callback import Callback

MOST_DEVICES = 4096
# Seconds that a step is measured for, and the most steps in an epoch of that.
_LONG_ENOUGH, _MOST_STEPS = 1.0, 200
_BYTES = {"bfloat16": 2, "float16": 2, "tfloat32": 4, "float32": 4}


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What devices and their connections can do.

    Attributes:
        name: what they are.
        source: where the figures come from.
        tflops: 10¹² operations a second by dtype, a multiplication and an addition being two. Without them,
            the step of one device is measured on this machine.
        memory_gb: memory of a device, in 10⁹ bytes.
        memory_gb_per_s: bandwidth of that memory.
        devices_per_node: devices that links connect.
        link_gb_per_s, link_latency_us: of such a link, in one direction.
        network_gb_per_s, network_latency_us: of the network between nodes, for each device.
        arithmetic_share: the share of `tflops` that convolutions reach.
        bandwidth_share: the share of the memory's bandwidth that is reached.
    """

    name: str
    tflops: dict = dataclasses.field(default_factory=dict)
    memory_gb: float = math.inf
    memory_gb_per_s: float = math.inf
    devices_per_node: int = 1
    link_gb_per_s: float = math.inf
    link_latency_us: float = 0.0
    network_gb_per_s: float = 1.25
    network_latency_us: float = 50.0
    arithmetic_share: float = 1.0
    bandwidth_share: float = 1.0
    source: str = ""


def read_hardware(file: str) -> Hardware:
    """Figures from a JSON file, or those that come with Cornu under this name.

    A file without `tflops` has those of the memory's size and of the connections alone.

    Raises ValueError if a key is missing, unknown or of no use, or a figure is not positive.
    """
    folder = Path(__file__).parent / "hardware"
    path = Path(file) if Path(file).is_file() else folder / f"{file}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.json")))
        raise ValueError(f"There is no hardware file {file}. Those that come with Cornu: {known}.")
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(figures, dict):
        raise ValueError(f"{file} must hold one JSON object. Received: {figures!r}")
    fields = {field.name: field for field in dataclasses.fields(Hardware)}
    for key in figures:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{file}: unknown key {key!r}.{guess} Keys: {', '.join(fields)}.")
    needed = ["name", *(("memory_gb", "memory_gb_per_s") if "tflops" in figures else ())]
    for key in needed:
        if key not in figures:
            raise ValueError(f"{file}: the key {key!r} is missing.")
    for key in ("memory_gb_per_s", "arithmetic_share", "bandwidth_share"):
        if key in figures and "tflops" not in figures:
            raise ValueError(
                f"{file}: {key!r} says how fast a device computes, and has no effect without 'tflops': the "
                "step of one device is measured then."
            )
    for key, value in figures.items():
        if key in ("name", "source"):
            continue
        numbers = value if key == "tflops" else {key: value}
        if not isinstance(numbers, dict) or not numbers:
            raise ValueError(f"{file}: 'tflops' must be an object, such as {{\"float32\": 67}}.")
        for name, number in numbers.items():
            if key == "tflops" and name not in _BYTES:
                raise ValueError(f"{file}: unknown dtype {name!r}. Dtypes: {', '.join(_BYTES)}.")
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            if not is_number or not (number > 0 or (number == 0 and "latency" in key)):
                raise ValueError(
                    f"{file}: {name!r} must be a positive number. Received: {number!r}"
                )
            if "share" in key and number > 1:
                raise ValueError(f"{file}: {name!r} must be at most 1. Received: {number!r}")
            if key == "devices_per_node" and not isinstance(number, int):
                raise ValueError(f"{file}: {name!r} must be a whole number. Received: {number!r}")
    return Hardware(**figures)


@dataclasses.dataclass
class Row:
    """A step on so many devices, each with the same number of examples.

    Attributes:
        devices: how many.
        batch: examples of all of them.
        sent_bytes: what each device sends.
        seconds: time of the step.
        communication_seconds: how much of it is communication.
        efficiency: time of one device's step, by this one.
        examples_per_second: of all devices.
    """

    devices: int
    batch: int
    sent_bytes: int
    seconds: float
    communication_seconds: float
    efficiency: float
    examples_per_second: float


@dataclasses.dataclass
class Plan:
    """What a training step needs, and how it scales.

    Attributes:
        model, hardware, source, dtype: what it is about.
        devices, batch: as asked for.
        batch_per_device: examples of each device.
        is_measured: whether the step of one device was measured; it was predicted otherwise.
        compute_seconds: the step of one device.
        memory_bytes: memory that a device needs.
        fits: whether it has as much; None if that is not known.
        gradient_bytes: size of all gradients.
        normalization_bytes: size of the sums of batch normalization.
        rows: a `Row` for each number of devices.
    """

    model: str
    hardware: str
    source: str
    dtype: str
    devices: int
    batch: int
    batch_per_device: int
    is_measured: bool
    compute_seconds: float
    memory_bytes: int
    fits: bool | None
    gradient_bytes: int
    normalization_bytes: int
    rows: list[Row]

    @property
    def asked(self) -> Row:
        """The row of the number of devices that was asked for."""
        return next(row for row in self.rows if row.devices == self.devices)


def plan(
    model, devices: int, batch: int, hardware: Hardware | None = None, dtype: str = "float32"
) -> Plan:
    """What a step of training by data parallelism needs, and how long it takes on 1 to 4,096 devices.

    Each device computes `b = batch/devices` examples, whatever the number of devices in the table. A step
    takes

    - **arithmetic**: for each layer the longer of `6 * multiply_adds * b / speed` (2 operations for each,
      forward once and backward twice) and `6 * outputs * b / bandwidth` (outputs are written and read, and
      the gradient's pass does both twice); then the optimizer's update, `(3 + 2 * slots) * weights /
      bandwidth`. Without `hardware` or its `tflops`, the step of one device is measured on this machine
      instead, as `fit` makes it;
    - **communication**: an all-reduce of the gradients, and two of sums for each batch normalization. An
      all-reduce of `g` bytes over the `k` devices of a node takes `2 * (k-1)/k * g / link`, and that of its
      k-th part over `m` nodes `2 * (m-1)/m * g/k / network`. Each waits `2 * ceil(log2 k)` times for a
      link, and `2 * ceil(log2 m)` times for the network. Nothing is computed meanwhile: XLA reduces all
      gradients at once.

    Memory is that of weights, gradients, the optimizer's slots and all outputs, or what the compiler says
    where the step is measured. A training that computes some outputs in place needs less.

    Args:
        model: a built model. If it is not compiled, Adam is assumed.
        devices: number of devices.
        batch: examples of all devices together.
        hardware: figures. Default: this machine, measured, and a network of 10 Gbit/s and 50 µs.
        dtype: a key of `hardware.tflops`. What is measured has the model's own.

    Raises ValueError if the batch cannot be shared out evenly, or if there are no figures for the dtype.

    Source: roofline: Williams et al. 2009; ring all-reduce: Patarasuk and Yuan 2009; latency of trees:
    Thakur et al. 2005.

    >>> import cornu
    >>> from cornu.explain.plan import plan, read_hardware
    >>> model = cornu.Sequential([cornu.Input((32, 32, 3)), cornu.layers.Conv2D(64, 3)])
    >>> planned = plan(model, devices=8, batch=2048, hardware=read_hardware("h100"))
    >>> planned.batch_per_device, planned.gradient_bytes
    (256, 7168)
    """
    if devices < 1 or batch < 1:
        raise ValueError(
            f"devices and batch must be at least 1. Received: devices={devices}, batch={batch}"
        )
    if batch % devices:
        near = max(batch // devices, 1) * devices
        raise ValueError(
            f"A batch of {batch} cannot be shared out evenly among {devices} devices. Try {near}."
        )
    is_measured = hardware is None or not hardware.tflops
    if hardware is not None and hardware.tflops and dtype not in hardware.tflops:
        raise ValueError(
            f"There is no speed for {dtype!r}. Those of {hardware.name}: {', '.join(hardware.tflops)}."
        )
    share = batch // devices
    gradients = 4 * sum(math.prod(w.shape) for w in model.trainable_weights)
    normalizations = [
        layer for layer in model._flatten_layers() if isinstance(layer, BatchNormalization)
    ]
    # Mean and variance forwards, and as many sums for the gradient.
    sums = [2 * 4 * math.prod(layer.moving_mean.shape) for layer in normalizations for _ in "ab"]
    if hardware is None:
        used = Hardware(f"{jax.local_devices()[0].device_kind}, measured")
        used = dataclasses.replace(used, source="network of 10 Gbit/s and 50 µs assumed")
    else:
        used = hardware
    if is_measured:
        compute, memory = _measured(model, share)
        dtype = model.dtype_policy.name
    else:
        compute, memory = _predicted(model, share, gradients, used, dtype)
    counts = sorted({*(2**i for i in range(int(math.log2(MOST_DEVICES)) + 1)), devices})
    rows = []
    for count in counts:
        seconds = sum(_all_reduce(size, count, used) for size in [gradients, *sums] if size)
        rows.append(
            Row(
                count,
                share * count,
                round(2 * (count - 1) / count * (gradients + sum(sums))),
                compute + seconds,
                seconds,
                compute / (compute + seconds),
                share * count / (compute + seconds),
            )
        )
    return Plan(
        model.name,
        used.name,
        used.source,
        dtype,
        devices,
        batch,
        share,
        is_measured,
        compute,
        memory,
        None if math.isinf(used.memory_gb) else memory <= used.memory_gb * 1e9,
        gradients,
        sum(sums),
        rows,
    )


def _all_reduce(size: int, devices: int, hardware: Hardware) -> float:
    """Seconds; see `plan`."""
    near = min(devices, hardware.devices_per_node)
    nodes = math.ceil(devices / near)
    seconds = 2 * (near - 1) / near * size / (hardware.link_gb_per_s * 1e9)
    seconds += 2 * (nodes - 1) / nodes * size / near / (hardware.network_gb_per_s * 1e9)
    seconds += 2 * math.ceil(math.log2(near)) * hardware.link_latency_us * 1e-6
    return seconds + 2 * math.ceil(math.log2(nodes)) * hardware.network_latency_us * 1e-6


def _slots(model) -> int:
    """How many numbers the optimizer keeps for each weight."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 2
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    weights = sum(math.prod(w.shape) for w in model.trainable_weights)
    kept = sum(math.prod(v.shape) for v in optimizer.variables)
    return round(kept / max(weights, 1))


def _predicted(model, share: int, gradients: int, hardware: Hardware, dtype: str):
    speed = hardware.tflops[dtype] * 1e12 * hardware.arithmetic_share
    bandwidth = hardware.memory_gb_per_s * 1e9 * hardware.bandwidth_share
    slots = _slots(model)
    seconds, outputs = (3 + 2 * slots) * gradients / bandwidth, 0.0
    for row in arithmetic(model).rows:
        # They are counted in the model's dtype, float32 as a rule.
        size = row.num_bytes * _BYTES[dtype] / np.dtype(model.compute_dtype).itemsize
        seconds += max(6 * row.multiply_adds * share / speed, 6 * size * share / bandwidth)
        outputs += size * share
    others = 4 * sum(math.prod(w.shape) for w in model.non_trainable_weights)
    return seconds, round((2 + slots) * gradients + others + outputs)


class _Watch(Callback):
    """Times epochs, until they have taken long enough in all."""

    needs_every_batch = False

    def __init__(self):
        self.times: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        # Read, so that the last step has ended.
        float((logs or {})["loss"])
        self.times.append(time.perf_counter() - self._begin)
        # The first may still have been finding out how many steps go into one call.
        self.model.stop_training = len(self.times) > 1 and sum(self.times[1:]) > _LONG_ENOUGH


def _measured(model, share: int) -> tuple[float, int]:
    """Seconds of a step on this machine as `fit` makes it, several in a call; and its memory."""
    if getattr(model, "optimizer", None) is None:
        model.compile("adam", "mse")
    randoms = np.random.default_rng(0)
    x = jax.tree.map(
        lambda a: randoms.uniform(size=a.shape).astype(a.dtype), example_inputs(model, share)
    )
    outputs = jax.eval_shape(lambda: model(x))
    y = jax.tree.map(lambda a: np.zeros(a.shape, "float32"), outputs)

    def epochs(steps: int, most: int) -> list[float]:
        watch = _Watch()
        # The rows of the one batch come again in each step.
        how = {"batch_size": share, "steps_per_epoch": steps, "shuffle": False, "verbose": 0}
        model.fit(x, y, epochs=most, callbacks=[watch], **how)
        return watch.times

    # One to compile, and one to see how long it takes.
    epochs(1, 1)
    steps = max(min(int(_LONG_ENOUGH / 4 / epochs(1, 1)[0]), _MOST_STEPS), 1)
    times = epochs(steps, 50)
    return median(times[1:]) / steps, model.make_train_function().memory
