"""Everything that is checked of one server, in order."""

from collections.abc import Iterator

from parties.check.addresses import check_distances, check_listening
from parties.check.certificates import check_callers, check_certificates
from parties.check.machine import check_machine
from parties.check.software import check_packages, check_traces
from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from parties.config.telemetry import DAY_S, LEAST_QUERIES, MOST_EPSILON
from privedge import extras
from privedge.findings import Finding, hint
from privedge.identity.roles import Role


def check_server(config: PartyConfig | DealerConfig) -> Iterator[Finding]:
    """Everything that is wrong. Servers are dialled only with certificates that are good."""
    role = role_of(config)
    yield from check_packages(computes=isinstance(config, PartyConfig))
    yield from check_traces(config.traces)
    yield from check_machine(config)
    yield from check_callers(config, role)
    certificates = list(check_certificates(config, role))
    yield from certificates
    may_dial = not any(each.is_fault for each in certificates)
    yield from check_listening(config, role, may_dial=may_dial)
    if isinstance(config, PartyConfig):
        yield from _party(config, may_dial)


def role_of(config: PartyConfig | DealerConfig) -> Role:
    """Whose file it is."""
    return Role.party(config.index) if isinstance(config, PartyConfig) else Role.DEALER


def _telemetry(config: PartyConfig) -> Iterator[Finding]:
    """Hint at histograms that say more than those of the defaults."""
    for cohort in config.cohorts:
        settings, about = cohort.telemetry, f"cohort {cohort.name}"
        if settings is None:
            continue
        if settings.min_queries < LEAST_QUERIES:
            text = f"min_queries is below {LEAST_QUERIES}; histograms of few answers are noise"
            yield hint("telemetry", f"{about}: {text}, or tell of few people")
        if settings.epsilon > MOST_EPSILON:
            text = f"epsilon is above {MOST_EPSILON:g}; a histogram tells more of one"
            yield hint("telemetry", f"{about}: {text} {settings.unit}")
        if settings.period_s < DAY_S:
            yield hint(
                "telemetry",
                f"{about}: period_s is less than a day; each histogram costs its epsilon again",
            )


def _party(config: PartyConfig, may_dial: bool) -> Iterator[Finding]:
    yield from _telemetry(config)
    distances = list(check_distances(config))
    yield from distances
    try:
        # Late, for they need SQLAlchemy.
        from parties.check.servers import check_dealer, check_peer
        from parties.check.state import StateCheck
        from parties.party.terms import of_party
    except ModuleNotFoundError as error:
        if extras.missing(error, "", extras.FOR_SERVERS) is error:
            raise
        return  # it was said with the packages
    state = StateCheck(config)
    yield from state.findings()
    wrong = {each.about for each in distances if each.is_fault}
    if may_dial and "dealer.address" not in wrong:
        yield from check_dealer(config)
    if may_dial and "peer.address" not in wrong:
        mine = None if state.cohorts is None else of_party(config, state.cohorts.values())
        workers = config.workers if "mpc.address" not in wrong else 0
        yield from check_peer(config, mine, state.epochs, workers)
