"""Which device arrays are made on."""

import jax


def device(device_name):
    """A context in which arrays are made, and computed with, on one device.

    Args:
        device_name: such as `"cpu"` or `"gpu:1"`, or a `jax.Device`.

    Raises ValueError if this machine has no such device. Source: Keras: device.

    >>> import cornu
    >>> with cornu.device("cpu:0"):
    ...     x = cornu.ops.ones((2, 2))
    >>> x.device.platform
    'cpu'
    """
    if isinstance(device_name, jax.Device):
        return jax.default_device(device_name)
    if not isinstance(device_name, str):
        raise ValueError(
            "Invalid value for argument `device_name`. Expected a string like 'gpu:0' or a "
            f"`jax.Device`. Received: device_name={device_name!r}"
        )
    platform, _, number = device_name.lower().partition(":")
    try:
        found = jax.devices(platform)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError):
        has = ", ".join(f"{d.platform}:{i}" for i, d in enumerate(jax.devices()))
        raise ValueError(
            f"There is no device {device_name!r}. This process has: {has}, cpu:0."
        ) from None
    return jax.default_device(found)
