import io
import re
import sys
import time

import pytest
from keras.utils import Progbar as KerasProgbar

from cornu.utils.progress import Progbar


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 1e9

    def __call__(self):
        return self.now


def show(monkeypatch, cls, out, updates, **arguments):
    """What `cls` prints for updates `(seconds later, current, values, finalize)`."""
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", clock)
        patch.setattr(sys, "stdout", out)
        bar = cls(**arguments)
        for seconds, current, values, finalize in updates:
            clock.now += seconds
            bar.update(current, values, finalize)
    return out.getvalue()


def epoch(target, seconds, first=0.7):
    """Updates as a training of `target` steps gives them."""
    updates = [
        (
            first if step == 1 else seconds,
            step,
            [("accuracy", step / target), ("loss", 1 / step - 0.4)],
            False,
        )
        for step in range(1, target + 1)
    ]
    last = [("accuracy", 0.9648), ("loss", 0.1189), ("val_loss", 0.00012)]
    return [*updates, (0.5, target, last, True)]


UPDATES = {
    "us": epoch(9, 0.0003),
    "ms": epoch(12, 0.06),
    "s": epoch(5, 12.4),
    "minutes": epoch(100, 3.0)[:7],
    "hours": epoch(1000, 40.0)[:5],
    "one step": epoch(1, 0.1),
    "starts at zero": [(0.1, 0, [], None), (0.1, 2, [("a", 1.0)], None)],
    "repeats the first": [(0.1, 1, [], None), (0.3, 1, [("a", 1.0)], None)],
    "shorter line": [(1, 1, [("a", -1e-4)], None), (1, 2, [("a", 3.0)], None)],
}
TARGETS = {
    "us": 9,
    "ms": 12,
    "s": 5,
    "minutes": 100,
    "hours": 1000,
    "one step": 1,
    "starts at zero": 2,
    "repeats the first": 400,
    "shorter line": 422,
}
KINDS = {
    "as it is": {"stateless_metrics": set()},
    "averaged": {},
    "some as they are": {"stateful_metrics": ["accuracy"]},
    "some averaged": {"stateless_metrics": ["loss"]},
    "narrow": {"width": 7, "unit_name": "sample"},
    "every update": {"interval": 0},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", UPDATES)
def test_a_terminal_shows_what_keras_shows(monkeypatch, case, kind):
    def shown(cls):
        return show(
            monkeypatch, cls, Terminal(), UPDATES[case], target=TARGETS[case], **KINDS[kind]
        )

    assert "\x1b[" in shown(KerasProgbar)
    assert shown(Progbar) == shown(KerasProgbar)


@pytest.mark.parametrize("verbose", [0, 2])
@pytest.mark.parametrize("out", [Terminal, io.StringIO])
@pytest.mark.parametrize("case", UPDATES)
def test_other_verbosities_are_keras(monkeypatch, case, out, verbose):
    # Keras writes a negative number above 1e-3 in scientific notation, only for verbose=2.
    updates = [
        (s, n, [(k, abs(v)) for k, v in values], finalize)
        for s, n, values, finalize in UPDATES[case]
    ]

    def shown(cls):
        return show(monkeypatch, cls, out(), updates, target=TARGETS[case], verbose=verbose)

    assert shown(Progbar) == shown(KerasProgbar)


def test_unknown_number_of_steps(monkeypatch):
    updates = [(1.0, step, [("loss", 0.5)], False) for step in (1, 2, 3)]
    updates.append((1.0, 3, [("loss", 0.25)], True))
    shown = [
        show(monkeypatch, cls, Terminal(), updates, target=None) for cls in (Progbar, KerasProgbar)
    ]
    assert shown[0] == shown[1]
    assert "3/Unknown" in shown[0]


@pytest.mark.parametrize("case", ["us", "ms", "s", "one step"])
def test_a_file_gets_one_plain_line(monkeypatch, case):
    arguments = {"target": TARGETS[case], "stateless_metrics": set()}
    terminal = show(monkeypatch, KerasProgbar, Terminal(), UPDATES[case], **arguments)
    last = re.sub("\x1b\\[[0-9]*m", "", terminal).split("\r")[-1]
    file = show(monkeypatch, Progbar, io.StringIO(), UPDATES[case], **arguments)
    assert file == last.rstrip() + "\n"
    assert re.fullmatch(r"[ -~━]+\n", file)
    if case == "ms":
        expected = "12/12 ━━━━━━━━━━━━━━━━━━━━ 2s 105ms/step - accuracy: 0.9648 - loss: 0.1189"
        assert file == expected + " - val_loss: 1.2000e-04\n"


def test_values_are_read_only_to_be_drawn(monkeypatch):
    class Logs(dict):
        reads = 0

        def items(self):
            self.reads += 1
            return super().items()

    for out, expected in ((Terminal(), 3), (io.StringIO(), 1)):
        logs = Logs(loss=0.5)
        # 0.06 s later it draws, 0.02 s later it does not.
        updates = [(s, i + 1, logs, False) for i, s in enumerate((0.06, 0.02, 0.06, 0.02))]
        show(monkeypatch, Progbar, out, [*updates, (0.01, 5, logs, True)], target=5)
        assert logs.reads == expected


def test_add_counts_on(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    bar = Progbar(4)
    bar.add(1, [("a", 1.0)])
    bar.add(2, [("a", 4.0)])
    assert out.getvalue() == ""
    bar.add(1, [("a", 2.0)])
    assert out.getvalue().startswith("4/4 ━") and " - a: 2.0000" in out.getvalue()


def test_values_are_averaged_or_not_but_not_both():
    with pytest.raises(ValueError, match="Only one of `stateful_metrics` or `stateless_metrics`"):
        Progbar(1, stateful_metrics=["a"], stateless_metrics=["b"])
