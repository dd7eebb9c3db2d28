"""Networks that are cut, held, slow, and that change bytes."""

from collections.abc import Iterable

from privedge.errors import DeadlineExceeded, Unreachable
from privedge.identity.roles import Role
from tools.gameday.cable import Cable, Way
from tools.gameday.drill import drill
from tools.gameday.service import Service

_HASTY_S, _PATIENT_S = 3, 60
_DELAY_S = 0.05
_WAYS: tuple[Way, Way] = ("up", "down")


@drill("C-27", "nothing passes between the parties, then it does again")
def partition(service: Service) -> str:
    """A black hole both ways: connections stay open, and nobody is told anything."""
    return _held(service, service.peer, "up", "down")


@drill("C-27", "nothing passes between the parties and the dealer", short=False)
def dealer_partition(service: Service) -> str:
    """The same to the dealer."""
    return _held(service, [service.dealer], "up", "down")


@drill("C-27", "every connection is cut at once")
def all_cut(service: Service) -> str:
    """Connections end, and may be opened again at once."""
    for cable in service.cables:
        cable.cut()
    with service.client(within_s=_PATIENT_S, retries=4) as client:
        service.ask(client)
    return "a client that retries is answered"


@drill("C-28", "party 0's response to a client is lost")
def response_lost(service: Service) -> str:
    """The query was answered, and the client asks again."""
    return _lost(service, "down")


@drill("C-28", "a client's request to party 1 is lost", short=False)
def request_lost(service: Service) -> str:
    """Only party 0 has its half of the query."""
    return _lost(service, "up")


@drill("C-29", "50 ms each way between all servers")
def slow(service: Service) -> str:
    """A hundred round trips are still within the deadline."""
    cables = [*service.peer, service.dealer]
    for cable in cables:
        cable.delay_s = _DELAY_S
    try:
        with service.client(within_s=_PATIENT_S) as client:
            seconds = service.ask(client).seconds
    finally:
        _heal(cables)
    return f"a right answer after {seconds:.1f} s"


@drill("C-34", "bits flipped between the dealer and the parties")
def dealer_bytes_altered(service: Service) -> str:
    """TLS ends the connection; no correction is taken."""
    return _spoiled(service, [service.dealer], "down")


@drill("C-47", "bits flipped between the parties")
def peer_bytes_altered(service: Service) -> str:
    """TLS ends the connection; no opening is taken."""
    return _spoiled(service, service.peer, "up", "down")


@drill("C-47", "bits flipped between a client and both parties")
def client_bytes_altered(service: Service) -> str:
    """TLS ends the connection; neither a share nor an answer is taken."""
    cables = [service.to(Role.PARTY0), service.to(Role.PARTY1)]
    return (
        f"{_spoiled(service, cables, 'up')}; on their way back, {_spoiled(service, cables, 'down')}"
    )


# --- Shared by several drills ---------------------------------------------------------------------


def _held(service: Service, cables: Iterable[Cable], *ways: Way) -> str:
    for cable in cables:
        cable.hold(*ways)
    try:
        return _not_answered(service)
    finally:
        _heal(cables)


def _lost(service: Service, way: Way) -> str:
    cable = service.to(Role.PARTY0 if way == "down" else Role.PARTY1)
    cable.hold(way)
    try:
        seen = _not_answered(service)
    finally:
        cable.cut()
        _heal([cable])
    with service.client() as client:
        service.ask(client)
    return f"{seen}; asked again, it is answered"


def _spoiled(service: Service, cables: Iterable[Cable], *ways: Way) -> str:
    """Ask on the connections that are there."""
    service.until_answered(_PATIENT_S)
    for cable in cables:
        cable.spoil(*ways)
    try:
        service.ask()
    except (DeadlineExceeded, Unreachable) as error:
        return f"{type(error).__name__} at the client"
    finally:
        _heal(cables)
    raise AssertionError("it was answered")


def _not_answered(service: Service) -> str:
    with service.client(within_s=_HASTY_S) as client:
        try:
            service.ask(client)
        except (DeadlineExceeded, Unreachable) as error:
            return f"{type(error).__name__} at a client with a deadline of {_HASTY_S} s"
    raise AssertionError("it was answered")


def _heal(cables: Iterable[Cable]) -> None:
    for cable in cables:
        cable.heal()
