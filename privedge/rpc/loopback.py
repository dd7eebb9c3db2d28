"""Decide which addresses may be used without TLS: those that never leave this machine."""

import ipaddress

from privedge.errors import ConfigError

_IPV4_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
_IPV6_LOOPBACK = ipaddress.ip_address("::1")


def require(address: str) -> None:
    """Raise ConfigError unless `address` is 127.x.x.x:PORT, [::1]:PORT or unix:/PATH.

    Names are refused too, because the meaning of `localhost` is decided elsewhere.
    """
    if not (address.startswith("unix:/") or is_loopback(address)):
        raise ConfigError(
            f"{address}: without TLS only a loopback address such as 127.0.0.1:PORT is allowed; "
            "give a [tls] table or use 127.0.0.1"
        )


def is_loopback(address: str) -> bool:
    """Return whether HOST:PORT is a loopback address, written as a number."""
    host, _, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    return port.isdecimal() and (number == _IPV6_LOOPBACK or number in _IPV4_LOOPBACK)
