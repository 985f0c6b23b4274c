"""Where a server listens, and its limits."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    """Where a server listens, and its limits.

    Attributes:
        host, port: the address; port 0 takes a free one.
        max_batch: the most examples that go through a model at once.
        max_wait: seconds that the first request of a batch waits for others. With 0, a batch is what came
            while the one before it was computed.
        max_queue: requests that may wait; further ones get 429, with `Retry-After`.
        max_body: bytes of a request; of all that are held at once, eight times as many.
        max_pixels: of an image.
        max_shapes: sizes of inputs that a model of any size is compiled for.
        max_connections: of all clients.
        timeout: seconds in which a body must arrive, and then be answered.
        drain: seconds that it goes on accepting while it stops.
        look: seconds between two looks at the models' files, which are loaded again when they change.
        token: what clients must send; None for an open server.
        tls_cert, tls_key: files in PEM, for HTTPS.

    Raises ValueError for a limit that is none.

    >>> from cornu.serving import Settings
    >>> Settings(max_batch=8).port
    8501
    """

    host: str = "127.0.0.1"
    port: int = 8501
    max_batch: int = 32
    max_wait: float = 0.0
    max_queue: int = 256
    max_body: int = 32 * 2**20
    max_pixels: int = 25_000_000
    max_shapes: int = 64
    max_connections: int = 1000
    timeout: float = 30.0
    drain: float = 0.5
    look: float = 1.0
    token: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self):
        for name in ("max_batch", "max_queue", "max_body", "max_pixels", "max_shapes"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {getattr(self, name)}")
        if self.timeout <= 0 or self.look <= 0 or self.max_wait < 0 or self.drain < 0:
            raise ValueError(
                "`timeout` and `look` must be positive, `max_wait` and `drain` at least 0. Received: "
                f"{self.timeout}, {self.look}, {self.max_wait}, {self.drain}"
            )
        if self.token is not None and (not self.token.isascii() or not self.token.strip()):
            raise ValueError("A token must have letters, of ASCII alone.")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("`tls_cert` and `tls_key` go together.")
