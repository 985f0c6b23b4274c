"""`cornu run`: a script that was written for Keras."""

import runpy
import sys
from pathlib import Path

import cornu


def run(script: Path, arguments: list[str]) -> None:
    """Run the file as `python file` would, with Cornu for Keras."""
    cornu.install_as_keras()
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent.resolve()))
    runpy.run_path(str(script), run_name="__main__")
