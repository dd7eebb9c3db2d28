"""Arithmetic on HOST:PORT."""


def shifted(address: str, by: int) -> str:
    """Return the same host with a port higher by `by`: worker number `by` listens there."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + by}"
