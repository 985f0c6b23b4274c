"""Asking the page's server, as the page does and as nobody should."""

import http.client
import json
import urllib.parse

import numpy as np


class Visitor:
    """Somebody who has one of a server's links."""

    def __init__(self, link: str):
        address = urllib.parse.urlsplit(link)
        self.host, self.port, self.token = address.hostname, address.port, address.fragment

    def ask(self, method, path, body=None, headers=None, token=True):
        """The status, the headers and the body of an answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        given = {"Authorization": f"Bearer {self.token}"} if token else {}
        try:
            connection.request(method, path, body, {**given, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, status=200):
        """An answer in JSON."""
        got, _, content = self.ask(method, path, body)
        assert got == status, content
        return json.loads(content)

    def refusal(self, method, path, body=None, headers=None, token=True):
        """The status of a refusal, and what it says."""
        status, _, content = self.ask(method, path, body, headers, token)
        assert status >= 400
        return status, json.loads(content)["error"]

    def arrays(self, method, path, body=None):
        """An answer with arrays: its header, and the bytes after it."""
        status, _, content = self.ask(method, path, body)
        assert status == 200, content
        length = int.from_bytes(content[:4], "little")
        return json.loads(content[4 : 4 + length]), content[4 + length :]


def floats(x) -> bytes:
    """An example as the page sends it."""
    return np.asarray(x, "<f4").tobytes()
