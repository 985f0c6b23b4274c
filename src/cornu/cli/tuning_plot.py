"""The figure of `cornu tune`: what is searched for by trial, and by each setting."""

from pathlib import Path

import numpy as np

from cornu.cli.search_space import Setting
from cornu.visualize.figure import new_figure, save_figure
from cornu.visualize.palette import ACCENT, INK, LINE


def draw(trials: list, settings: list[Setting], path: Path, measure: str) -> None:
    """Draw the best `measure` of each trial on the validation images; those stopped early are crosses."""
    figure = new_figure(4.2 * (1 + len(settings)), 3.6)
    first, *others = figure.subplots(1, 1 + len(settings), sharey=True, squeeze=False)[0]
    values = np.array([max(t.intermediate_values.values(), default=np.nan) for t in trials])
    is_whole = np.array([t.state.name == "COMPLETE" for t in trials])
    numbers = np.arange(1, len(trials) + 1)
    _points(first, numbers, values, is_whole)
    first.step(numbers, np.fmax.accumulate(values), where="post", color=ACCENT, label="best so far")
    first.set_xlabel("trial")
    first.set_ylabel(f"best validation {measure}")
    first.xaxis.get_major_locator().set_params(integer=True)
    first.legend(fontsize="small")
    for axes, setting in zip(others, settings, strict=True):
        found = [t.params[setting.name] for t in trials]
        if setting.choices is None:
            _points(axes, np.array(found, float), values, is_whole)
            axes.set_xscale("log" if setting.is_log else "linear")
        else:
            places = np.array([setting.choices.index(value) for value in found], float)
            # A little apart, so that each is seen.
            places += np.random.default_rng(0).uniform(-0.12, 0.12, len(places))
            _points(axes, places, values, is_whole)
            axes.set_xticks(range(len(setting.choices)), setting.choices)
            axes.set_xlim(-0.5, len(setting.choices) - 0.5)
        axes.set_xlabel(setting.name.replace("_", " "))
    save_figure(figure, path)


def _points(axes, x, y, is_whole) -> None:
    axes.plot(x[is_whole], y[is_whole], "o", color=INK, label="trained to the end")
    axes.plot(x[~is_whole], y[~is_whole], "x", color=LINE, label="stopped: others were ahead")
