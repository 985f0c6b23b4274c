import io
import logging
import sys

import pytest

from cornu.utils import messages


@pytest.fixture
def not_interactive():
    messages.disable_interactive_logging()
    yield
    messages.enable_interactive_logging()


def test_prints(capsys):
    messages.print_message("one")
    messages.print_message("two", end="")
    assert capsys.readouterr().out == "one\ntwo"


def test_logs(not_interactive, caplog, capsys):
    assert not messages.is_interactive_logging_enabled()
    with caplog.at_level(logging.INFO, logger="cornu"):
        messages.print_message("one")
    assert caplog.messages == ["one"]
    assert capsys.readouterr().out == ""


def test_plain_characters_where_the_screen_has_no_others(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    messages.print_message("━━ é")
    assert raw.getvalue() == b"== ?\n"
