"""What importing costs: Cornu beside JAX alone and Keras on JAX, in turns.

    python benchmarks/startup.py [--rounds 15]

Writes the section "Starting" of docs/benchmarks.md.
"""

import argparse
import os
import subprocess
import sys
from statistics import median

from common import report, seconds

COMMANDS = {
    "`python -c pass`": ["-c", "pass"],
    "`import jax`": ["-c", "import jax"],
    "`import cornu`": ["-c", "import cornu"],
    "`import keras`": ["-c", "import keras"],
    "`cornu --help`": ["-m", "cornu", "--help"],
}


def main(rounds: int) -> None:
    times: dict = {name: [] for name in COMMANDS}
    # Compiled files are what an installed package has.
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONDONTWRITEBYTECODE": ""}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            command, how = [sys.executable, *arguments], {"check": True, "capture_output": True}
            times[name].append(seconds(subprocess.run, command, env=environment, **how))
    rows = [[name, f"{median(found):.3f}", f"{min(found):.3f}"] for name, found in times.items()]
    added = median(times["`import cornu`"]) - median(times["`import jax`"])
    text = f"""
Wall time of a whole process, {rounds} of each in turns, in seconds. `import cornu` adds
**{added:.3f} s** to `import jax` (medians). Written by `python benchmarks/startup.py`.
"""
    report("Starting", text, ["process", "median", "fastest"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    main(parser.parse_args().rounds)
