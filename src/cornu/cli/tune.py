"""`cornu tune`."""

import contextlib
import json
import os
import shlex
import socket
import time
from pathlib import Path

import typer

from cornu import callbacks
from cornu.cli import run_folder, tuning_plot
from cornu.cli.command import CommandError, Interrupted, say
from cornu.cli.finish import WORDS
from cornu.cli.run_settings import object_in
from cornu.cli.search_space import Setting, parse
from cornu.core.optional import required
from cornu.saving.atomic import replacing
from cornu.training import interrupts

DEFAULT_SEARCH = "learning_rate=1e-4:1e-2:log,batch_size=32|64|128"
_JOURNAL, _ABOUT, PLOT, BEST = "trials.journal", "tune.json", "tuning.png", "best.toml"
# Of so many trials that reach a number of epochs, one goes on to so many times as many.
_REDUCTION = 3


def tune(
    data: str,
    trials: int,
    search: list[str],
    output: Path | None,
    options: list[str],
    command,
) -> None:
    """Search for the settings with the best validation accuracy; called again, it goes on.

    Args:
        data: DATA.
        trials: how many trainings there will be in the folder in the end.
        search: texts such as `learning_rate=1e-4:1e-2:log,batch_size=32|64`.
        output: the folder.
        options: options of `cornu train` for all trials, as on the command line.
        command: `cornu train` itself, as Typer has it.
    """
    optuna = required("optuna", "cornu tune")
    settings = parse(search or [DEFAULT_SEARCH])
    _check(command, data, settings, options)
    folder = output or Path("runs", f"tune-{Path(data).resolve().stem}")
    _begin(folder, {"data": data, "search": [s.text for s in settings], "options": options})
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _study(folder / _JOURNAL, optuna)
    _forget_interrupted(study, optuna)
    while (done := len(_ended(study))) < trials:
        # What has been tried is known from the journal; with the same seed, it would be tried again.
        study.sampler = optuna.samplers.TPESampler(seed=done)
        trial = study.ask()
        trial.set_user_attr("process", f"{socket.gethostname()} {os.getpid()}")
        values = {setting.name: setting.suggest(trial) for setting in settings}
        words = [word for s in settings for word in s.words(values[s.name])]
        _run_trial(study, trial, folder, command, [data, *options, *words], optuna)
        print(f"trial {done + 1}/{trials}  {_describe(study.trials[trial.number])}", flush=True)
    _finish(study, folder, settings)


def _study(file: Path, optuna):
    """What Optuna knows of the trials, which it keeps in a file."""
    journal = required("optuna.storages.journal", "cornu tune", package="optuna")
    try:
        return optuna.create_study(
            study_name="cornu",
            storage=optuna.storages.JournalStorage(journal.JournalFileBackend(str(file))),
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=1, reduction_factor=_REDUCTION
            ),
            direction="maximize",
            load_if_exists=True,
        )
    except OSError:
        raise
    except Exception as error:
        # Optuna has no error of its own for this.
        raise CommandError(
            f"{file} is damaged, or written by another version of Optuna than {optuna.__version__} "
            f"({type(error).__name__}: {error}). Choose another --output."
        ) from error


def _check(command, data: str, settings: list[Setting], options: list[str]) -> None:
    """Raise CommandError if the options of `cornu train` are none, before any training."""
    known = {option for parameter in command.params for option in parameter.opts}
    for setting in settings:
        if setting.option not in known:
            raise CommandError(
                f"--search: cornu train has no option {setting.option}, only {', '.join(sorted(known))}."
            )
        for value in setting.ends():
            _parsed(command, [data, *options, *setting.words(value)])
        if setting.option in options:
            raise CommandError(f"{setting.option} is both searched and given.")
    for option in ("--output", "--explore", "--processes", "--hosts", "--resume"):
        if option in options:
            raise CommandError(f"{option} is not for trials.")


def _parsed(command, words: list[str], watchers: list | None = None):
    """The context of a call of `cornu train`."""
    try:
        return command.make_context("cornu train", list(words), obj=watchers)
    except Exception as error:
        # Some versions of Typer have a Click of their own, with errors of its own.
        if not hasattr(error, "format_message"):
            raise
        raise CommandError(f"cornu train {shlex.join(words)}: {error.format_message()}") from error


def _begin(folder: Path, about: dict) -> None:
    """Make the folder, or check that a search that is begun there is this one."""
    file = folder / _ABOUT
    if file.is_file():
        before = object_in(file, "cornu tune")
        changed = [name for name in about if before.get(name) != about[name]]
        if changed:
            what = "; ".join(f"{name} was {before.get(name)}" for name in changed)
            raise CommandError(
                f"{folder} holds a search of another kind: {what}. Choose another --output."
            )
        say(f"going on with the search in {folder}.")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise CommandError(f"{folder} holds other files, and no search. Choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _ended(study) -> list:
    """The trials that count: to the end, or stopped as worse than others."""
    return [t for t in study.trials if t.state.name in ("COMPLETE", "PRUNED")]


def _forget_interrupted(study, optuna) -> None:
    """Trials of a process that is gone are begun again."""
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        host, number = trial.user_attrs.get("process", "? 0").split()
        if host == socket.gethostname() and _is_running(int(number)):
            raise CommandError(f"Process {number} is searching in this folder.")
        _again(study, trial.number, optuna)


def _is_running(number: int) -> bool:
    if number in (0, os.getpid()):
        return False
    try:
        os.kill(number, 0)
    except OSError:
        return False
    return True


def _again(study, number: int, optuna) -> None:
    params = study.trials[number].params
    study.tell(number, state=optuna.trial.TrialState.FAIL)
    if params:
        study.enqueue_trial(params)


class _Reporter(callbacks.Callback):
    """Tells the search the validation accuracy of each epoch, and ends a training that is behind others."""

    def __init__(self, trial, optuna):
        super().__init__()
        self.trial, self.optuna = trial, optuna
        self.best, self.num_epochs, self.measure = 0.0, 0, "accuracy"

    def on_epoch_end(self, epoch, logs=None):
        self.num_epochs += 1
        # Of images of several classes, there is an area instead.
        self.measure = "accuracy" if "val_accuracy" in logs else "pr_auc"
        self.best = max(self.best, float(logs[f"val_{self.measure}"]))
        # The best so far, which is what is kept of it.
        self.trial.report(self.best, self.num_epochs)
        if self.trial.should_prune():
            raise self.optuna.TrialPruned


def _run_trial(study, trial, folder: Path, command, words: list[str], optuna) -> None:
    """Train as `cornu train` does, with its output in a file."""
    own = folder / f"trial-{trial.number + 1:03}"
    own.mkdir(exist_ok=True)
    watcher = _Reporter(trial, optuna)
    states = optuna.trial.TrialState
    begin = time.monotonic()
    status: int | None = 0
    state, value = states.COMPLETE, None
    with (own / "output.txt").open("w", encoding="utf-8") as log:
        try:
            context = _parsed(command, [*words, "--output", str(own)], [watcher])
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log), context:
                command.invoke(context)
        except optuna.TrialPruned:
            state = states.PRUNED
        except typer.Exit as error:
            status = error.exit_code
        except BaseException:
            _again(study, trial.number, optuna)
            raise
    trial.set_user_attr("seconds", round(time.monotonic() - begin, 1))
    trial.set_user_attr("epochs", watcher.num_epochs)
    trial.set_user_attr("words", words)
    trial.set_user_attr("measure", watcher.measure)
    if status:
        _again(study, trial.number, optuna)
        if status > 128:
            cause = interrupts.Terminated() if status == 143 else None
            raise Interrupted(
                f"Stopped after {len(_ended(study))} trials. The same command goes on."
            ) from cause
        last = (own / "output.txt").read_text("utf-8").strip().splitlines()[-1:]
        said = "".join(last).removeprefix("cornu: ")
        raise CommandError(f"A trial failed. cornu train {shlex.join(words)}: {said}")
    if state == states.COMPLETE:
        value = watcher.best
    study.tell(trial, value, state=state)


def _describe(trial) -> str:
    params = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
    best = max(trial.intermediate_values.values(), default=0.0)
    attributes = trial.user_attrs
    how = "stopped" if trial.state.name == "PRUNED" else "done"
    return (
        f"validation {_measure(trial)} {best:.4f}  {how} after {attributes['epochs']} epochs, "
        f"{attributes['seconds']:.1f} s  {params}"
    )


def _measure(trial) -> str:
    """What is searched for, in words."""
    return WORDS[trial.user_attrs.get("measure", "accuracy")]


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finish(study, folder: Path, settings: list[Setting]) -> None:
    """Draw the trials, and say which was best and how to repeat it."""
    best = study.best_trial
    own = folder / f"trial-{best.number + 1:03}"
    if not (own / run_folder.CONFIG).is_file():
        raise CommandError(
            f"The best trial is {best.number + 1}, but {own} holds no {run_folder.CONFIG} any more. Choose "
            "another --output."
        )
    measure = _measure(best)
    tuning_plot.draw(_ended(study), settings, folder / PLOT, measure)
    print(f"\nBest: trial {best.number + 1}, {_describe(best)}")
    print(f"\nSaved in {folder}:")
    print(f"  {own.name:<22}the best run, to evaluate, predict and export")
    print(f"  {PLOT:<22}{measure} by trial and by each setting")
    text = (own / run_folder.CONFIG).read_text("utf-8", "surrogateescape")
    run_folder.write_text(folder / BEST, text)
    print(f"  {BEST:<22}its options: cornu train --config {folder / BEST}")
