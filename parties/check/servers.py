"""The other servers, as a party reaches them. They are asked, and remember nothing of it."""

from collections.abc import Iterator

import grpc

from parties.config.party import PartyConfig
from parties.party.edge.hello import read_terms
from parties.party.models.registry import Epochs
from parties.party.models.standing import state_differences
from parties.party.terms import Terms, cohort_differences, differences
from privedge.errors import PrivEdgeError
from privedge.findings import Finding
from privedge.identity.roles import Identity, Role
from privedge.rpc.about import ANSWER_S, ask
from privedge.rpc.channel import open_channel, peer_name
from privedge.rpc.ports import shifted


def check_dealer(config: PartyConfig) -> Iterator[Finding]:
    """Whether the dealer is there, is a dealer, and has the same versions and time."""
    if config.dealer is None:
        return
    address = config.dealer.address
    name = peer_name(Role.DEALER, address)
    try:
        with _dialled(config, address, Role.DEALER) as channel:
            lines = ask(channel, name).faults()
    except PrivEdgeError as error:
        yield Finding("dealer", str(error))
        return
    for line in lines:
        yield Finding("dealer", f"{name} disagrees on {line}")


def check_peer(
    config: PartyConfig, mine: Terms | None, known: Epochs | None, workers: int
) -> Iterator[Finding]:
    """Party 0: whether party 1 is there, and agrees. What is None here is not compared.

    Its first so many `workers` are dialled too.
    """
    if config.peer is None:
        return
    address = config.peer.address
    name = peer_name(Role.PARTY1, address)
    try:
        with _dialled(config, address, Role.PARTY1) as channel:
            about = ask(channel, name)
            theirs, said = read_terms(channel, name, timeout_s=ANSWER_S)
    except PrivEdgeError as error:
        yield Finding("peer", str(error))
        return
    lines = list(about.faults())
    if mine is not None:
        lines += [each for each in differences(mine, theirs) if each not in lines]
        for cohort, ways in cohort_differences(mine, theirs).items():
            lines.append(f"cohort {cohort}: {', '.join(ways)}")
    if known is not None:
        lines += state_differences(known, said, config.index)
    for line in lines:
        yield Finding("peer", f"{name} disagrees on {line}")
    if not lines:
        yield from _workers(config, workers)


def _workers(config: PartyConfig, count: int) -> Iterator[Finding]:
    """The first worker of party 1 that this party's worker could not dial."""
    for worker in range(count):
        address = shifted(config.mpc.address or "", worker)
        name = f"worker {worker} of {peer_name(Role.PARTY1, address)}"
        try:
            with _dialled(config, address, Role.PARTY1) as channel:
                ask(channel, name)
        except PrivEdgeError as error:
            yield Finding("mpc", str(error))
            return


def _dialled(config: PartyConfig, address: str, server: Role) -> grpc.Channel:
    role = Role.party(config.index)
    claim = Identity(role, role.value)
    return open_channel(address, server=server, tls=config.tls, claim=claim)
