"""Firefox through WebDriver BiDi, which it speaks itself: no driver between, and no build of its own."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

FIREFOX = os.environ.get("CORNU_FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
_SETTINGS = {
    # No requests but those of the page.
    "app.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "app.normandy.enabled": False,
    "remote.prefs.recommended": True,
    "browser.download.folderList": 2,
    "browser.download.useDownloadDir": True,
    "browser.download.alwaysOpenPanel": False,
}
_KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
    "Space": " ",
    "Delete": "\ue017",
}


class Firefox:
    """One window; `errors` are what the page has logged as errors.

    Args:
        scheme: "light" or "dark".
    """

    def __init__(self, width: int = 1280, height: int = 900, scheme: str = "light"):
        from websockets.sync.client import connect

        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.downloads = Path(self._folder.name) / "downloads"
        self.downloads.mkdir()
        settings: dict[str, Any] = {
            **_SETTINGS,
            "browser.download.dir": str(self.downloads),
            # 0 is dark.
            "layout.css.prefers-color-scheme.content-override": int(scheme == "light"),
            "ui.systemUsesDarkTheme": int(scheme == "dark"),
        }
        lines = [f'user_pref("{k}", {json.dumps(v)});\n' for k, v in settings.items()]
        Path(self._folder.name, "user.js").write_text("".join(lines))
        command = [FIREFOX, "--headless", "--no-remote", "--profile", self._folder.name]
        self._process = subprocess.Popen(
            [*command, "--remote-debugging-port", "0", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self._folder.name},
        )
        self._number, self.errors = 0, []
        self._open = contextlib.ExitStack()
        try:
            connection = connect(f"{self._address()}/session", max_size=None)
            self._socket = self._open.enter_context(connection)
            self.ask("session.new", capabilities={})
            self.ask("session.subscribe", events=["log.entryAdded"])
            found = self.ask("browsingContext.getTree")["contexts"]
            self._context = found[0]["context"]
            self.ask(
                "browsingContext.setViewport",
                context=self._context,
                viewport={"width": width, "height": height},
            )
        except BaseException:
            self.close()
            raise

    def _address(self) -> str:
        """Where it listens, which it writes into its profile."""
        file, end = Path(self._folder.name) / "WebDriverBiDiServer.json", time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):
                told = json.loads(file.read_text())
                return f"ws://{told['ws_host']}:{told['ws_port']}"
            time.sleep(0.05)
        raise RuntimeError(f"{FIREFOX} does not listen.")

    def __enter__(self) -> "Firefox":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def ask(self, method: str, **parameters) -> dict:
        """One command of the protocol. Raises RuntimeError with what Firefox says."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("method") == "log.entryAdded":
                entry = answer["params"]
                if entry["level"] == "error":
                    self.errors.append(entry["text"])
            elif answer.get("id") == self._number:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['message']}")
                return answer["result"]

    def open(self, link: str) -> None:
        # A link to the same page with another fragment would not load it again.
        self.ask(
            "browsingContext.navigate", context=self._context, url="about:blank", wait="complete"
        )
        self.ask("browsingContext.navigate", context=self._context, url=link, wait="complete")

    def value(self, expression: str):
        """What an expression of JavaScript is; a promise's value."""
        found = self.ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        if found["type"] == "exception":
            raise RuntimeError(f"{expression}: {found['exceptionDetails']['text']}")
        return json.loads(found["result"]["value"])

    def until(self, expression: str, seconds: float = 20):
        """Waits for a value that is true, and returns it."""
        end = time.monotonic() + seconds
        while not (value := self.value(expression)):
            assert time.monotonic() < end, expression
            time.sleep(0.05)
        return value

    def find(self, selector: str) -> None:
        """Waits for an element."""
        self.until(f"document.querySelector({json.dumps(selector)}) !== null")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element, which is scrolled into view."""
        x = json.dumps(selector)
        return tuple(
            self.until(
                "((e) => { if (!e) return null; e.scrollIntoView({ block: 'center', inline: 'center' }); "
                "const b = e.getBoundingClientRect(); return b.width && [b.x, b.y, b.width, b.height]; "
                f"}})(document.querySelector({x}))"
            )
        )

    def click(self, selector: str) -> None:
        x, y, width, height = self.box(selector)
        self.mouse([(x + width / 2, y + height / 2)], holds=True)

    def hover(self, selector: str) -> None:
        x, y, width, height = self.box(selector)
        self.mouse([(x + width / 2, y + height / 2)])

    def mouse(self, places, holds: bool = False) -> None:
        """Moves through places; with `holds`, the button is down from the first to the last."""
        moves = [
            {"type": "pointerMove", "x": round(x), "y": round(y), "duration": 16} for x, y in places
        ]
        if holds:
            moves.insert(1, {"type": "pointerDown", "button": 0})
            moves.append({"type": "pointerUp", "button": 0})
        source = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}}
        self._perform({**source, "actions": moves})

    def press(self, *keys: str) -> None:
        actions = [
            {"type": kind, "value": _KEYS.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        self._perform({"type": "key", "id": "keys", "actions": actions})

    def _perform(self, source: dict) -> None:
        self.ask("input.performActions", context=self._context, actions=[source])

    def screenshot(self) -> bytes:
        """The window as PNG."""
        found = self.ask("browsingContext.captureScreenshot", context=self._context)
        return base64.b64decode(found["data"])

    def downloaded(self, ending: str, seconds: float = 10) -> bytes:
        """A file that has been downloaded."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = [p for p in self.downloads.iterdir() if p.name.endswith(ending)]
            if found and not list(self.downloads.glob("*.part")) and found[0].stat().st_size:
                return found[0].read_bytes()
            time.sleep(0.05)
        raise AssertionError(f"no {ending} among {[p.name for p in self.downloads.iterdir()]}")
