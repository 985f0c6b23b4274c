"""`RemoteMonitor`: send logs to a server."""

import json
import urllib.parse
import warnings

import numpy as np

from cornu.core import registry
from cornu.training.callback import Callback

# A server that hangs must not stop training.
_SECONDS_TO_WAIT = 10


@registry.register("callback", module="keras.callbacks")
class RemoteMonitor(Callback):
    """Sends the logs of every epoch to a server, as an HTTP POST request.

    A server that cannot be reached is a warning, not an error.

    Args:
        root: address of the server.
        path: what follows it.
        field: name of the form's field that holds the logs as JSON.
        headers: dict of HTTP headers to add.
        send_as_json: whether to send JSON itself instead of a form.

    Source: Keras: RemoteMonitor.

    >>> import cornu
    >>> cornu.callbacks.RemoteMonitor(root="http://localhost:9000").path
    '/publish/epoch/end/'
    """

    in_first_process_only = True

    def __init__(
        self,
        root="http://localhost:9000",
        path="/publish/epoch/end/",
        field="data",
        headers=None,
        send_as_json=False,
    ):
        self.root, self.path, self.field = root, path, field
        self.headers, self.send_as_json = headers, send_as_json

    def on_epoch_end(self, epoch, logs=None):
        from urllib.request import Request, urlopen  # slow to load

        values = {"epoch": epoch}
        for name, value in (logs or {}).items():
            values[name] = np.asarray(value).tolist() if hasattr(value, "dtype") else value
        text = json.dumps(values)
        if self.send_as_json:
            body, kind = text, "application/json"
        else:
            body = urllib.parse.urlencode({self.field: text})
            kind = "application/x-www-form-urlencoded"
        request = Request(
            self.root + self.path,
            data=body.encode(),
            headers={"Content-Type": kind, **(self.headers or {})},
        )
        try:
            with urlopen(request, timeout=_SECONDS_TO_WAIT):
                pass
        except OSError as error:
            warnings.warn(
                f"Could not reach RemoteMonitor root server at {self.root}: {error}", stacklevel=2
            )
