"""Every error privedge raises on purpose, as one tree.

Messages name files, fields, ids and shapes; never a value, a share or a mask. A peer never sees
them: rpc/status.py maps each kind to a gRPC status with a fixed text.
"""


class PrivEdgeError(Exception):
    """Root of the tree. The CLI prints it as one line and exits with 1."""


# --- What a user can put right on their own device ------------------------------------------------


class ConfigError(PrivEdgeError):
    """A configuration file is missing, malformed or has an unknown key."""


class CertificateError(PrivEdgeError):
    """A key or certificate file is missing, expired, of the wrong kind or too widely readable."""


class ImageError(PrivEdgeError):
    """An image file or array cannot be used."""


class CheckpointError(PrivEdgeError):
    """A RAN file is damaged, of another version or does not fit its own spec."""


class TrainingError(PrivEdgeError):
    """Training cannot start or cannot go on."""


class RangeError(PrivEdgeError):
    """A value is not finite, or too large for the fixed-point ring."""


class MissingExtra(PrivEdgeError):
    """A command needs an optional dependency that is not installed."""


# --- What a server refuses ------------------------------------------------------------------------


class Refused(PrivEdgeError):
    """Root of what a server refuses; each kind below has its gRPC status in rpc/status.py."""


class ShareError(Refused):
    """A share, manifest or header is malformed."""


class UnknownModel(Refused):
    """No such model, or not one this caller may know of."""


class UnknownCohort(Refused):
    """No such cohort at this party."""


class AlreadyExists(Refused):
    """The id was used before with other content."""


class NotReady(Refused):
    """The cohort has no active model, or the parties do not agree yet."""


class TermsDiffer(NotReady):
    """The servers run different versions or settings; nothing is served until they agree."""


class ManifestMismatch(Refused):
    """The two parties hold different manifests, shapes or snapshots."""


class CohortDiffers(ManifestMismatch):
    """The two parties configure the cohort differently; it is not served until they agree."""


class SnapshotChanged(Refused):
    """The cohort's active set is no longer the one the caller pinned."""


class TranscriptMismatch(Refused):
    """The two parties did not see the same protocol run; no result was released."""


class NotAllowed(Refused):
    """The caller's role or name does not permit this call."""


class LimitExceeded(Refused):
    """A size, count or rate limit was hit, or the disk is full."""


class DigestMismatch(Refused):
    """Bytes do not have the digest they were announced or stored with."""


class Unreachable(Refused):
    """A party, worker or dealer is down or was lost."""


class DeadlineExceeded(Refused):
    """The deadline passed."""


# --- What only a client can notice ----------------------------------------------------------------


class Cancelled(Unreachable):
    """A call was given up, here or on its way; why, another call says."""


class Closed(PrivEdgeError):
    """A connection was used after it was closed, or in a process that was forked from its own."""


class IntegrityError(PrivEdgeError):
    """The two answer shares do not add up to a valid answer; nothing is reported."""
