"""The addresses in a server's file: may it listen there, and do they tell the servers apart?"""

import errno
import ipaddress
import itertools
import socket
from collections.abc import Callable, Iterator
from functools import partial

from parties.config.party import PartyConfig
from parties.config.server import ServerConfig
from privedge.config import LAST_PORT
from privedge.errors import NotReady, PrivEdgeError
from privedge.findings import Finding, hint
from privedge.identity.roles import Identity, Role
from privedge.rpc.about import ask
from privedge.rpc.channel import open_channel
from privedge.rpc.ports import shifted


def check_listening(config: ServerConfig, role: Role, *, may_dial: bool) -> Iterator[Finding]:
    """Whether the server can listen where its file says. Nothing listens there meanwhile.

    Where somebody listens already, it is dialled, unless this server's certificate is no good for
    that: it may be this server itself.
    """
    taken = partial(_taken, config, role) if may_dial else _taken_by_somebody
    yield from _numbered(config)
    first = list(_listen("listen", config.listen, taken))
    yield from first
    if isinstance(config, PartyConfig) and config.mpc.listen:
        yield from _workers("mpc.listen", config.mpc.listen, config)
        if not _past_last(config.mpc.listen, config.workers):
            for worker in range(config.workers):
                yield from _listen("mpc.listen", shifted(config.mpc.listen, worker), taken)
    yield from _metrics(config, runs=any(not each.is_fault for each in first))


def _numbered(config: ServerConfig) -> Iterator[Finding]:
    """Port 0 is any that is free, another one at each start."""
    named = {"listen": config.listen, "metrics.listen": config.metrics.listen}
    if isinstance(config, PartyConfig):
        named |= {"mpc.listen": config.mpc.listen, "mpc.address": config.mpc.address}
        named |= {"peer.address": config.peer.address} if config.peer else {}
        named |= {"dealer.address": config.dealer.address} if config.dealer else {}
    for name, address in named.items():
        if address is not None and address.rpartition(":")[2].strip("0") == "":
            yield Finding(name, f"{address}: port 0 is another one at each start; choose a port")


def check_distances(config: ServerConfig) -> Iterator[Finding]:
    """Whether each server that a party dials is another one, on another machine."""
    if not isinstance(config, PartyConfig):
        return
    dialled = {"dealer.address": config.dealer.address} if config.dealer else {}
    if config.peer is not None:
        dialled["peer.address"] = config.peer.address
    for name, address in dialled.items():
        if _same(address, config.listen):
            yield Finding(name, f"{address} is this server's own `listen`; give the other server's")
        else:
            yield from _near(name, address)
    if config.mpc.address:
        yield from _workers("mpc.address", config.mpc.address, config)
    for (one, first), (other, second) in itertools.combinations(dialled.items(), 2):
        if _same(first, second):
            yield Finding(one, f"is the same as {other}, {second}; each server has its own")


# --- Where this server listens --------------------------------------------------------------------


def _metrics(config: ServerConfig, *, runs: bool) -> Iterator[Finding]:
    """The port of the metrics. It speaks no gRPC, so nobody is dialled: if this server `runs`, as
    far as its other port tells, it is taken by this server itself.
    """
    name, address = "metrics.listen", config.metrics.listen
    if address is None:
        return
    for other, where in _own(config):
        if _meet(address, where):
            yield Finding(name, f"{address}: is the port of {other}; give the metrics another one")
            return
    yield from _listen(name, address, _taken_by_somebody if runs else _taken_by_another)


def _own(config: ServerConfig) -> Iterator[tuple[str, str]]:
    """Where this server listens for gRPC."""
    yield "`listen`", config.listen
    first = config.mpc.listen if isinstance(config, PartyConfig) else None
    if isinstance(config, PartyConfig) and first and not _past_last(first, config.workers):
        for worker in range(config.workers):
            yield f"worker {worker} (`mpc.listen`)", shifted(first, worker)


def _listen(name: str, address: str, taken: Callable[[str, str], Finding]) -> Iterator[Finding]:
    host, port = _split(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        yield Finding(name, f"{address}: its host name is unknown here; give this machine's own")
        return
    family, kind, _, _, where = found[0]
    with socket.socket(family, kind) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
        try:
            tried.bind(where)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                yield taken(name, address)
            elif error.errno == errno.EADDRNOTAVAIL:
                yield Finding(name, f"{address}: is no address of this machine; give one that is")
            else:
                why = f"cannot listen there ({error.strerror}); change the address"
                yield Finding(name, f"{address}: {why}")


def _taken(config: ServerConfig, role: Role, name: str, address: str) -> Finding:
    claim = Identity(role, role.value)
    try:
        with open_channel(address, server=role, tls=config.tls, claim=claim) as channel:
            ask(channel, role.label)
    except NotReady:  # of an older release, but this server
        pass
    except PrivEdgeError:
        return _taken_by_another(name, address)
    return hint(name, f"{address}: {role.label} is running there already")


def _taken_by_another(name: str, address: str) -> Finding:
    return Finding(name, f"{address}: another process listens there; end it or change the port")


def _taken_by_somebody(name: str, address: str) -> Finding:
    return hint(name, f"{address}: somebody listens there, perhaps this server already")


def _workers(name: str, first: str, config: PartyConfig) -> Iterator[Finding]:
    """The ports of the workers must not be those of another server."""
    if _past_last(first, config.workers):
        yield Finding(name, f"{first}: {config.workers} workers need ports beyond {LAST_PORT}")
        return
    others = {"listen": config.listen}
    if config.dealer is not None:
        others["dealer.address"] = config.dealer.address
    if config.peer is not None:
        others["peer.address"] = config.peer.address
    for worker in range(config.workers):
        for other, address in others.items():
            if _same(shifted(first, worker), address):
                yield Finding(name, f"worker {worker} would use {address}, which is `{other}`; "
                              f"leave a port for each worker free, from {first} on")  # fmt: skip


# --- Addresses ------------------------------------------------------------------------------------


def _near(name: str, address: str) -> Iterator[Finding]:
    host, _ = _split(address)
    numbers = _numbers(host)
    if any(number.is_loopback for number in numbers):
        yield hint(name, f"{address}: is on this machine; servers of one machine protect nobody")
    elif any(map(_is_here, numbers)):
        yield Finding(name, f"{address}: is on this machine; servers of different operators must "
                      "not share one")  # fmt: skip


def _is_here(number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    family = socket.AF_INET if number.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind((str(number), 0))
    except OSError:
        return False
    return True


def _same(one: str, other: str) -> bool:
    (host, port), (other_host, other_port) = _split(one), _split(other)
    if port != other_port:
        return False
    return host == other_host or bool(_numbers(host) & _numbers(other_host))


def _meet(one: str, other: str) -> bool:
    """Whether one machine cannot listen at both: `0.0.0.0` and `[::]` are every address of it."""
    (host, port), (other_host, other_port) = _split(one), _split(other)
    if port != other_port or not port:
        return False
    numbers = _numbers(host) | _numbers(other_host)
    return _same(one, other) or any(each.is_unspecified for each in numbers)


def _numbers(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # said when the server there is dialled
        return set()
    return {ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found}


def _past_last(first: str, count: int) -> bool:
    return _split(first)[1] + count - 1 > LAST_PORT


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
