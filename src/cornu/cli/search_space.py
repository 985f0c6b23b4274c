"""Which settings `cornu tune` tries: `learning_rate=1e-4:1e-2:log,batch_size=32|64,augment=yes|no`."""

import dataclasses
from collections.abc import Iterable

from cornu.cli.command import CommandError

_FORMS = (
    "Write name=low:high, name=low:high:log or name=one|other, with commas between, such as "
    "learning_rate=1e-4:1e-2:log,batch_size=32|64"
)


@dataclasses.dataclass
class Setting:
    """An option of `cornu train`, and the values that are tried: a range, or some to choose from."""

    name: str
    text: str
    choices: list[str] | None
    low: float = 0
    high: float = 0
    is_log: bool = False

    @property
    def option(self) -> str:
        """As on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial):
        """The value for a trial."""
        if self.choices is not None:
            return trial.suggest_categorical(self.name, self.choices)
        suggest = trial.suggest_int if self.is_whole else trial.suggest_float
        return suggest(self.name, self.low, self.high, log=self.is_log)

    def ends(self) -> list:
        """Values by which it is seen whether the option takes such values."""
        return [self.low, self.high] if self.choices is None else list(self.choices)

    def words(self, value) -> list[str]:
        """The words of the command line that set it; `yes` gives the option alone, `no` leaves it out."""
        if value in ("yes", "no"):
            return [self.option] if value == "yes" else []
        return [self.option, str(value)]


def parse(texts: Iterable[str]) -> list[Setting]:
    """The settings in texts. Raises CommandError for a text of another form."""
    found = [_setting(part.strip()) for text in texts for part in text.split(",") if part.strip()]
    names = [setting.name for setting in found]
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"--search names {name} twice.")
    if not found:
        raise CommandError(f"--search is empty. {_FORMS}")
    return found


def _setting(text: str) -> Setting:
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not name or not equals or not values:
        raise CommandError(f"--search {text!r}: {_FORMS}.")
    parts = values.split(":")
    if "|" not in values and len(parts) in (2, 3) and all(map(_is_number, parts[:2])):
        low, high = (float(p) if set(p) & set(".eE") else int(p) for p in parts[:2])
        is_log = parts[2:] == ["log"]
        if (parts[2:] and not is_log) or not low < high or (is_log and low <= 0):
            raise CommandError(
                f"--search {text!r}: a range goes from a number to a larger one, and is perhaps log, which "
                "is for positive numbers."
            )
        return Setting(name, text, None, low, high, is_log)
    choices = [choice.strip() for choice in values.split("|")]
    if len(set(choices)) < len(choices) or not all(choices):
        raise CommandError(f"--search {text!r}: {_FORMS}.")
    return Setting(name, text, choices)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
