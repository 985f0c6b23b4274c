"""What starting costs: imports beside JAX alone and Keras on JAX, and training from the command line.

    python benchmarks/startup.py [--rounds 15]

Writes the section "Starting" of docs/benchmarks.md.
"""

import argparse
import os
import pty
import subprocess
import sys
import tempfile
import time
from statistics import median

from common import report, seconds

COMMANDS = {
    "`python -c pass`": ["-c", "pass"],
    "`import jax`": ["-c", "import jax"],
    "`import cornu`": ["-c", "import cornu"],
    "`import keras`": ["-c", "import keras"],
    "`cornu --help`": ["-m", "cornu", "--help"],
}


# What the lecture's network prints on a terminal when training begins, and when its first steps are done.
MOMENTS = {"to `Epoch 1`": b"Epoch 1/", "to the first loss": b"loss"}


def training(environment) -> dict[str, float]:
    """Seconds from starting `cornu train` to each of the moments; it is ended then."""
    ours, theirs = pty.openpty()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cornu", "train", "mnist", "--model", "lecture"]
        command += ["--batch-size", "128", "--output", folder]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs)
        printed, found = b"", {}
        while len(found) < len(MOMENTS):
            printed += os.read(ours, 65536)
            for name, text in MOMENTS.items():
                if name not in found and text in printed:
                    found[name] = time.perf_counter() - start
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    return found


def main(rounds: int) -> None:
    times: dict = {name: [] for name in COMMANDS}
    # Compiled files are what an installed package has.
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONDONTWRITEBYTECODE": ""}
    # The first run compiles; what it has compiled is kept.
    training(environment)
    for _ in range(rounds):
        for name, seen in training(environment).items():
            times.setdefault(f"`cornu train mnist`, {name}", []).append(seen)
        for name, arguments in COMMANDS.items():
            command, how = [sys.executable, *arguments], {"check": True, "capture_output": True}
            times[name].append(seconds(subprocess.run, command, env=environment, **how))
    rows = [[name, f"{median(found):.3f}", f"{min(found):.3f}"] for name, found in times.items()]
    added = median(times["`import cornu`"]) - median(times["`import jax`"])
    text = f"""
Wall time of a whole process, {rounds} of each in turns, in seconds. `import cornu` adds
**{added:.3f} s** to `import jax` (medians). Training is that of the lecture's network, which
has run before, from the start of the process to what it prints on a terminal. Written by
`python benchmarks/startup.py`.
"""
    report("Starting", text, ["process", "median", "fastest"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    main(parser.parse_args().rounds)
