"""What a party keeps its models in."""

from dataclasses import dataclass

from parties.party.audit.log import AuditLog
from parties.party.budgets.asked import AskedCounts
from parties.party.budgets.budgets import Budgets
from parties.party.models.disk import Disk
from parties.party.models.registry import Registry
from parties.party.models.share_files import ShareFiles


@dataclass(frozen=True)
class Store:
    """One state folder, opened; and what is allowed and recorded there."""

    registry: Registry
    files: ShareFiles
    disk: Disk
    budgets: Budgets
    asked: AskedCounts
    audit: AuditLog
