"""Every error that privedge raises on purpose, as one tree.

Messages name files, fields, ids and shapes, but never a value, a share or a mask. A peer never sees
a message: rpc/status.py maps each kind of error to a gRPC status with a fixed text.
"""


class PrivEdgeError(Exception):
    """Root of the tree. The CLI prints it as one line and exits with 1.

    Attributes:
        request_id: the id of the query that failed, as in the servers' logs; empty if there is
            none. The text ends with it.
    """

    request_id = ""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} (request {self.request_id})" if self.request_id else text


# --- Errors that users can correct on their own device --------------------------------------------


class ConfigError(PrivEdgeError):
    """A configuration file is missing, malformed or has an unknown key.

    more: what else is wrong with the same file, in lines like the message.
    """

    def __init__(self, message: str = "", *more: str) -> None:
        super().__init__(message)
        self.more = more


class DatabaseAway(ConfigError):
    """The database of a party's registry cannot be used now; it may be back without any change."""


class CertificateError(PrivEdgeError):
    """A key or certificate file is missing, expired, of the wrong kind or too widely readable."""


class ReceiptError(PrivEdgeError):
    """A receipt is malformed, was changed, or is not signed by both parties."""


class ImageError(PrivEdgeError):
    """An image file or array cannot be used."""


class NoFaceFound(ImageError):
    """A preset of faces was given a picture in which the detector finds none."""


class SeveralFaces(ImageError):
    """A picture has several faces, and nothing says which one is meant."""


class FaceTooSmall(ImageError):
    """The face in a picture has too few pixels to be told from others."""


class QualityError(ImageError):
    """Pictures or vectors can be used, but are too poor, and poor ones were to be refused."""


class CheckpointError(PrivEdgeError):
    """A RAN file is damaged, has another version, or does not fit its own spec."""


class TrainingError(PrivEdgeError):
    """Training cannot start or continue."""


class RangeError(PrivEdgeError):
    """A value is not finite, or too large for the fixed-point ring."""


class NotSupported(PrivEdgeError):
    """A CrypTen program asks for what is not computed here, because it would not be private."""


class MissingExtra(PrivEdgeError):
    """A command needs an optional dependency that is not installed."""


# --- Refusals by a server -------------------------------------------------------------------------


class Refused(PrivEdgeError):
    """Root of a server's refusals; rpc/status.py has the gRPC status of each kind below."""


class ShareError(Refused):
    """A share, manifest or header is malformed."""


class UnknownModel(Refused):
    """There is no such model, or this caller may not know of it."""


class UnknownCohort(Refused):
    """There is no such cohort at this party."""


class AlreadyExists(Refused):
    """The id was used before, with other content."""


class AlreadyEnrolled(Refused):
    """Another owner's model fits whom the uploaded model is of, and the cohort refuses that."""


class ModelRefused(Refused):
    """The check of new models found this model out of bounds; the operators can release it."""


class NotReady(Refused):
    """The cohort has no active model, or the parties do not agree yet."""


class TermsDiffer(NotReady):
    """The servers run different versions or settings; nothing is served until they agree."""


class ManifestMismatch(Refused):
    """The two parties hold different manifests, shapes or snapshots."""


class CohortDiffers(ManifestMismatch):
    """The two parties configure the cohort differently; it is not served until they agree."""


class SnapshotChanged(Refused):
    """The cohort's active models are no longer those that the caller pinned."""


class TranscriptMismatch(Refused):
    """The two parties did not see the same protocol run; no result was released."""


class NotAllowed(Refused):
    """The caller's role or name does not permit this call."""


class CertificateEnded(NotAllowed):
    """The caller's certificate has expired, or was denied, since its connection began."""


class LimitExceeded(Refused):
    """A size, count or rate limit was exceeded."""


class DiskFull(LimitExceeded):
    """The server's disk is full; only its operator can help."""


class Busy(LimitExceeded):
    """Too many calls at once. The same call may be repeated after `retry_after_s` seconds."""

    def __init__(self, message: str = "", retry_after_s: float = 0.25) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BudgetSpent(LimitExceeded):
    """What this caller may have for a time is spent. There is some again after `retry_after_s`
    seconds, which may be hours.
    """

    def __init__(self, message: str = "", retry_after_s: float = 3600.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DigestMismatch(Refused):
    """Bytes do not match the digest that they were announced or stored with."""


class WrongRandomness(Refused):
    """The dealer was found to deal wrong randomness; nothing is computed until operators act."""


class Unreachable(Refused):
    """A party, worker or dealer is down, or the connection to it was lost."""


class Restarting(Unreachable):
    """The server is starting or about to end, and has begun nothing. The same call may be repeated
    after `retry_after_s` seconds.
    """

    def __init__(self, message: str = "", retry_after_s: float = 0.5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(Refused):
    """The deadline passed."""


# --- Errors that only a client can notice ---------------------------------------------------------


class Cancelled(Unreachable):
    """A call was abandoned, here or on its way; another call tells why."""


class Closed(PrivEdgeError):
    """A connection was used after it was closed, or in a process that was forked from its own."""


class IntegrityError(PrivEdgeError):
    """The two answer shares do not add up to a valid answer, or a row with a known answer came back
    wrong; so no answer is reported.
    """
