"""Processes that are killed, frozen, stopped and started again."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psutil

from privedge.errors import DeadlineExceeded, PrivEdgeError, Refused, Unreachable
from privedge.identity.roles import Identity, Role
from tools.gameday.drill import drill, expect
from tools.gameday.service import PARTIES, Service, until

_HASTY_S, _PATIENT_S = 3, 120
_CLIENTS = 4


@drill("C-24", "kill -9 of party 1's worker during a query")
def worker_1_killed(service: Service) -> str:
    """Party 0's worker is frozen, so that the query is still there."""
    return _killed_mid_query(service, Role.PARTY1)


@drill("C-25", "kill -9 of party 0's worker during a query")
def worker_0_killed(service: Service) -> str:
    """The same from the other side."""
    return _killed_mid_query(service, Role.PARTY0)


@drill("C-24", "kill -9 of party 1's front end during a query", short=False)
def front_end_1_killed(service: Service) -> str:
    """Its operator starts it again."""
    return _server_killed(service, Role.PARTY1)


@drill("C-25", "kill -9 of party 0's front end during a query", short=False)
def front_end_0_killed(service: Service) -> str:
    """Its operator starts it again."""
    return _server_killed(service, Role.PARTY0)


@drill("C-26", "SIGSTOP of party 1's worker")
def worker_1_frozen(service: Service) -> str:
    """A client with a deadline of 3 s is not kept longer."""
    return _frozen(service, service.worker(Role.PARTY1))


@drill("C-26", "SIGSTOP of party 0's worker", short=False)
def worker_0_frozen(service: Service) -> str:
    """The same from the other side."""
    return _frozen(service, service.worker(Role.PARTY0))


@drill("C-26", "SIGSTOP of party 1's front end")
def front_end_1_frozen(service: Service) -> str:
    """Party 0 hears nothing of it."""
    return _frozen(service, service.server(Role.PARTY1))


@drill("C-26", "SIGSTOP of party 0's front end", short=False)
def front_end_0_frozen(service: Service) -> str:
    """Party 1 hears nothing of it."""
    return _frozen(service, service.server(Role.PARTY0))


@drill("C-26", "SIGSTOP of the dealer", short=False)
def dealer_frozen(service: Service) -> str:
    """No randomness comes."""
    return _frozen(service, service.server(Role.DEALER))


@drill("C-30", "the dealer is down before a query")
def dealer_down(service: Service) -> str:
    """It is killed; the client is told at once."""
    service.kill(service.server(Role.DEALER))
    seen = _refused(service)
    service.start(Role.DEALER)
    return seen


@drill("C-31", "kill -9 of the dealer during a query", short=False)
def dealer_killed(service: Service) -> str:
    """The query ends; the next one has fresh randomness."""
    return _server_killed(service, Role.DEALER)


@drill("C-32", "the dealer is restarted between two queries", short=False)
def dealer_restarted(service: Service) -> str:
    """It keeps no state, so nothing can be out of step."""
    service.ask()
    expect(service.stop(Role.DEALER) == 0, "the dealer did not end in good order")
    service.start(Role.DEALER)
    service.ask()
    return "the first query after it is answered"


@drill("C-42", "a client disconnects during a query")
def client_gone(service: Service) -> str:
    """Both parties let the query go."""
    with service.frozen(service.worker(Role.PARTY1)), ThreadPoolExecutor(1) as thread:
        client = service.client()
        asked = thread.submit(service.ask, client)
        until(lambda: all(service.status(party).queries_running for party in PARTIES))
        client.close()
        error = asked.exception(30)
        until(lambda: not any(service.status(party).queries_running for party in PARTIES))
    expect(isinstance(error, PrivEdgeError), error)
    return f"{_name(error)}; no query runs at either party"


@drill("C-43", "a client with a deadline of 50 ms")
def deadline_of_50_ms(service: Service) -> str:
    """Nothing goes on after it."""
    with service.client(within_s=0.05) as client:
        seen = _end_of(service, client)
    until(lambda: not any(service.status(party).queries_running for party in PARTIES))
    return f"{seen}; no query runs at either party"


@drill("C-51", "SIGTERM of each server, one after the other, under 4 clients", short=False)
def restarted_under_load(service: Service) -> str:
    """Clients retry as they do by default; none of their queries fails."""
    over = threading.Event()
    # A client waits longer for a server that it has met.
    met = threading.Barrier(_CLIENTS + 1)

    def ask(number: int) -> int:
        asked = 1
        name = Identity(Role.CLIENT, f"client-{number}")
        with service.client(name, within_s=_PATIENT_S, retries=4) as client:
            service.ask(client, service.question(number, 2))
            met.wait(_PATIENT_S)
            while not over.is_set():
                service.ask(client, service.question(number, 2))
                asked += 1
        return asked

    with ThreadPoolExecutor(_CLIENTS) as threads:
        clients = [threads.submit(ask, number) for number in range(_CLIENTS)]
        try:
            met.wait(_PATIENT_S)
            for server in (Role.PARTY1, Role.DEALER, Role.PARTY0):
                expect(service.stop(server) == 0, f"{server} did not end in good order")
                service.start(server)
        finally:
            over.set()
        asked = sum(client.result(_PATIENT_S) for client in clients)
    return f"{asked} queries, none failed; exit status 0 of each"


# --- Shared by several drills ---------------------------------------------------------------------


def _killed_mid_query(service: Service, victim: Role) -> str:
    other = PARTIES[1 - PARTIES.index(victim)]
    killed = service.worker(victim)
    with service.frozen(service.worker(other)), service.in_flight() as query:
        service.kill(killed)
        error = query.exception(30)
    expect(isinstance(error, Unreachable), error)
    return f"{_name(error)} at the client, long before its deadline"


def _server_killed(service: Service, victim: Role) -> str:
    held = Role.PARTY0 if victim is Role.PARTY1 else Role.PARTY1
    worker = service.worker(held)
    with service.frozen(worker), service.in_flight() as query:
        service.kill(service.server(victim))
        if victim is Role.DEALER:  # nobody asks it while a worker stands still
            worker.resume()
        error = query.exception(60)
    expect(isinstance(error, PrivEdgeError), error)
    service.start(victim)
    return f"{_name(error)} at the client"


def _frozen(service: Service, process: psutil.Process) -> str:
    with service.frozen(process):
        return _refused(service)


def _refused(service: Service) -> str:
    with service.client(within_s=_HASTY_S) as client:
        try:
            service.ask(client)
        except (DeadlineExceeded, Unreachable, Refused) as error:
            return f"{_name(error)} at a client with a deadline of {_HASTY_S} s"
    raise AssertionError("it was answered")


def _end_of(service: Service, client: object) -> str:
    try:
        service.ask(client)  # type: ignore[arg-type]
    except PrivEdgeError as error:
        return _name(error)
    return "a right answer"


def _name(error: BaseException | None) -> str:
    return type(error).__name__
