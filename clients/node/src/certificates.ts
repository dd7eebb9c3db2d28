/** A caller's PEM files, checked before TLS uses them: TLS itself would not say what is wrong. */
import { X509Certificate, createPrivateKey, type KeyObject } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import type { TlsFiles } from "./config.js";
import { PrivedgeError, unreadable } from "./errors.js";

/** Who calls, and what TLS gets. */
export interface Caller {
  readonly role: string;
  readonly name: string;
  readonly certificate: Buffer;
  readonly key: Buffer;
}

const IDENTITY = /^spiffe:\/\/privedge\/([a-z0-9]+)\/([A-Za-z0-9][A-Za-z0-9._-]{0,63})$/;
const OWNER_NAME = /^(?!unknown$)[a-z0-9][a-z0-9._-]{0,63}$/i;
const CURVES = ["prime256v1", "secp384r1"];

/** Read and check the files. Throws CertificateError, which names the file. */
export function readCaller(tls: TlsFiles): Caller {
  const certificate = readPem(tls.certificate);
  const own = leafOf(tls.certificate, certificate);
  requireDates(tls.certificate, own);
  requirePrivate(tls.key);
  const key = readPem(tls.key);
  const parsed = keyOf(tls.key, key);
  if (!CURVES.includes(parsed.asymmetricKeyDetails?.namedCurve ?? "")) {
    throw certificateError(
      `${tls.key}: not an ECDSA key on P-256 or P-384, which TLS 1.3 needs here`,
    );
  }
  if (!own.checkPrivateKey(parsed)) {
    throw certificateError(`${tls.key}: is not the key of ${tls.certificate}`);
  }
  const [role, name] = identityIn(own.subjectAltName) ?? [];
  if (role === undefined || name === undefined) {
    throw certificateError(`${tls.certificate}: names no privedge role; issue another one`);
  }
  if (role === "owner" && !isOwnerName(name)) {
    throw certificateError(
      `${tls.certificate}: no owner can be called ${name}, which is the answer for strangers; ` +
        "issue another one",
    );
  }
  return { role, name, certificate, key };
}

/** Whether an owner may have this name: "unknown" is the answer for strangers. */
export function isOwnerName(name: string): boolean {
  return OWNER_NAME.test(name);
}

/** The role and the name in a certificate's alternative names, if there is exactly one. */
export function identityIn(names: string | undefined): [string, string] | undefined {
  // Node quotes names that hold a comma: none of ours does.
  if (names === undefined || names.includes('"')) return undefined;
  const uris = names.split(", ").filter((each) => each.startsWith("URI:spiffe://privedge/"));
  const found = uris.length === 1 ? IDENTITY.exec(uris[0]!.slice(4)) : null;
  return found === null ? undefined : [found[1]!, found[2]!];
}

/** Read whom to believe: one certificate or several. Throws CertificateError. */
export function readTrusted(path: string): Buffer {
  const pem = readPem(path);
  leafOf(path, pem);
  return pem;
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw certificateError(`${path}: ${unreadable(error)}`);
  }
}

function leafOf(path: string, pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw certificateError(`${path}: not a certificate in PEM form`);
  }
}

function keyOf(path: string, pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw certificateError(`${path}: not an unencrypted private key in PEM form`);
  }
}

function requireDates(path: string, certificate: X509Certificate): void {
  const now = Date.now();
  if (now > Date.parse(certificate.validTo)) {
    throw certificateError(`${path}: has expired; issue another one`);
  }
  if (now < Date.parse(certificate.validFrom)) {
    throw certificateError(`${path}: is not valid yet; check this machine's clock`);
  }
}

/** A key of root's may be read by its group (0640), any other one by its user only (0600). */
function requirePrivate(path: string): void {
  const user = process.geteuid?.();
  const found = statSync(path, { throwIfNoEntry: false });
  if (user === undefined || found === undefined) return;
  if (found.uid !== 0 && found.uid !== user) {
    throw certificateError(`${path}: belongs to another user; it must be this user's or root's`);
  }
  if (found.mode & 0o777 & ~(found.uid === 0 ? 0o740 : 0o700)) {
    throw certificateError(`${path}: others can read or change this key; run chmod 600 ${path}`);
  }
}

function certificateError(message: string): PrivedgeError {
  return new PrivedgeError("CertificateError", message);
}
