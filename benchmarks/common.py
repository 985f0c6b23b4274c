"""What the benchmarks share: the examples on Cornu or on Keras, processes, and the report."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "docs" / "benchmarks.md"


# What can be measured: the name, and the backend of Keras.
LIBRARIES = {
    "Cornu": None,
    "Keras on JAX": "jax",
    "Keras on TensorFlow": "tensorflow",
    "Keras on PyTorch": "torch",
}


def installed() -> list[str]:
    """Names of the libraries that are installed here; says which are not."""
    found = []
    for name, backend in LIBRARIES.items():
        if backend is None or importlib.util.find_spec(backend):
            found.append(name)
        else:
            print(f"{name} is left out: {backend} is not installed in this environment")
    return found


def use(library: str):
    """Import the library; the files in examples/, which say `import cornu as keras`, will get it."""
    sys.path.insert(0, str(ROOT / "examples"))
    if LIBRARIES[library] is None:
        cornu = importlib.import_module("cornu")
        cornu.config.keep_freed_memory()
        return cornu
    os.environ["KERAS_BACKEND"] = LIBRARIES[library]
    keras = importlib.import_module("keras")
    for name in ("", ".layers", ".models", ".datasets", ".utils", ".callbacks"):
        sys.modules[f"cornu{name}"] = sys.modules[f"keras{name}"]
    return keras


def in_a_process(file: str, *arguments, python=sys.executable, **environment):
    """What `measure` in `file` answers to these arguments, in a process of its own."""
    command = [python, file, "--child", *map(str, arguments)]
    environment = {**os.environ, "CORNU_BENCHMARK_START": str(time.time()), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def is_child(measure) -> bool:
    """In a process that `in_a_process` has started, measure and answer."""
    if "--child" not in sys.argv:
        return False
    print("\n" + json.dumps(measure(*sys.argv[2:])))
    return True


def since_start() -> float:
    """Seconds since `in_a_process` started this process."""
    return time.time() - float(os.environ["CORNU_BENCHMARK_START"])


def in_turns(choices: list, turn: int) -> list:
    """Every second round goes backwards, so that none is always the first."""
    return choices if turn % 2 == 0 else choices[::-1]


def seconds(function, *arguments, **keywords) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function(*arguments, **keywords)
    return time.perf_counter() - start


def timed_epochs(keras) -> tuple:
    """A callback of this Keras or Cornu, and the list to which it adds the seconds of each epoch."""
    times: list[float] = []

    class Watch(keras.callbacks.Callback):
        needs_every_batch = False

        def on_epoch_begin(self, epoch, logs=None):
            times.append(-time.perf_counter())

        def on_epoch_end(self, epoch, logs=None):
            float(logs["loss"])
            times[-1] += time.perf_counter()

    return Watch(), times


def report(title: str, text: str, columns: list[str], rows: list[list[str]], after="") -> None:
    """Print a table with words about it, and put it under its title into docs/benchmarks.md."""
    table(REPORT, title, text, columns, rows, after)


def table(path: Path, title: str, text: str, columns: list[str], rows: list, after="") -> None:
    """Print a table with words about it, and put it under its title into a document."""
    lines = [columns, ["---"] * len(columns), *rows]
    drawn = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = f"{text.strip()}\n\n{drawn}\n\n{after} {machine()}.".replace("\n\n ", "\n\n")
    print(text)
    replace_section(path, title, text)


def versions() -> str:
    """Versions of Python and of the packages that are compared."""
    names = ("cornu", "keras", "jax", "jaxlib", "numpy", "tensorflow-cpu", "tensorflow", "torch")
    found = [f"Python {platform.python_version()}"]
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(found)


def machine() -> str:
    """Processor, cores and versions in one line."""
    return f"{_processor()}, {os.cpu_count()} cores; {versions()}"


def peak_memory(process: str | int = "self") -> int:
    """The most bytes of memory that a process has held at once."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This system does not say how much memory a process has held.")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        # Virtual machines call very different processors the same.
        lines = (line.partition(":") for line in info.read_text().split("\n\n")[0].splitlines())
        found = {key.strip(): value.strip() for key, _, value in lines}
        if found.keys() >= {"model name", "cpu family", "model"}:
            return "{model name} (family {cpu family}, model {model})".format(**found)
    return platform.processor() or platform.machine()


def replace_section(path: Path, title: str, text: str) -> None:
    """Put `text` under the heading `## title` of a Markdown file, in place of what was there."""
    old = path.read_text() if path.exists() else "# Benchmarks\n"
    heading = f"## {title}\n"
    before, _, rest = old.partition(heading)
    after = rest[rest.index("\n## ") + 1 :] if "\n## " in rest else ""
    path.write_text(before.rstrip() + "\n\n" + heading + "\n" + text.strip() + "\n\n" + after)
    path.write_text(path.read_text().rstrip() + "\n")
