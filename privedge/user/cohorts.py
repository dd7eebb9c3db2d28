"""The cohorts that this caller may know of, as both parties describe them. Public facts only.

A party lists a cohort only to those on its lists of clients and owners (docs/reference/wire.md).
"""

from dataclasses import dataclass

from privedge.config import ClientConfig
from privedge.identity.roles import Role
from privedge.sharing.known import never_unknown
from privedge.user.party import CohortFacts, connect

AGREED = "both parties say the same"
_DIFFER = "the parties differ; tell both operators if it stays so"


@dataclass(frozen=True)
class Listed:
    """A cohort, what party 0 says of it (party 1, if only that one has it), and whether they agree.

    state: AGREED, or what is wrong, for people.
    """

    name: str
    facts: CohortFacts
    state: str

    @property
    def never_unknown(self) -> str:
        """Why this cohort names somebody whoever is asked about; empty if it may say "unknown".

        Models may have thresholds of their own, which only their owners know.
        """
        return never_unknown(self.facts.margin, self.facts.owners, self.facts.rivals[0])


def listed(config: ClientConfig) -> tuple[Listed, ...]:
    """Ask both parties for the cohorts that the caller may know of, in order of name.

    Raises the refusal of a party, or Unreachable.
    """
    first, second = (_of(config, role) for role in (Role.PARTY0, Role.PARTY1))
    every = [
        Listed(name, first[name] if name in first else second[name], _state(name, first, second))
        for name in sorted({*first, *second})
    ]
    return tuple(every)


def _of(config: ClientConfig, role: Role) -> dict[str, CohortFacts]:
    with connect(config, role) as party:
        return {name: party.facts_of(name) for name in party.cohorts()}


def _state(name: str, first: dict[str, CohortFacts], second: dict[str, CohortFacts]) -> str:
    if name not in first or name not in second:
        return f"only party {int(name in second)} lists it to you; tell both operators"
    return AGREED if first[name] == second[name] else _DIFFER
