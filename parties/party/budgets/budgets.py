"""The budgets of one party: labels of clients, activations of owners.

What the ledger counts, by kind:

    labels        rows that one client had answered in one cohort, by the hour: within a day
    hour          the same, where a cohort has a budget of its own: within an hour
    month         the same by the day, always counted; and of all clients (no name) together
    named         rows of `verify` that asked about one owner, by the day
    activations   models that one owner has activated, by the hour
    activated     models that owners have activated in one cohort, by the day
    refused       models that both parties have refused there, by the day
    refusals      the same of one owner, by the hour: within a day
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from parties.config.budgets import BudgetsSection
from parties.party.budgets.exposure import Exposure
from parties.party.budgets.ledger import DAY_H, MONTH_H, Account, Charge, Ledger
from parties.party.budgets.safe import UNLIMITED, LabelLimits
from privedge.errors import BudgetSpent, Busy
from privedge.rpc.deadline import Deadline
from privedge.rpc.rates import Rates
from privedge.sharing.question import ROWS_ASKED_AGAIN

# An activation waits so long for its charge to be on disk.
_LASTING_S = 10.0
# Of many at once, so many are written in a second, on a slow machine.
_CHARGED_A_SECOND = 500
# A bucket holds what comes in so many seconds.
BURST_S = 10.0
_HOUR_H = 1


class Charges:
    """What one query was charged: the same amount on several accounts."""

    def __init__(self, charges: Sequence[Charge]) -> None:
        self._charges = charges

    def give_back(self) -> None:
        """It was not spent after all. To be called once at most."""
        for charge in self._charges:
            charge.give_back()

    def require_lasting(self, within_s: float) -> None:
        """Return once all of it would survive a crash. Raises as Charge.require_lasting does."""
        deadline = Deadline.after(within_s)
        for charge in self._charges:
            charge.require_lasting(deadline.remaining())


class Budgets:
    """Safe to call from many threads."""

    def __init__(
        self,
        settings: BudgetsSection,
        max_batch: int,
        ledger: Ledger,
        limits: Callable[[str], LabelLimits] = lambda cohort: UNLIMITED,
    ) -> None:
        """`max_batch`: the most rows of a query, which the rate always lets through. `limits`: the
        budget of a cohort, by its name.
        """
        self._settings, self._ledger, self._limits = settings, ledger, limits
        per_second = settings.images_per_second
        burst = max(max_batch, BURST_S * per_second)
        self._rates = Rates(per_second, burst) if per_second else None

    def query(
        self,
        client: str,
        cohort: str,
        rows: int,
        named: str | None = None,
        *,
        again: bool = False,
    ) -> Charges:
        """Charge a client for all rows of a query, whatever they are for. `named`: the owner whom
        `verify` asks about. `again`: it settles a doubt, for which every limit has ROWS_ASKED_AGAIN
        rows more: a client that was answered within its limits can always ask it, or a spent budget
        would look like an operator that deviates. Raises Busy, or BudgetSpent.
        """
        limits = self._limits(cohort)
        # The longest window first: a client that must wait for days is not told of minutes.
        accounts = [
            Account("month", "", cohort, limits.all_month, MONTH_H),
            Account("month", client, cohort, limits.client_month, MONTH_H),
            Account("labels", client, cohort, self._settings.labels_per_day, DAY_H),
        ]
        if limits.client_hour:
            accounts.append(Account("hour", client, cohort, limits.client_hour, _HOUR_H))
        if named is not None:
            accounts.append(Account("named", named, cohort, 0, MONTH_H))
        with ExitStack() as undo:
            charges = []
            for account in accounts:
                more = ROWS_ASKED_AGAIN if again else 0
                charges.append(charge := self._ledger.spend(account, rows, more=more))
                undo.callback(charge.give_back)
            wait_s = self._rates.take(client, rows) if self._rates is not None else 0
            if wait_s:
                raise Busy(f"{client}: more images a second than it may ask", wait_s)
            undo.pop_all()
        return Charges(charges)

    def require_refusals_left(self, owner: str) -> None:
        """Raise BudgetSpent if so many models of an owner were refused that no other is checked."""
        self._ledger.spend(self._refusals(owner), 1).give_back()

    def refusal(self, owner: str) -> None:
        """Count a refused model."""
        with suppress(BudgetSpent):  # two of one owner at once: none is left all the same
            self._ledger.spend(self._refusals(owner), 1)

    def _refusals(self, owner: str) -> Account:
        return Account("refusals", owner, "", self._settings.refusals_per_day, DAY_H)

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

    def activations(self, owners: Sequence[str]) -> dict[str, Charge]:
        """Charge each of these owners for one activation; what each was charged, to be given back
        if its model does not become active. An owner whose budget is spent is left out.

        Raises DiskFull if the charges cannot be written, and gives all back.
        """
        limit = self._settings.activations_per_hour
        with ExitStack() as undo:
            charges = dict[str, Charge]()
            for owner in owners:
                account = Account("activations", owner, "", limit, _HOUR_H)
                with suppress(BudgetSpent):
                    charges[owner] = charge = self._ledger.spend(account, 1)
                    undo.callback(charge.give_back)
            deadline = Deadline.after(_LASTING_S + len(charges) / _CHARGED_A_SECOND)
            for charge in charges.values():
                charge.require_lasting(deadline.remaining())
            undo.pop_all()
        return charges

    def count_model(self, cohort: str, *, refused: bool = False) -> None:
        """A model of a cohort became active, or both parties have refused it."""
        kind = "refused" if refused else "activated"
        self._ledger.spend(Account(kind, "", cohort, 0, MONTH_H), 1)

    def exposure(self, cohort: str, owner: str) -> Exposure:
        """What this party knows of how a cohort was asked, for one of its owners."""
        clients = dict(self._ledger.days("month", cohort))
        named = self._ledger.days("named", cohort).get(owner, {})
        changes = (self._ledger.days(kind, cohort).get("", {}) for kind in ("activated", "refused"))
        activated, refused = (sum(each.values()) for each in changes)
        return Exposure.of(clients, named, activated, refused)
