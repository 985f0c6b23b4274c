from local_server import cache, server

__all__ = ["cache", "server"]
