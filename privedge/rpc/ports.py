"""Arithmetic on HOST:PORT."""


def shifted(address: str, by: int) -> str:
    """The same host, `by` ports further on: where worker number `by` listens."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + by}"
