"""The models and versions that are served, and their files, which may change meanwhile."""

import dataclasses
import gc
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cornu.serving.batcher import Batcher
from cornu.serving.servable import Servable

# What a model's path leads to, and the function that makes a servable of it.
Load = Callable[[Path], Servable]
Report = Callable[..., None]
_NAME = re.compile(r"[\w][\w.-]*")


@dataclasses.dataclass
class Version:
    """One version of a model: what answers, and what went wrong when its file changed."""

    name: str
    number: int
    path: Path
    batcher: Batcher | None = None
    problem: str = ""
    # Of the files that were loaded, or failed to.
    seen: tuple = ()

    @property
    def state(self) -> str:
        """In TensorFlow Serving's words."""
        return "AVAILABLE" if self.batcher else "END" if self.problem else "LOADING"


class Repository:
    """Models by name, each with its versions.

    Args:
        sources: name to path: a model's file, the folder of a run, or a folder of numbered versions.
        load: makes a servable of a path. It raises ValueError or OSError for a damaged file.
        batcher: makes a batcher of a name, a number and a servable.
        report: called with an event and its facts.

    Raises ValueError for a name that no address can hold, and for a folder that holds no version.
    """

    def __init__(
        self,
        sources: dict[str, Path],
        load: Load,
        batcher: Callable[[str, int, Servable], Batcher],
        report: Report = lambda event, **facts: None,
    ):
        for name in sources:
            check_name(name)
        self._sources, self._load, self._batcher, self._report = sources, load, batcher, report
        self._versions: dict[str, dict[int, Version]] = {name: {} for name in sources}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        # Whether all that was named at the start answers; it does from then on.
        self.is_ready = False
        for name, path in sources.items():
            for number, file in versions_in(path).items():
                self._versions[name][number] = Version(name, number, file)

    def __iter__(self) -> Iterator[Version]:
        for versions in list(self._versions.values()):
            yield from _in_order(versions)

    @property
    def names(self) -> list[str]:
        return list(self._versions)

    def versions(self, name: str) -> list[Version]:
        """Raises LookupError for a name that is none."""
        if name not in self._versions:
            raise LookupError(
                f"No model is called {name!r:.100}. Models: {', '.join(self._versions)}."
            )
        return _in_order(self._versions[name])

    def find(self, name: str, number: int | None = None) -> Version:
        """A version; without a number, the highest that answers. Raises LookupError."""
        versions = self.versions(name)
        if number is None:
            ready = [v for v in versions if v.batcher]
            return (ready or versions)[-1]
        for version in versions:
            if version.number == number:
                return version
        numbers = ", ".join(str(v.number) for v in versions)
        raise LookupError(f"{name} has no version {number}. Versions: {numbers}.")

    def load(self) -> None:
        """Load and compile what was named. Raises what the first damaged one raises."""
        for version in list(self):
            self._open(version)
        self.is_ready = True

    def watch(self, seconds: float) -> None:
        """Look after the files from now on, in a thread of its own."""
        self._thread = threading.Thread(
            target=self._look, args=(seconds,), name="cornu-serve-files", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer what waits, and end."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        for version in self:
            if version.batcher is not None:
                version.batcher.close()

    # ---- files that change

    def _open(self, version: Version) -> None:
        """Load a version's file, compile it, and let it take the place of what answered before."""
        # Before it is read: what changes meanwhile is found again.
        seen = look_of(version.path)
        begin = time.monotonic()
        try:
            made = self._batcher(version.name, version.number, self._load(version.path))
            made.warm_up()
        finally:
            version.seen = seen
        old, version.batcher, version.problem = version.batcher, made, ""
        self._report(
            "loaded" if old is None else "reloaded",
            model=version.name,
            version=version.number,
            path=str(version.path),
            seconds=round(time.monotonic() - begin, 3),
            joins_requests=made.servable.is_alone,
        )
        if old is not None:
            old.close()
            del old
            # Models refer to themselves.
            gc.collect()

    def _look(self, seconds: float) -> None:
        changing: dict[Path, tuple] = {}
        while not self._stopped.wait(seconds):
            for name, path in self._sources.items():
                self._find_new(name, path)
                for version in list(self._versions[name].values()):
                    now = look_of(version.path)
                    # What still grows is left alone until the next look.
                    if now != version.seen and changing.get(version.path) == now:
                        self._reload(version)
                    changing[version.path] = now

    def _find_new(self, name: str, path: Path) -> None:
        """Versions that came or went. A source that is gone altogether goes on being served."""
        try:
            found = versions_in(path)
        except (OSError, ValueError):
            return
        known = self._versions[name]
        for number in set(found) - set(known):
            known[number] = Version(name, number, found[number])
        for number in set(known) & set(found):
            known[number].path = found[number]
        for number in set(known) - set(found):
            gone = known.pop(number)
            if gone.batcher is not None:
                gone.batcher.close()
            self._report("removed", model=name, version=number, path=str(gone.path))

    def _reload(self, version: Version) -> None:
        try:
            self._open(version)
        except Exception as error:
            # Whatever is wrong with a new file, the old model goes on.
            version.problem = " ".join(f"{error}".split()) or type(error).__name__
            self._report(
                "load_failed",
                model=version.name,
                version=version.number,
                path=str(version.path),
                problem=version.problem,
                serves_old=version.batcher is not None,
            )


def _in_order(versions: dict[int, Version]) -> list[Version]:
    # A look at the dict's numbers, and then at their values, could miss one that goes meanwhile.
    return sorted(versions.values(), key=lambda version: version.number)


def check_name(name: str) -> None:
    """Raise ValueError for a model's name that does not go into an address."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name for a model. Expected letters, digits, '_', '-' and '.', such as "
            "photos=runs/photos."
        )


def versions_in(path: Path) -> dict[int, Path]:
    """The numbered versions in a folder, `1/` or `1.keras`; of any other path, it is version 1."""
    if not path.is_dir() or (path / "model.keras").exists():
        return {1: path}
    found = {
        int(entry.stem if entry.is_file() else entry.name): entry
        for entry in sorted(path.iterdir())
        if re.fullmatch(r"\d{1,18}(\.keras|\.onnx|\.h5)?", entry.name, re.ASCII)
    }
    if not found:
        raise ValueError(
            f"The folder {path} holds neither model.keras, as a run does, nor versions with numbers for "
            "names, such as 1/ or 1.keras."
        )
    return found


def look_of(path: Path) -> tuple:
    """What changes when a model's file does, or what lies beside it in its folder."""
    files = [path, *(sorted(path.iterdir()) if path.is_dir() else [])]
    settings = path.parent / "settings.json"
    if path.name == "model.keras":
        files.append(settings)
    found = []
    for file in files:
        try:
            state = file.stat()
        except OSError:
            continue
        if file.is_file() and file.suffix in (".keras", ".onnx", ".h5", ".json"):
            found.append((file.name, state.st_ino, state.st_size, state.st_mtime_ns))
    return tuple(found)
