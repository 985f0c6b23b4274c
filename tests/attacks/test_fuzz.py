"""A short run of the fuzzer; `python tests/attacks/fuzz.py` is the long one."""

import argparse

import fuzz
import pytest


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning", "ignore:Image size")
@pytest.mark.parametrize("target", fuzz.ALL)
def test_mutated_inputs(target, capsys):
    # How long an input takes is for the long run, on a machine that does nothing else.
    arguments = argparse.Namespace(
        inputs=400, seed=1, only=None, targets=[target], keep=None, seconds=float("inf")
    )
    assert fuzz.main(arguments) == 0, capsys.readouterr().out
    assert f"{target}: 400 inputs" in capsys.readouterr().out
