"""`Config`: named values of a program."""

import difflib
import json
from collections.abc import Iterator
from typing import Any


class Config:
    """Named values, read and set as attributes or as entries, that can be frozen.

    Args:
        **kwargs: the first values.

    Source: Keras: Config.

    >>> import cornu
    >>> config = cornu.utils.Config(rate=0.1)
    >>> config.epochs = 3
    >>> config["rate"], config.as_dict()
    (0.1, {'rate': 0.1, 'epochs': 3})
    """

    def __init__(self, **kwargs):
        object.__setattr__(self, "_config", kwargs)
        object.__setattr__(self, "_frozen", False)

    @property
    def frozen(self) -> bool:
        """Whether values cannot be changed."""
        return self._frozen

    def freeze(self) -> None:
        """Refuse changes from now on."""
        object.__setattr__(self, "_frozen", True)

    def unfreeze(self) -> None:
        """Allow changes again."""
        object.__setattr__(self, "_frozen", False)

    def _changing(self) -> dict[str, Any]:
        if self._frozen:
            raise ValueError(
                "Cannot mutate the values: the config is frozen. Call `unfreeze()` first."
            )
        return self._config

    def as_dict(self) -> dict[str, Any]:
        """A dict of the values."""
        return dict(self._config)

    def to_json(self) -> str:
        """The values as JSON."""
        return json.dumps(self._config)

    def keys(self):
        """The names."""
        return self._config.keys()

    def values(self):
        """The values."""
        return self._config.values()

    def items(self):
        """Pairs of names and values."""
        return self._config.items()

    def get(self, keyname, value=None):
        """The value of that name; `value` if there is none."""
        return self._config.get(keyname, value)

    def pop(self, *args):
        """Take a value out; see `dict.pop`."""
        return self._changing().pop(*args)

    def update(self, *args, **kwargs) -> None:
        """Set several values; see `dict.update`."""
        self._changing().update(*args, **kwargs)

    def __getattr__(self, name):
        if name.startswith("__") or name in ("_config", "_frozen"):
            # Of a copy that has no values yet.
            raise AttributeError(name)
        if name in self._config:
            return self._config[name]
        close = difflib.get_close_matches(name, self._config, n=1, cutoff=0.7)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise AttributeError(f"Unknown attribute: {name!r}.{hint}")

    def __setattr__(self, name, value):
        if hasattr(type(self), name):
            raise AttributeError(
                f"{name!r} is a method of Config, so it cannot be a name. Use config[{name!r}] = … for it."
            )
        self._changing()[name] = value

    def __delattr__(self, name):
        del self._changing()[name]

    def __getitem__(self, key):
        return self._config[key]

    def __setitem__(self, key, item):
        self._changing()[key] = item

    def __delitem__(self, key):
        del self._changing()[key]

    def __contains__(self, item) -> bool:
        return item in self._config

    def __iter__(self) -> Iterator:
        return iter(sorted(self._config))

    def __len__(self) -> int:
        return len(self._config)

    def __repr__(self):
        return f"<Config {self._config}>"

    def __getstate__(self):
        return self._config, self._frozen

    def __setstate__(self, state):
        for name, value in zip(("_config", "_frozen"), state, strict=True):
            object.__setattr__(self, name, value)
