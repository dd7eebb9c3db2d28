"""Record that an operator knows why the other party's audit log is another one than before."""

from contextlib import closing

from parties.config.party import PartyConfig
from parties.party.audit.files import FOLDER, AuditFiles
from parties.party.audit.log import PEER_ACCEPTED, AuditLog
from parties.party.models.disk import Disk
from parties.party.models.state_folder import locked
from privedge.errors import DiskFull


def accept_peer_log(config: PartyConfig) -> None:
    """End the fault `audit` of a party that is stopped, by a line of its own log.

    Raises ConfigError if the party runs or the log cannot be continued, and DiskFull.
    """
    with locked(config.state):
        disk = Disk(config.state, config.disk)
        max_bytes = config.audit.file_mib << 20
        with closing(AuditFiles(config.state / FOLDER, max_bytes, disk.give_up)) as files:
            audit = AuditLog(files, config.audit.tally_s)
            audit.record(PEER_ACCEPTED)
            if fault := audit.fault():
                raise DiskFull(fault)
