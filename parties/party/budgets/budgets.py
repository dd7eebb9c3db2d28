"""The budgets of one party: labels of clients, activations of owners."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from parties.config.budgets import BudgetsSection
from parties.party.budgets.ledger import Account, Charge, Ledger
from privedge.errors import BudgetSpent, Busy
from privedge.rpc.rates import Rates

# An activation waits so long for its charge to be on disk.
_LASTING_S = 10.0
# A bucket holds what comes in so many seconds.
BURST_S = 10.0
_DAY_H, _HOUR_H = 24, 1


class Budgets:
    """Safe to call from many threads."""

    def __init__(self, settings: BudgetsSection, max_batch: int, ledger: Ledger) -> None:
        """`max_batch`: the most images of a query, which the rate always lets through."""
        self._settings, self._ledger = settings, ledger
        per_second = settings.images_per_second
        burst = max(max_batch, BURST_S * per_second)
        self._rates = Rates(per_second, burst) if per_second else None

    def query(self, client: str, cohort: str, images: int) -> Charge:
        """Charge a client for the images of a query. Raises Busy, or BudgetSpent."""
        limit = self._settings.labels_per_day
        account = Account("labels", client, cohort, limit, _DAY_H)
        charge = self._ledger.spend(account, images)
        wait_s = self._rates.take(client, images) if self._rates is not None else 0
        if wait_s:
            charge.give_back()
            raise Busy(f"{client}: more images a second than it may ask", wait_s)
        return charge

    def require_refusals_left(self, owner: str) -> None:
        """Raise BudgetSpent if so many models of an owner were refused that no other is checked."""
        self._ledger.spend(self._refusals(owner), 1).give_back()

    def refusal(self, owner: str) -> None:
        """Count a refused model."""
        with suppress(BudgetSpent):  # two of one owner at once: none is left all the same
            self._ledger.spend(self._refusals(owner), 1)

    def _refusals(self, owner: str) -> Account:
        return Account("refusals", owner, "", self._settings.refusals_per_day, _DAY_H)

    @contextmanager
    def activation(self, owner: str) -> Iterator[None]:
        """Charge an owner for one activation, unless the block raises. Raises BudgetSpent, and
        DiskFull if the charge cannot be written.
        """
        limit = self._settings.activations_per_hour
        charge = self._ledger.spend(Account("activations", owner, "", limit, _HOUR_H), 1)
        try:
            charge.require_lasting(_LASTING_S)
            yield
        except BaseException:
            charge.give_back()
            raise
