"""Fonts for the scripts that Matplotlib's own lacks, such as Chinese, Japanese and Korean."""

import functools
import warnings

# Each draws more than one script; of one script there are many styles.
_MOST_FONTS = 4
_EXAMPLES = 8


def complete(texts) -> None:
    """Give each text of a figure, an `Artist`, installed fonts for the letters that its own has not."""
    for text in texts:
        letters = {
            ord(letter) for letter in text.get_text() if letter.isprintable() and letter != " "
        }
        # Most names are ASCII, which all fonts have.
        if not any(letter > 127 for letter in letters):
            continue
        properties = text.get_fontproperties()
        missing = letters - _letters_of(_path(properties))
        if not missing:
            continue
        names, lacking = _fonts_for(frozenset(missing))
        families = [f for f in properties.get_family() if f not in names]
        text.set_fontfamily([*families, *names])
        if lacking:
            _warn(frozenset(lacking))


def _path(properties) -> str:
    from matplotlib.font_manager import findfont

    return findfont(properties)


@functools.cache
def _letters_of(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


@functools.cache
def _fonts_for(missing: frozenset[int]) -> tuple[list[str], set[int]]:
    """Names of installed fonts that have the letters, the fewest that can be, and what none has."""
    from matplotlib.font_manager import findfont, fontManager

    # Upright, without serifs and of normal weight, as far as that can be.
    fonts = sorted(
        {
            (
                font.style != "normal",
                "Serif" in font.name,
                abs(_weight(font) - 400),
                font.name,
                font.fname,
            )
            for font in fontManager.ttflist
            # It has boxes for all letters.
            if not font.name.startswith("Last Resort")
            # Of two fonts of one name, only one is found by it.
            and findfont(font.name) == font.fname
        }
    )
    names: list[str] = []
    left = set(missing)
    while left and len(names) < _MOST_FONTS:
        best = next((font for font in fonts if left <= _letters_of(font[-1])), None)
        best = best or max(fonts, key=lambda font: len(left & _letters_of(font[-1])), default=None)
        if best is None or not left & _letters_of(best[-1]):
            break
        names.append(best[-2])
        left -= _letters_of(best[-1])
    return names, left


def _weight(font) -> int:
    from matplotlib.font_manager import weight_dict

    return weight_dict.get(font.weight, 400) if isinstance(font.weight, str) else int(font.weight)


@functools.cache
def _warn(letters: frozenset[int]) -> None:
    """Once for the same letters."""
    some = "".join(map(chr, sorted(letters)[:_EXAMPLES])) + (
        "…" if len(letters) > _EXAMPLES else ""
    )
    warnings.warn(
        f"No installed font has the letters {some}; pictures show boxes in their place. Install a font "
        "that has them, such as Noto Sans CJK (Debian: fonts-noto-cjk) or Noto Sans (fonts-noto-core)."
    )
