"""Record that an operator knows why the other party's audit log is another one than before."""

from parties.config.party import PartyConfig
from parties.party.audit.log import PEER_ACCEPTED
from parties.party.models.disk import Disk
from parties.party.models.state_folder import locked, open_audit
from privedge.errors import DiskFull


def accept_peer_log(config: PartyConfig) -> None:
    """End the fault `audit` of a party that is stopped, by a line of its own log.

    Raises ConfigError if the party runs or the log cannot be continued, and DiskFull.
    """
    with locked(config.state), open_audit(config, Disk(config.state, config.disk)) as audit:
        audit.record(PEER_ACCEPTED)
        if fault := audit.fault():
            raise DiskFull(fault)
