"""Everything that is checked of one server, in order."""

from collections.abc import Iterator

from parties.check.addresses import check_distances, check_listening
from parties.check.certificates import check_callers, check_certificates
from parties.check.machine import check_machine
from parties.check.software import check_packages
from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from privedge.findings import Finding
from privedge.identity.roles import Role


def check_server(config: PartyConfig | DealerConfig) -> Iterator[Finding]:
    """Everything that is wrong. Servers are dialled only with certificates that are good."""
    role = role_of(config)
    yield from check_packages(computes=isinstance(config, PartyConfig))
    yield from check_machine(config)
    yield from check_callers(config, role)
    certificates = list(check_certificates(config, role))
    yield from certificates
    yield from check_listening(config, role)
    distances = list(check_distances(config))
    yield from distances
    if isinstance(config, PartyConfig):
        failed = {each.about for each in (*certificates, *distances) if each.is_fault}
        yield from _party(config, failed)


def _party(config: PartyConfig, failed: set[str]) -> Iterator[Finding]:
    # Late: where only a dealer runs, there is no database driver.
    from parties.check.servers import check_dealer, check_peer
    from parties.check.state import StateCheck
    from parties.party.terms import of_party

    state = StateCheck(config)
    yield from state.findings()
    if "tls" in failed:
        return
    if "dealer.address" not in failed:
        yield from check_dealer(config)
    if "peer.address" not in failed:
        mine = None if state.cohorts is None else of_party(config, state.cohorts.values())
        yield from check_peer(config, mine, state.epochs)


def role_of(config: PartyConfig | DealerConfig) -> Role:
    """Whose file it is."""
    return Role.party(config.index) if isinstance(config, PartyConfig) else Role.DEALER
