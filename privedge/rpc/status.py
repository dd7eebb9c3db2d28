"""The one table between our errors and gRPC statuses. A fixed text cannot carry a secret.

A server looks up (code, text) by the kind of error. A caller looks the pair up again and gets the
same kind back. A peer's text is not trusted: it is only compared with the table, never shown. Why a
connection was not made is told from gRPC's own text (rpc/causes.py).
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from privedge import errors
from privedge.errors import PrivEdgeError
from privedge.rpc.causes import cause_of

Code = grpc.StatusCode

# The trailing metadata that carries the id under which an internal error was logged.
ERROR_ID = "privedge-error-id"
# The trailing metadata that says after how many milliseconds a refused call may be repeated.
RETRY_AFTER = "retry-after-ms"
_LONGEST_RETRY_AFTER_S = 60.0
# A budget of a day, counted in hours.
_LONGEST_BUDGET_S = 31 * 24 * 3600.0
# A unit, its seconds, and how many of it there are at least.
_UNITS = (("days", 24 * 3600, 2), ("h", 3600, 1), ("min", 60, 1), ("s", 1, 0))

# The most specific kind comes first; the last line is for every unexpected exception.
STATUS: dict[type[Exception], tuple[grpc.StatusCode, str]] = {
    errors.ShareError: (Code.INVALID_ARGUMENT, "malformed request"),
    errors.UnknownModel: (Code.NOT_FOUND, "unknown model"),
    errors.UnknownCohort: (Code.NOT_FOUND, "unknown cohort"),
    errors.AlreadyExists: (Code.ALREADY_EXISTS, "this id was used before"),
    errors.AlreadyEnrolled: (
        Code.ALREADY_EXISTS,
        "this person is already among the owners",
    ),
    errors.ModelRefused: (Code.FAILED_PRECONDITION, "the check of new models refused this model"),
    errors.TermsDiffer: (Code.FAILED_PRECONDITION, "the operators' settings differ"),
    errors.NotReady: (Code.FAILED_PRECONDITION, "not ready"),
    errors.CohortDiffers: (
        Code.FAILED_PRECONDITION,
        "the operators' settings of this cohort differ",
    ),
    errors.ManifestMismatch: (Code.FAILED_PRECONDITION, "the parties hold different things"),
    errors.SnapshotChanged: (Code.ABORTED, "the cohort has changed"),
    errors.TranscriptMismatch: (Code.ABORTED, "the parties disagree about this run"),
    errors.CertificateEnded: (Code.UNAUTHENTICATED, "the certificate is accepted no longer"),
    errors.NotAllowed: (Code.PERMISSION_DENIED, "not allowed"),
    errors.DiskFull: (Code.RESOURCE_EXHAUSTED, "its disk is full"),
    errors.Busy: (Code.RESOURCE_EXHAUSTED, "too many calls at once"),
    errors.BudgetSpent: (Code.RESOURCE_EXHAUSTED, "the budget is spent"),
    errors.LimitExceeded: (Code.RESOURCE_EXHAUSTED, "a limit was reached"),
    errors.DigestMismatch: (Code.DATA_LOSS, "bytes do not match their digest"),
    errors.WrongRandomness: (Code.DATA_LOSS, "the dealer dealt wrong randomness"),
    errors.Restarting: (Code.UNAVAILABLE, "starting, or about to end"),
    errors.Unreachable: (Code.UNAVAILABLE, "a part of the service is down"),
    errors.DeadlineExceeded: (Code.DEADLINE_EXCEEDED, "the deadline passed"),
    Exception: (Code.INTERNAL, "internal error"),
}

_ADVICE: dict[type[Exception], str] = {
    errors.ShareError: "check that both sides run the same version",
    errors.UnknownModel: "list the models with `privedge models list`",
    errors.UnknownCohort: "check the cohort's name with the operator",
    errors.AlreadyExists: "try again with a fresh id",
    errors.AlreadyEnrolled: (
        "upload with the name of before, or ask the operators; the model was not activated"
    ),
    errors.ModelRefused: (
        "find out why with `privedge check`, or ask the operators to release it; it is kept, and "
        "not active"
    ),
    errors.TermsDiffer: "tell both operators; their logs say what differs",
    errors.CohortDiffers: "tell both operators; their logs say what differs",
    errors.NotReady: (
        "upload and activate a model first (two owners', for pictures without an encoder)"
    ),
    errors.ManifestMismatch: "upload the model again to both parties",
    errors.SnapshotChanged: "ask again",
    errors.TranscriptMismatch: "ask again; tell the operator if it happens twice",
    errors.CertificateEnded: "renew it if it has expired; if not, ask the operator",
    errors.NotAllowed: (
        "use a certificate of the right role: owners upload, clients ask; "
        "admins: be on this server's list `admins`"
    ),
    errors.DiskFull: "tell its operator, and try again later",
    errors.Busy: "try again in a moment",
    errors.BudgetSpent: "ask again later, or ask the operators for more",
    errors.LimitExceeded: "send less, or try again later",
    errors.DigestMismatch: "send it again; if it was a query, tell the operator of a damaged model",
    errors.WrongRandomness: "tell both operators; nothing is answered until they have acted",
    errors.Restarting: "try again in a moment",
    errors.Unreachable: "try again in a moment",
    errors.DeadlineExceeded: "try again, or raise rpc_timeout_s",
}

# gRPC's own statuses, which have other texts: code -> kind, text, what to do.
_FROM_GRPC: dict[grpc.StatusCode, tuple[type[PrivEdgeError], str, str]] = {
    Code.UNAVAILABLE: (
        errors.Unreachable,
        "cannot be reached",
        "the connection was lost; check that it is running, and try again",
    ),
    Code.DEADLINE_EXCEEDED: (errors.DeadlineExceeded, "the deadline passed", "raise rpc_timeout_s"),
    Code.RESOURCE_EXHAUSTED: (errors.LimitExceeded, "too busy or too large", "try again later"),
    Code.UNAUTHENTICATED: (errors.NotAllowed, "not authenticated", "check the certificate's role"),
    Code.PERMISSION_DENIED: (errors.NotAllowed, "not allowed", "check the certificate's role"),
    Code.CANCELLED: (errors.Cancelled, "the call was cancelled", "try again"),
    Code.INVALID_ARGUMENT: (errors.ShareError, "malformed request", "check both versions"),
    Code.UNIMPLEMENTED: (errors.NotReady, "does not know this call", "check both versions"),
    # gRPC says so if bytes were altered on the way back; our servers never do.
    Code.UNKNOWN: (errors.Unreachable, "the connection broke", "try again"),
}


def kind_of(error: Exception) -> type[Exception]:
    """Return the kind in STATUS to which `error` belongs; Exception for an unexpected one."""
    return next(kind for kind in STATUS if isinstance(error, kind))


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return the code and the fixed text that a peer gets for `error`."""
    return STATUS[kind_of(error)]


def refusal_of(text: str, peer: str) -> PrivEdgeError:
    """Convert the text of a status, which a server said of one thing among several, to an error."""
    for kind, (_, known) in STATUS.items():
        if known == text and issubclass(kind, PrivEdgeError):
            said = f"{peer}: {text}; {_ADVICE[kind]}"
            return kind(said, 0.0) if kind is errors.BudgetSpent else kind(said)
    return errors.Refused(f"{peer}: refused; ask its operator")


def from_status(error: grpc.RpcError, peer: str) -> PrivEdgeError:
    """Convert a failed call to `peer` ("party 0 (host:port)") to an error of our tree, one line."""
    call: Any = error  # every RpcError a stub raises is also a grpc.Call
    code, text = call.code(), call.details()
    for kind, status in STATUS.items():
        if status == (code, text) and issubclass(kind, PrivEdgeError):
            said = f"{peer}: {text}; {_ADVICE[kind]}"
            if kind in (errors.Busy, errors.Restarting):
                return kind(said, _retry_after_s(call, _LONGEST_RETRY_AFTER_S))
            if kind is errors.BudgetSpent:
                return _spent(f"{peer}: {text}", _retry_after_s(call, _LONGEST_BUDGET_S))
            return kind(said)
    if code in _FROM_GRPC:
        known, reason, advice = _FROM_GRPC[code]
        if code is Code.UNAVAILABLE and (cause := cause_of(text or "")) is not None:
            reason, advice = cause.reason, cause.advice
        return known(f"{peer}: {reason}; {advice}")
    return errors.Refused(f"{peer}: internal error{_logged_as(call)}; ask its operator")


def is_unknown_call(error: grpc.RpcError) -> bool:
    """Return whether the server is of a release that does not know the call."""
    call: Any = error
    return bool(call.code() is Code.UNIMPLEMENTED)


def _spent(said: str, after_s: float) -> errors.BudgetSpent:
    """The error of a spent budget; `after_s` is 0 if the server gave no hint."""
    unit, seconds, _ = next(each for each in _UNITS if after_s >= each[1] * each[2])
    advice = (
        f"there is some again in {math.ceil(after_s / seconds)} {unit}"
        if after_s
        else _ADVICE[errors.BudgetSpent]
    )
    return errors.BudgetSpent(f"{said}; {advice}", after_s)


def _logged_as(call: grpc.Call) -> str:
    error_id = _trailing(call, ERROR_ID)
    return f" {error_id[:16]}" if error_id.isalnum() else ""


def _retry_after_s(call: grpc.Call, at_most_s: float) -> float:
    """The server's hint, which may be missing or anything at all."""
    said = _trailing(call, RETRY_AFTER)
    milliseconds = int(said) if re.fullmatch("[0-9]{1,10}", said) else 0
    return min(milliseconds / 1000, at_most_s)


def _trailing(call: grpc.Call, name: str) -> str:
    for key, value in call.trailing_metadata() or ():
        if key == name and isinstance(value, str):
            return value
    return ""


@contextmanager
def calls_to(peer: str) -> Iterator[None]:
    """Inside the block, a failed gRPC call becomes one of our errors that names `peer`."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_status(error, peer) from None
