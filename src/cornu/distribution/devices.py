"""The devices of this machine, and of all processes together."""

import jax
import numpy as np


def list_devices(device_type=None) -> list[str]:
    """The names of the devices, those of all processes, such as `"gpu:0"`.

    Args:
        device_type: `"cpu"`, `"gpu"` or `"tpu"`; by default the best kind that there is.

    Raises ValueError if there is no device of that kind. Source: Keras: list_devices.

    >>> import cornu
    >>> cornu.distribution.list_devices("cpu")[0]
    'cpu:0'
    """
    return [f"{device.platform}:{device.id}" for device in _devices(device_type)]


def get_device_count(device_type=None) -> int:
    """How many devices `list_devices` names.

    Args:
        device_type: as for `list_devices`.

    Source: Keras: get_device_count.

    >>> import cornu
    >>> cornu.distribution.get_device_count("cpu") >= 1
    True
    """
    return len(_devices(device_type))


def _devices(device_type) -> list:
    if device_type is not None and not isinstance(device_type, str):
        raise ValueError(f"`device_type` must be 'cpu', 'gpu' or 'tpu'. Received: {device_type!r}")
    try:
        return jax.devices(device_type and device_type.lower())
    except RuntimeError:
        has = ", ".join(f"{d.platform}:{d.id}" for d in jax.devices())
        raise ValueError(
            f"There is no device of the kind {device_type!r}. There are: {has}."
        ) from None


def to_device(named) -> jax.Device:
    """The device of a name."""
    if isinstance(named, jax.Device):
        return named
    kind, _, number = str(named).lower().partition(":")
    found = [d for d in _devices(kind) if str(d.id) == (number or "0")]
    if not found:
        raise ValueError(
            f"There is no device {str(named)!r}. There are: {', '.join(list_devices(kind))}."
        )
    return found[0]


def as_names(devices) -> np.ndarray:
    """Devices, each once, as an array of names, or of devices where such were given."""
    found = np.array(devices, dtype=object)
    twice = sorted({str(d) for d in found.flat if list(found.flat).count(d) > 1})
    if twice:
        raise ValueError(f"A device can be in a mesh only once. Twice there: {', '.join(twice)}.")
    return found
