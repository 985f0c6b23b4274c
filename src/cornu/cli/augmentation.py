"""What `--augment` does: random changes of images in training, of three strengths."""

from cornu import layers
from cornu.cli.parts import Data


def changes(data: Data, strength: str | None, white: float | None) -> list:
    """Layers that change images at random in training, as `docs/augmentation.md` says.

    Args:
        data: what they are for.
        strength: light, medium or strong; None for no change.
        white: the value of a white pixel where the layers are; None if values are not pixels, whose colours
            then stay.
    """
    if strength is None:
        return []
    # Each pixel is a whole one of before: means of several would blur the images of the training, and not
    # those of validation. An edge of a photograph goes on as it is; what is beside a digit is empty.
    filling = {
        "interpolation": "nearest",
        "fill_mode": "nearest" if data.shape[2] == 3 else "constant",
    }
    found = [
        *([layers.RandomFlip("horizontal")] if data.can_be_mirrored else []),
        layers.RandomTranslation(0.1, 0.1, **filling),
        layers.RandomRotation(0.03, **filling),
        layers.RandomZoom(0.1, **filling),
    ]
    if strength == "light" or white is None:
        return found
    values = (0.0, float(white))
    if data.shape[2] == 3:
        found.append(
            layers.RandomColorJitter(
                value_range=values,
                brightness_factor=0.2,
                contrast_factor=0.3,
                saturation_factor=(0.35, 0.65),
                hue_factor=0.05,
            )
        )
    else:
        found.append(layers.RandomBrightness(0.2, value_range=values))
        found.append(layers.RandomContrast(0.3, value_range=values))
    if strength == "medium":
        return found
    if data.shape[2] == 3:
        found.append(
            layers.RandAugment(value_range=values, num_ops=1, factor=0.2, interpolation="nearest")
        )
    return [*found, layers.RandomErasing((0.25, 0.25), value_range=values)]


def is_mixing(strength: str | None) -> bool:
    """Whether images are mixed with others, and their labels with them."""
    return strength == "strong"
