"""What Prometheus asks for: counters, gauges and histograms in its text format."""

import bisect
import functools
import os
import threading
from collections.abc import Callable, Sequence

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = tuple(float(1 << n) for n in range(9))


class Metrics:
    """Counts, by name and labels, for any number of threads.

    Source: Prometheus: text exposition format 0.0.4.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, float]] = {}
        self._histograms: dict[str, dict[str, list[float]]] = {}
        # Asked when the text is written: labels and values.
        self._gauges: dict[str, Callable[[], list[tuple[dict, float]]]] = {}

    def count(self, name: str, by: float = 1, **labels) -> None:
        with self._lock:
            found = self._counts.setdefault(name, {})
            key = _labels(labels)
            found[key] = found.get(key, 0) + by

    def observe(self, name: str, values: Sequence[float], **labels) -> None:
        """Add values to a histogram, whose buckets are those of its unit."""
        bounds = _bounds(name)
        with self._lock:
            found = self._histograms.setdefault(name, {})
            counts = found.setdefault(_labels(labels), [0.0] * (len(bounds) + 2))
            for value in values:
                counts[bisect.bisect_left(bounds, value)] += 1
                counts[-1] += value

    def gauge(self, name: str, ask: Callable[[], list[tuple[dict, float]]]) -> None:
        self._gauges[name] = ask

    def text(self) -> str:
        with self._lock:
            lines = []
            for name, by_labels in sorted(self._counts.items()):
                lines.append(f"# TYPE {name} counter")
                lines += [f"{name}{_braced(key)} {value:g}" for key, value in by_labels.items()]
            for name, histograms in sorted(self._histograms.items()):
                lines.append(f"# TYPE {name} histogram")
                for key, (*counts, total) in histograms.items():
                    below = 0.0
                    for bound, count in zip([*_bounds(name), "+Inf"], counts, strict=True):
                        below += count
                        bounded = f"{key},le" if key else "le"
                        lines.append(f'{name}_bucket{{{bounded}="{bound}"}} {below:.0f}')
                    lines.append(f"{name}_sum{_braced(key)} {total!r}")
                    lines.append(f"{name}_count{_braced(key)} {below:.0f}")
        for name, ask in sorted(self._gauges.items()):
            lines.append(f"# TYPE {name} gauge")
            lines += [f"{name}{_braced(_labels(labels))} {value!r}" for labels, value in ask()]
        return "\n".join(lines) + "\n"


def _bounds(name: str) -> tuple[float, ...]:
    return _SECONDS if name.endswith("_seconds") else _ROWS


_QUOTED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def _labels(labels: dict) -> str:
    return _joined(tuple(labels.items()))


@functools.lru_cache(maxsize=1024, typed=True)
def _joined(labels: tuple) -> str:
    return ",".join(f'{name}="{str(value).translate(_QUOTED)}"' for name, value in labels)


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def resident_bytes() -> float:
    """The memory of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
