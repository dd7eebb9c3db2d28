"""A thread of every server that looks at certificates when nobody calls.

It lets channels take over renewed files, ends the calls of callers who may call no more, and warns
of this process's own certificate two weeks before it ends.
"""

import datetime
import logging

from parties.periodic import Periodic
from privedge.config import TlsFiles
from privedge.errors import CertificateError
from privedge.identity.checking import check_files, fault_of_end
from privedge.rpc import callers, renewal
from privedge.rpc.callers import Clock, utc_now
from privedge.rpc.tls import Stamp, stamp

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_WARN_EVERY = datetime.timedelta(days=1)


class CertificateWatch:
    """One server's look at all that certificates are used for."""

    def __init__(self, tls: TlsFiles | None, now: Clock = utc_now) -> None:
        """`tls` are this process's own files."""
        self._tls, self._now = tls, now
        self._seen: Stamp = ()
        self._unusable = ""
        self._quiet_until = now()
        # When this process's certificate, or one that vouches for it, ends; None if unknown.
        self.ends: datetime.datetime | None = None

    def fault(self) -> str:
        """What is wrong with the files of this process, or about to be; empty if nothing is.

        A cause of readiness (readiness.py).
        """
        return self._unusable or self._ending()

    def look(self) -> None:
        """Look once."""
        renewal.look_at_all()
        callers.sweep_all()
        self._read()
        self._warn()

    def _read(self) -> None:
        if self._tls is None or (seen := stamp(self._tls)) == self._seen:
            return
        self._seen = seen
        self._quiet_until = self._now()
        try:
            self.ends = check_files(self._tls).ends
            self._unusable = ""
        except (CertificateError, OSError) as error:
            self._unusable = f"the certificate on disk cannot be used: {error}"
            log.error("%s", self._unusable)

    def _ending(self) -> str:
        if self._tls is None or self.ends is None:
            return ""
        return fault_of_end(self._tls.certificate, self.ends, self._now())

    def _warn(self) -> None:
        now = self._now()
        if now >= self._quiet_until and (fault := self._ending()):
            ended = self.ends is not None and self.ends <= now
            log.log(logging.ERROR if ended else logging.WARNING, "%s", fault)
            self._quiet_until = now + _WARN_EVERY


def watch_certificates(tls: TlsFiles | None) -> CertificateWatch:
    """Look for as long as the process lives."""
    watch = CertificateWatch(tls)
    thread = Periodic("certificate watch", watch.look, _LOOK_EVERY_S)
    thread.wake()  # the first look is now
    thread.start()
    return watch
