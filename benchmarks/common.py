"""What the benchmarks share: the examples on Cornu or on Keras, and words about the machine."""

import importlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def use(library: str):
    """Import the library; the files in examples/, which say `import cornu as keras`, will get it."""
    sys.path.insert(0, str(ROOT / "examples"))
    if library == "Cornu":
        return importlib.import_module("cornu")
    os.environ["KERAS_BACKEND"] = "jax"
    keras = importlib.import_module("keras")
    for name in ("", ".layers", ".models", ".datasets", ".utils", ".callbacks"):
        sys.modules[f"cornu{name}"] = sys.modules[f"keras{name}"]
    return keras


def machine() -> str:
    """Processor, cores and versions in one line."""
    names = ("cornu", "keras", "jax", "jaxlib", "numpy")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return (
        f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        + ", ".join(versions)
    )


def peak_memory() -> int:
    """The most bytes of memory that this process has held at once."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This system does not say how much memory a process has held.")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def replace_section(path: Path, title: str, text: str) -> None:
    """Put `text` under the heading `## title` of a Markdown file, in place of what was there."""
    old = path.read_text() if path.exists() else "# Measured\n"
    heading = f"## {title}\n"
    before, _, rest = old.partition(heading)
    after = rest[rest.index("\n## ") + 1 :] if "\n## " in rest else ""
    path.write_text(before.rstrip() + "\n\n" + heading + "\n" + text.strip() + "\n\n" + after)
    path.write_text(path.read_text().rstrip() + "\n")
