"""How a front end says hello to the other party and to the dealer, and what it makes of theirs.

What another server says is compared and shown, so only plain words and numbers of it are kept.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parties.party.edge.codec import said_from_wire, said_to_wire
from parties.party.models.standing import Said, Standing, second_line
from parties.party.terms import CohortTerms, Terms, cohort_differences, differences
from parties.serving import versions as said_versions
from parties.serving.handshake import NO_HANDSHAKE, Handshake, Heard
from parties.wire import dealer_pb2_grpc, peer_pb2, peer_pb2_grpc
from privedge.errors import Refused, Unreachable
from privedge.identity.roles import Role
from privedge.rpc import versions
from privedge.rpc.status import calls_to
from privedge.rpc.versions import Versions, plain

log = logging.getLogger(__name__)

# After a connection that ended; longer while no hello succeeds.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0

# Receives each call that is begun, so that it can be cancelled, and returns it.
Begun = Callable[[Any], Any]


class Hello:
    """This party's own terms and state, and what follows from those of others."""

    def __init__(self, mine: Terms, handshake: Handshake, standing: Standing) -> None:
        self.handshake = handshake
        self._mine = mine
        self._standing = standing

    def to_party(self, stub: peer_pb2_grpc.PeerStub, begun: Begun) -> None:
        """Party 0: exchange terms, over a connection that may yet have to come. Raises what gRPC
        does, and Unreachable if the call is cancelled.
        """
        theirs = _asked(begun(stub.Hello.future(self._said(), wait_for_ready=True)))
        if theirs is None:
            self.handshake.hear(Role.PARTY1.label, Heard(lines=(NO_HANDSHAKE,)))
        else:
            self._hear(Role.PARTY1, theirs)

    def from_party(self, said: peer_pb2.Terms) -> peer_pb2.Terms:
        """Party 1: hear party 0's terms, and answer with these.

        What a second process of party 0 says does not count: the first one is being served.
        """
        state = said_from_wire(said)
        if state is not None and self._standing.is_second(state):
            log.warning("party 0: %s", second_line(self._standing.mine.leader))
        else:
            self._hear(Role.PARTY0, said)
        return self._said()

    def read(self) -> peer_pb2.Terms:
        """Party 1: what it would answer to a hello."""
        return self._said()

    def to_dealer(self, stub: dealer_pb2_grpc.DealerStub, begun: Begun) -> None:
        """Exchange versions. Raises as `to_party`."""
        mine = self._mine.versions
        said = _asked(begun(stub.Hello.future(said_versions.to_wire(mine), wait_for_ready=True)))
        found = Heard(lines=(NO_HANDSHAKE,))
        if said is not None:
            theirs = said_versions.from_wire(said)
            found = Heard(theirs.release, versions.differences(mine, theirs))
        self.handshake.hear(Role.DEALER.label, found)

    def _said(self) -> peer_pb2.Terms:
        message = to_wire(self._mine)
        message.state.CopyFrom(said_to_wire(self._standing.mine))
        return message

    def _hear(self, who: Role, message: peer_pb2.Terms) -> None:
        theirs, state = from_wire(message), said_from_wire(message)
        found = Heard(
            theirs.versions.release,
            (*differences(self._mine, theirs), *self._state_lines(state)),
            cohort_differences(self._mine, theirs),
        )
        self.handshake.hear(who.label, found)

    def _state_lines(self, said: Said | None) -> tuple[str, ...]:
        lines = self._standing.hear(said)
        if said is not None and said.leader not in ("", self._standing.process):
            return (*lines, second_line(said.leader))
        return lines


class DealerGreeter:
    """A thread that says hello to the dealer on every new connection to it.

    A health watch lasts as long as the connection does. It ends when the dealer says that it no
    longer serves, too: a dealer that is told to stop waits for running calls.
    """

    def __init__(self, channel: grpc.Channel, hello: Hello) -> None:
        self._hello = hello
        self._health = health_pb2_grpc.HealthStub(channel)
        self._dealer = dealer_pb2_grpc.DealerStub(channel)
        # Whether the dealer serves, as far as this party knows.
        self.connected = False
        self._stopping = threading.Event()
        self._call: Any = None
        self._pause_s = _FIRST_PAUSE_S
        self._thread = threading.Thread(target=self._run, name="dealer greeter", daemon=True)

    def fault(self) -> str:
        """What is wrong with the dealer; empty if it serves."""
        return "" if self.connected else "cannot be reached, or is about to end"

    def start(self) -> None:
        """Begin; the dealer may come later."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with calls_to(Role.DEALER.label):
                    self._greet()
            except Refused as error:
                if not self._stopping.is_set():
                    log.warning("does not know the dealer's terms: %s", error)
            self.connected = False
            self._stopping.wait(self._pause_s)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _greet(self) -> None:
        watch = self._health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        greeted = False
        for response in self._begun(watch):
            if response.status != health_pb2.HealthCheckResponse.SERVING:
                watch.cancel()
                return
            if not greeted:
                greeted = True
                self._hello.to_dealer(self._dealer, self._begun)
                self.connected = True
                self._begun(watch)
                self._pause_s = _FIRST_PAUSE_S

    def _begun(self, call: Any) -> Any:
        self._call = call
        if self._stopping.is_set():
            call.cancel()
        return call


def read_terms(channel: grpc.Channel, name: str, *, timeout_s: float) -> tuple[Terms, Said | None]:
    """What party 1 would answer to party 0's hello; it remembers nothing of it.

    `name` is for messages. Raises Refused: NotReady if party 1 is of an older release.
    """
    stub = peer_pb2_grpc.PeerStub(channel)
    with calls_to(name):
        message = stub.ReadTerms(peer_pb2.ReadTermsRequest(), timeout=timeout_s)
    return from_wire(message), said_from_wire(message)


def to_wire(terms: Terms) -> peer_pb2.Terms:
    """The message of this party's terms."""
    return peer_pb2.Terms(
        release=terms.versions.release,
        wire=terms.versions.wire,
        mpc=terms.versions.mpc,
        engine=terms.engine,
        rounding=terms.rounding,
        randomness=terms.randomness,
        workers=terms.workers,
        max_batch=terms.max_batch,
        cohorts=[
            peer_pb2.CohortTerms(
                name=each.name,
                spec_digest=each.spec_digest,
                margin=each.margin,
                mean_share=each.mean_share,
                rivals_sha256=each.rivals,
                public_owners=each.public_owners,
                telemetry=each.telemetry,
                enrolment_check=each.enrolment_check,
                enrolment_on_match=each.enrolment_on_match,
                enrolment_margin=each.enrolment_margin,
                model_check=each.model_check,
            )
            for each in terms.cohorts
        ],
    )


def from_wire(message: peer_pb2.Terms) -> Terms:
    """The other party's terms. What is no plain word becomes one that says so."""
    return Terms(
        engine=plain(message.engine),
        rounding=plain(message.rounding),
        randomness=plain(message.randomness),
        workers=message.workers,
        cohorts=tuple(
            CohortTerms(
                plain(each.name),
                plain(each.spec_digest),
                each.margin,
                each.mean_share,
                plain(each.rivals_sha256) if each.rivals_sha256 else "",
                plain(each.telemetry) if each.telemetry else "",
                # A release that knows no such check says nothing.
                plain(each.enrolment_check or "off"),
                plain(each.enrolment_on_match or "report"),
                each.enrolment_margin,
                plain(each.model_check) if each.model_check else "",
                each.public_owners,
            )
            for each in message.cohorts
        ),
        max_batch=message.max_batch,
        versions=Versions(plain(message.release), message.wire, message.mpc),
    )


def _asked(call: Any) -> Any:
    """The answer; None if the server does not know the call."""
    try:
        return call.result()
    except grpc.FutureCancelledError:
        raise Unreachable("the hello was given up") from None
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return None
        raise
