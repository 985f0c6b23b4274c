"""Files as an attacker would make them, and a guard that sees what loading them does."""

import io
import json
import os
import sys
import tempfile
import zipfile
from contextlib import contextmanager

import h5py
import jax
import pytest
from forged import small_model

import cornu

# Nothing of this may happen because of what a file says.
FORBIDDEN = (
    "import",
    "exec",
    "compile",
    "marshal.loads",
    "pickle.find_class",
    "code.__new__",
    "function.__new__",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.listdir",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.Request",
    "shutil.unpack_archive",
    "shutil.copyfile",
)


def _is_temporary(path):
    """Whether unpacked weights may go there: a file without a name, or with one that nobody knows."""
    folder = tempfile.gettempdir()
    return path == folder or path.startswith(os.path.join(folder, "tmp"))


class Guard:
    """Records what Python does while it is on."""

    def __init__(self):
        self.on, self.allowed, self.seen = False, "", []
        # What the tests keep of compiled programs is read and written behind the loaders' back.
        self.programs = str(jax.config.jax_compilation_cache_dir)
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if not self.on or (arguments and str(arguments[0]).startswith(self.programs)):
            return
        if event in FORBIDDEN:
            # A folder may be a checkpoint.
            if event == "os.listdir" and os.path.abspath(arguments[0] or ".") == self.allowed:
                return
            self.seen.append((event, str(arguments)[:200]))
        elif event == "open":
            path, mode, _ = arguments
            if isinstance(path, int):
                return
            path = os.path.abspath(os.fsdecode(path))
            # Python reads its own source to show lines of code in errors and warnings.
            own = mode in ("r", "rb", None) and path.endswith(".py")
            if path != self.allowed and not own and not _is_temporary(path):
                self.seen.append((event, str(arguments)[:200]))

    @contextmanager
    def watching(self, allowed):
        self.on, self.allowed, self.seen = True, os.path.abspath(allowed), []
        try:
            yield
        finally:
            self.on = False


_guard = Guard()


@pytest.fixture
def guard():
    return _guard


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """The bytes of a good file; loading it once imports all that loading needs."""
    path = tmp_path_factory.mktemp("good") / "m.keras"
    small_model().save(path)
    cornu.saving.load_model(path)
    return path.read_bytes()


class Parts(dict):
    """The members of a good archive, to be changed."""

    def __repr__(self):
        # A failure should show the failure, and not all bytes of the weights.
        return f"<Parts { ({name: len(data) for name, data in self.items()}) }>"

    @property
    def config(self):
        return json.loads(self["config.json"])

    @config.setter
    def config(self, value):
        self["config.json"] = json.dumps(value).encode()

    def change_weights(self, change):
        stream = io.BytesIO(self["model.weights.h5"])
        with h5py.File(stream, "a") as file:
            change(file)
        self["model.weights.h5"] = stream.getvalue()

    def write(self, path, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in self.items():
                archive.writestr(name, data)
        return path


@pytest.fixture
def parts(good):
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return Parts({name: archive.read(name) for name in archive.namelist()})


@pytest.fixture
def refused(guard, tmp_path):
    """Load a file: it must be refused with the one documented error, and nothing else may happen."""

    def load(path, match=None, function=None, **arguments):
        canary = tmp_path / "canary"
        function = function or cornu.saving.load_model
        with (
            guard.watching(path),
            pytest.raises(cornu.saving.FileFormatError, match=match) as raised,
        ):
            function(path, **arguments)
        assert not guard.seen, guard.seen
        assert not canary.exists()
        assert str(path.name) in str(raised.value)
        return raised.value

    return load


@pytest.fixture
def with_layer(parts, tmp_path):
    """An archive whose second layer is replaced by this description."""

    def make(description):
        config = parts.config
        config["config"]["layers"][1] = description
        parts.config = config
        return parts.write(tmp_path / "m.keras")

    return make


@pytest.fixture
def with_activation(parts, tmp_path):
    """An archive whose second layer has this activation."""

    def make(description):
        config = parts.config
        config["config"]["layers"][1]["config"]["activation"] = description
        parts.config = config
        return parts.write(tmp_path / "m.keras")

    return make
