// Written by tools/reference.py from the tables in privedge/rpc; do not edit.

/** For how long a refused call is made again. */
export type Again = "never" | "place" | "started" | "lost" | "changed";

export interface Refusal {
  readonly status: string;
  readonly text: string;
  readonly code: string;
  readonly advice: string;
  readonly again: Again;
}

/** What servers of ours say: status and text together name the refusal. */
export const REFUSALS: readonly Refusal[] = [
  {"status": "INVALID_ARGUMENT", "text": "malformed request", "code": "ShareError", "advice": "check that both sides run the same version", "again": "never"},
  {"status": "NOT_FOUND", "text": "unknown model", "code": "UnknownModel", "advice": "list the models with `privedge models list`", "again": "never"},
  {"status": "NOT_FOUND", "text": "unknown cohort", "code": "UnknownCohort", "advice": "check the cohort's name with the operator", "again": "never"},
  {"status": "ALREADY_EXISTS", "text": "this id was used before", "code": "AlreadyExists", "advice": "try again with a fresh id", "again": "never"},
  {"status": "ALREADY_EXISTS", "text": "this person is already among the owners", "code": "AlreadyEnrolled", "advice": "upload with the name of before, or ask the operators; the model was not activated", "again": "never"},
  {"status": "FAILED_PRECONDITION", "text": "the check of new models refused this model", "code": "ModelRefused", "advice": "find out why with `privedge check`, or ask the operators to release it; it is kept, and not active", "again": "never"},
  {"status": "FAILED_PRECONDITION", "text": "the operators' settings differ", "code": "TermsDiffer", "advice": "tell both operators; their logs say what differs", "again": "never"},
  {"status": "FAILED_PRECONDITION", "text": "not ready", "code": "NotReady", "advice": "upload and activate a model first (two owners', for pictures without an encoder)", "again": "never"},
  {"status": "FAILED_PRECONDITION", "text": "the operators' settings of this cohort differ", "code": "CohortDiffers", "advice": "tell both operators; their logs say what differs", "again": "never"},
  {"status": "FAILED_PRECONDITION", "text": "the parties hold different things", "code": "ManifestMismatch", "advice": "upload the model again to both parties", "again": "never"},
  {"status": "ABORTED", "text": "the cohort has changed", "code": "SnapshotChanged", "advice": "ask again", "again": "changed"},
  {"status": "ABORTED", "text": "the parties disagree about this run", "code": "TranscriptMismatch", "advice": "ask again; tell the operator if it happens twice", "again": "never"},
  {"status": "UNAUTHENTICATED", "text": "the certificate is accepted no longer", "code": "CertificateEnded", "advice": "renew it if it has expired; if not, ask the operator", "again": "never"},
  {"status": "PERMISSION_DENIED", "text": "not allowed", "code": "NotAllowed", "advice": "use a certificate of the right role: owners upload, clients ask; admins: be on this server's list `admins`", "again": "never"},
  {"status": "RESOURCE_EXHAUSTED", "text": "its disk is full", "code": "DiskFull", "advice": "tell its operator, and try again later", "again": "never"},
  {"status": "RESOURCE_EXHAUSTED", "text": "too many calls at once", "code": "Busy", "advice": "try again in a moment", "again": "place"},
  {"status": "RESOURCE_EXHAUSTED", "text": "the budget is spent", "code": "BudgetSpent", "advice": "ask again later, or ask the operators for more", "again": "never"},
  {"status": "RESOURCE_EXHAUSTED", "text": "a limit was reached", "code": "LimitExceeded", "advice": "send less, or try again later", "again": "never"},
  {"status": "DATA_LOSS", "text": "bytes do not match their digest", "code": "DigestMismatch", "advice": "send it again; if it was a query, tell the operator of a damaged model", "again": "never"},
  {"status": "DATA_LOSS", "text": "the dealer dealt wrong randomness", "code": "WrongRandomness", "advice": "tell both operators; nothing is answered until they have acted", "again": "never"},
  {"status": "UNAVAILABLE", "text": "starting, or about to end", "code": "Restarting", "advice": "try again in a moment", "again": "started"},
  {"status": "UNAVAILABLE", "text": "a part of the service is down", "code": "Unreachable", "advice": "try again in a moment", "again": "lost"},
  {"status": "DEADLINE_EXCEEDED", "text": "the deadline passed", "code": "DeadlineExceeded", "advice": "try again, or raise rpc_timeout_s", "again": "never"},
];

/** What gRPC itself says: the status alone counts. */
export const FROM_GRPC: readonly Refusal[] = [
  {"status": "UNAVAILABLE", "text": "cannot be reached", "code": "Unreachable", "advice": "the connection was lost; check that it is running, and try again", "again": "lost"},
  {"status": "DEADLINE_EXCEEDED", "text": "the deadline passed", "code": "DeadlineExceeded", "advice": "raise rpc_timeout_s", "again": "never"},
  {"status": "RESOURCE_EXHAUSTED", "text": "too busy or too large", "code": "LimitExceeded", "advice": "try again later", "again": "never"},
  {"status": "UNAUTHENTICATED", "text": "not authenticated", "code": "NotAllowed", "advice": "check the certificate's role", "again": "never"},
  {"status": "PERMISSION_DENIED", "text": "not allowed", "code": "NotAllowed", "advice": "check the certificate's role", "again": "never"},
  {"status": "CANCELLED", "text": "the call was cancelled", "code": "Cancelled", "advice": "try again", "again": "lost"},
  {"status": "INVALID_ARGUMENT", "text": "malformed request", "code": "ShareError", "advice": "check both versions", "again": "never"},
  {"status": "UNIMPLEMENTED", "text": "does not know this call", "code": "NotReady", "advice": "check both versions", "again": "never"},
  {"status": "UNKNOWN", "text": "the connection broke", "code": "Unreachable", "advice": "try again", "again": "lost"},
];
