/**
 * A failed call as one of our errors, by the table that the servers use too.
 *
 * A peer's text is only compared, never shown.
 */
import { status, type ServiceError } from "@grpc/grpc-js";
import { PrivedgeError } from "./errors.js";
import { FROM_GRPC, REFUSALS } from "./generated/refusals.js";

const LONGEST_RETRY_AFTER_MS = 60_000;

/** Why a connection was not made: what Node says, what is the matter, the cure. */
const CAUSES: readonly (readonly [RegExp, string, string])[] = [
  [/ECONNREFUSED/, "refuses connections", "check that it is running and that the port is right"],
  [/ENOTFOUND|EAI_AGAIN|Name resolution failed/, "its host name is unknown", "check the address"],
  [
    /certificate has expired|CERT_HAS_EXPIRED/,
    "its certificate, or one of its authority, has expired",
    "tell its operator to renew it, and check this machine's clock",
  ],
  [
    /certificate is not yet valid/,
    "its certificate is not valid yet",
    "check the clocks of both machines",
  ],
  [
    /unable to get|self[- ]signed|unable to verify/,
    "its certificate is of an authority that is not trusted here",
    "compare `ca`, or the pin, with the authority that issued it",
  ],
  [
    /is another server/,
    "is another server than the one asked for",
    "check the addresses; party 0 and party 1 may be swapped",
  ],
  [
    /protocol version|no shared cipher|handshake failure/,
    "has no TLS 1.3, or a key that is not ECDSA",
    "use a certificate on P-256 and TLS 1.3",
  ],
  [/wrong version number/, "does not speak TLS", "check the port"],
  [
    /alert unknown ca|alert certificate|bad certificate/,
    "refuses this side's certificate",
    "compare the authorities that both sides trust",
  ],
  [
    /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/,
    "does not answer",
    "check the address, the network and firewalls",
  ],
];

/** `peer` is for the message: "party 0 (host:port)". */
export function fromStatus(failure: unknown, peer: string): unknown {
  if (!isServiceError(failure)) return failure;
  const code = status[failure.code];
  const ours = REFUSALS.find((each) => each.status === code && each.text === failure.details);
  if (ours !== undefined) {
    const message = `${peer}: ${ours.text}; ${ours.advice}`;
    return new PrivedgeError(ours.code, message, ours.again, retryAfterMs(failure));
  }
  const known = FROM_GRPC.find((each) => each.status === code);
  if (known === undefined) {
    return new PrivedgeError(
      "Refused",
      `${peer}: internal error${loggedAs(failure)}; ask its operator`,
    );
  }
  const cause = code === "UNAVAILABLE" && CAUSES.find(([mark]) => mark.test(failure.details));
  const [reason, advice] = cause ? [cause[1], cause[2]] : [known.text, known.advice];
  return new PrivedgeError(known.code, `${peer}: ${reason}; ${advice}`, known.again);
}

function isServiceError(failure: unknown): failure is ServiceError {
  return failure instanceof Error && "code" in failure && "details" in failure;
}

/** The id under which the server has logged the error. */
function loggedAs(failure: ServiceError): string {
  const said = trailing(failure, "privedge-error-id");
  return /^[0-9A-Za-z]{1,16}$/.test(said) ? ` ${said}` : "";
}

/** The server's hint, which may be missing or anything at all. */
function retryAfterMs(failure: ServiceError): number {
  const said = trailing(failure, "retry-after-ms");
  return /^[0-9]{1,6}$/.test(said) ? Math.min(Number(said), LONGEST_RETRY_AFTER_MS) : 0;
}

function trailing({ metadata }: ServiceError, key: string): string {
  return String(metadata?.get(key)[0] ?? "");
}
