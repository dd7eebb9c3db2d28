"""Signs what this party states to owners, with the key that it serves with. Sees that key."""

import logging

from privedge.config import TlsFiles
from privedge.errors import CertificateError
from privedge.identity.receipts import Facts, Statement, sign

log = logging.getLogger(__name__)


class Signer:
    """Reads the files for each statement, because certificates are renewed while a party runs."""

    def __init__(self, tls: TlsFiles | None) -> None:
        self._tls = tls

    def __call__(self, facts: Facts) -> Statement | None:
        """The statement; None without TLS, or while the files are not good.

        What it is about has happened by now, so a missing signature must not look like a failure.
        """
        if self._tls is None:
            return None
        try:
            return sign(facts, self._tls)
        except CertificateError as error:
            log.error("model %s: its %s is not signed: %s", facts.model, facts.event, error)
            return None
