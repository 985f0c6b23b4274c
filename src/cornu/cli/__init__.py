"""The command line: `cornu train`, `evaluate`, `predict` and `summary`.

Only `app` and `command` are loaded to show help; what trains is imported by the command that runs.
"""

from cornu.cli.app import main

__all__ = ["main"]
