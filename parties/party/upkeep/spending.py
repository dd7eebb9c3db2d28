"""What becomes of budgets when an older registry takes the place of a newer one.

What clients spent in between is in neither. One party that counts right is enough, so it may be
forgotten where the other party has kept its registry. Where both are put back it may not: whoever
asked in between would have their budgets twice. Only operators know which it is, so they are asked.
"""

import time

from parties.party.budgets.ledger import HOUR_S, set_unknown
from parties.party.models.registry import Registry

QUESTION = (
    "budgets: what clients spent since is not in this registry; add --forget-spending if the other "
    "party has kept its own, which goes on counting, or --count-as-spent if it has not"
)


def note_spending(registry: Registry, *, forget: bool) -> None:
    """Until now clients have spent all that they may have; or `forget` it."""
    hour = None if forget else int(time.time() // HOUR_S)
    registry.record(lambda session: set_unknown(session, hour))
