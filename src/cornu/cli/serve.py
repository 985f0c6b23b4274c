"""`cornu serve`."""

import dataclasses
import functools
import os
import re
import sys
from pathlib import Path

from cornu.cli import alone, quality
from cornu.cli.command import CommandError, say
from cornu.cli.described import description_of
from cornu.cli.parts import FITS
from cornu.cli.progress import Log
from cornu.cli.run_folder import PACKAGED, load, say_unknown, settings_of
from cornu.serving import Pictures, Servable, Server, Settings, of_model, of_onnx
from cornu.serving.http import is_loopback
from cornu.serving.servable import pictures

# The token, where no file holds it.
TOKEN = "CORNU_SERVE_TOKEN"


def serve(models: list[str], token_file: Path | None, log_file: Path | None, **options) -> None:
    """Serve models until Ctrl-C or SIGTERM."""
    sources = _sources(models)
    settings = Settings(token=_token(token_file), **options)
    for file in (settings.tls_cert, settings.tls_key):
        if file is not None and not Path(file).is_file():
            raise CommandError(f"There is no file {file}.")
    log = None if log_file is None else _EventLog(log_file)
    try:
        with Server(sources, _servable, settings, functools.partial(_report, log)) as server:
            try:
                server.load()
                if not is_loopback(settings.host) and settings.token is None:
                    say(
                        "everybody in the network can use it: it has no token. Pass --token-file, or set "
                        f"{TOKEN}."
                    )
                print(f"Serving {', '.join(sources)}: {server.address}", flush=True)
                server.wait()
            except KeyboardInterrupt:
                # SIGTERM, too: a server that is told to stop, and loses nothing, has not failed.
                say("stopping; what was accepted is answered.")
            server.stop()
    finally:
        if log is not None:
            log.close()


def _sources(models: list[str]) -> dict[str, Path]:
    """Names and paths of what is to be served: `path`, or `name=path`."""
    found: dict[str, Path] = {}
    for text in models:
        named = re.fullmatch(r"([^=/\\]+)=(.+)", text)
        path = Path(named[2] if named else text)
        if not path.exists() and str(path) not in PACKAGED:
            raise CommandError(f"There is no file or folder {path}.")
        name = named[1] if named else path.resolve().name if path.is_dir() else path.stem
        if not named and path.name == "model.keras":
            name = path.resolve().parent.name
        if name in found:
            raise CommandError(
                f"Two models are called {name}. Name them: cornu serve one={found[name]} other={path}."
            )
        found[name] = path
    return found


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN) or None
    token = file.read_text("utf-8").strip()
    if not token:
        raise CommandError(f"{file} is empty. Expected a token.")
    return token


def _servable(path: Path) -> Servable:
    """What the server makes of a path: with classes and pixels as `cornu predict` knows them."""
    path = _file_in(path)
    if path.suffix == ".onnx":
        return _of_exported(path)
    if path.suffix == ".stablehlo":
        raise CommandError(
            f"{path}: StableHLO programs are not served. Serve the model that it was written from, or "
            "export it as ONNX."
        )
    model, file = load(str(path), compiles=False)
    made = of_model(model)
    shapes = [spec.shape for spec in (*made.inputs, *made.outputs)]
    count = shapes[-1][0] if [len(shape) for shape in shapes] == [3, 1] else None
    if count is None or None in shapes[0]:
        return made
    say_unknown(file)
    known = settings_of(file, count)
    return _with(
        made,
        pictures(
            shapes[0],
            known.class_names,
            known.white,
            FITS[known.fit],
            finish=lambda raw: quality.calibrated(raw, known.temperature),
            thresholds=known.thresholds,
        ),
    )


def _file_in(path: Path) -> Path:
    """The only model in a folder that is no run's, such as that of a version; else the path itself."""
    if not path.is_dir() or (path / "model.keras").exists():
        return path
    found = [each for each in sorted(path.iterdir()) if each.suffix in (".keras", ".onnx")]
    return found[0] if len(found) == 1 else path


def _of_exported(path: Path) -> Servable:
    made = of_onnx(path)
    try:
        about = description_of(path)
    except CommandError:
        # Of another program's file, nothing is known but the arrays.
        return made
    given = about["input"]
    if given["colors"] is None:
        return made
    least = about["threshold"]
    thresholds = None
    if about["output"]["values"] == "independent":
        thresholds = [least or 0.5] * len(about["classes"])
        thresholds = about.get("thresholds") or thresholds
    elif least:
        thresholds = [least] * len(about["classes"])
    return _with(
        made,
        pictures(
            tuple(given["shape"]),
            about["classes"],
            given["white"],
            FITS[about["resize"]["proportions"]],
            finish=lambda raw: alone.calibrated(raw, about),
            thresholds=thresholds,
        ),
    )


def _with(made: Servable, known: Pictures | None) -> Servable:
    return dataclasses.replace(made, pictures=known)


class _EventLog:
    """The log's file, which a full disk must not stop the server with."""

    def __init__(self, path: Path):
        self._log, self._path = Log(path, goes_on=True, overwrite=False), path
        self._is_broken = False

    def write(self, event: str, facts: dict) -> None:
        try:
            self._log.write(event, **facts)
        except OSError as error:
            if not self._is_broken:
                say(f"warning: --log {self._path} cannot be written: {error.strerror}.")
        else:
            self._is_broken = False
            return
        self._is_broken = True

    def close(self) -> None:
        try:
            self._log.close()
        except OSError:
            self._is_broken = True


def _report(log: _EventLog | None, event: str, **facts) -> None:
    """Write an event to the log, and say what is no request."""
    if log is not None:
        log.write(event, facts)
    name = f"{facts.get('model')} version {facts.get('version')}"
    if event == "load_failed":
        goes_on = "the old one goes on" if facts["serves_old"] else "it is not served"
        say(f"warning: {name} was not loaded, and {goes_on}: {facts['problem']}")
    elif event in ("loaded", "reloaded"):
        say(f"{name} is {event} ({facts['seconds']:.1f} s).")
        if not facts["joins_requests"]:
            say(f"{name}: its examples may depend on each other, so requests are not joined.")
    elif event == "removed":
        say(f"{name} is gone.")
    sys.stderr.flush()
