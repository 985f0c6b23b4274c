"""Layers' outputs as small images, which a page paints."""

from typing import Any

import numpy as np

# What a page gets at once: channels of a layer, pixels along an axis, and units of a vector or steps of a
# signal.
MOST_CHANNELS, MOST_PIXELS, MOST_UNITS = 64, 64, 1024


def image_of(output: np.ndarray, most: int = MOST_CHANNELS) -> tuple[dict[str, Any], np.ndarray]:
    """An output, the channels last, as an image: what it is, and int8 `(channels, rows, columns)`."""
    maps = as_maps(output)
    step = max(1, -(-max(maps.shape[:-1]) // (MOST_PIXELS if len(maps) > 1 else MOST_UNITS)))
    # As strong as in the whole layer, whichever maps are given.
    coded, scale = _coded(np.moveaxis(maps[::step, ::step], -1, 0), min(most, MOST_CHANNELS))
    return {"shape": list(coded.shape), "step": step, "scale": scale}, coded


def as_maps(output: np.ndarray) -> np.ndarray:
    """An output as `(rows, columns, channels)`: a vector is one row, a volume its middle slice."""
    if output.ndim <= 1:
        # The first ones, as units that are left out between them would not be missed.
        return output.reshape(1, -1, 1)[:, :MOST_UNITS]
    while output.ndim > 3:
        output = output[len(output) // 2]
    return output[None] if output.ndim == 2 else output


def _coded(maps: np.ndarray, most: int | None = None, channels=None) -> tuple[np.ndarray, float]:
    """Some of the maps as int8, by the largest absolute value of all, which is returned, too."""
    finite = np.isfinite(maps)
    scale = float(np.abs(maps[finite]).max()) if finite.any() else 0.0
    chosen = slice(most) if channels is None else channels
    maps, finite = maps[chosen], finite[chosen]
    levels = np.round(np.where(finite, maps, 0) * (127 / scale if scale else 0)).astype(np.int8)
    return np.where(finite, levels, np.int8(-128)), scale


def sheet_of(maps: np.ndarray, start: int, by_strength: bool, channels=None):
    """Some of many maps `(rows, columns, channels)`: what they are, and images; see `Network.sheet`."""
    step = -(-max(maps.shape[:-1]) // MOST_PIXELS)
    count = maps.shape[-1]
    strength = np.abs(np.nan_to_num(maps)).max((0, 1))
    if channels is None:
        order = np.argsort(-strength, kind="stable") if by_strength else np.arange(count)
        channels = order[start : start + MOST_CHANNELS]
    chosen = np.asarray(channels, int)[:MOST_CHANNELS]
    coded, scale = _coded(np.moveaxis(maps[::step, ::step], -1, 0), channels=chosen)
    described = {
        "maps": chosen.tolist(),
        "count": count,
        "shape": list(coded.shape),
        "step": step,
        "scale": scale,
        "strength": [float(strength[c]) for c in chosen],
    }
    return described, [coded]
