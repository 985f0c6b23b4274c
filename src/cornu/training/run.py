"""A run of `fit`, for callbacks that save and resume it."""

import threading
from typing import Any


class Run:
    """What a run of `fit` works on: `model._run` while it lasts."""

    def __init__(self, model, data, validation, callbacks):
        self.model, self.data, self.validation = model, data, validation
        self.callbacks = callbacks
        self.thread = threading.get_ident()
        # Where a callback lets it resume, set in `on_train_begin`: it has `epoch` and `step`, and
        # puts data and variables where they were with `resume_data()` and `apply()`.
        self.resume_from: Any = None
