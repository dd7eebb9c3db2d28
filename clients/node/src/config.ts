/** The configuration of a caller: the same TOML file as Python's (docs/reference/config.md). */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parse } from "smol-toml";
import { PrivedgeError, unreadable } from "./errors.js";

export type ServerRole = "party0" | "party1";

/** PEM files, by path. */
export interface TlsFiles {
  readonly ca: string;
  readonly certificate: string;
  /** Readable by its user only. */
  readonly key: string;
  /** Who alone may vouch for a party, in place of `ca`. */
  readonly pins?: { readonly [role in ServerRole]?: string };
}

/** How many canaries a question has (docs/how-to/canaries.md). */
export type Integrity = "none" | "canaries:0" | "canaries:1" | "canaries:3" | "canaries:7";

const INTEGRITIES = ["none", "canaries:0", "canaries:1", "canaries:3", "canaries:7"];

export interface ClientConfig {
  /** HOST:PORT of each party. */
  readonly party0: string;
  readonly party1: string;
  readonly tls: TlsFiles;
  /** The longest that a call may last with all its repetitions, in seconds; 60 by default. */
  readonly rpcTimeoutS?: number;
  /** How often a call is made again that a party was too busy for; 4 by default. */
  readonly retries?: number;
  /** Without it `verify` has three canaries where they can be made, and `identify` none. */
  readonly integrity?: Integrity;
  /** The folder for evidence of wrong answers; the current one by default. */
  readonly evidence?: string;
}

const ADDRESS = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})$/;
const KEYS = ["party0", "party1", "tls", "rpc_timeout_s", "retries", "integrity", "evidence"];
const TLS_KEYS = ["ca", "certificate", "key", "pins"];
const PINS = ["party0", "party1", "dealer", "split", "admin"];

type Table = Record<string, unknown>;

/** Read a file such as parties/samples/client.toml. Relative paths in it start at its folder. */
export function loadConfig(path: string): ClientConfig {
  const file = parsed(path);
  try {
    const tls = tableOf(file, "tls");
    const pins = tls["pins"] === undefined ? {} : tableOf(tls, "pins");
    onlyKeys(file, KEYS);
    onlyKeys(tls, TLS_KEYS);
    onlyKeys(pins, PINS);
    const at = (table: Table, key: string) => resolved(dirname(path), textOf(table, key));
    const pinned = (["party0", "party1"] as const).filter((role) => role in pins);
    return requireValid({
      party0: textOf(file, "party0"),
      party1: textOf(file, "party1"),
      tls: {
        ca: at(tls, "ca"),
        certificate: at(tls, "certificate"),
        key: at(tls, "key"),
        pins: Object.fromEntries(pinned.map((role) => [role, at(pins, role)])),
      },
      rpcTimeoutS: numberOf(file, "rpc_timeout_s", 60),
      retries: numberOf(file, "retries", 4),
      ...("integrity" in file && { integrity: textOf(file, "integrity") as Integrity }),
      ...("evidence" in file && { evidence: at(file, "evidence") }),
    });
  } catch (error) {
    throw error instanceof PrivedgeError ? configError(`${path}: ${error.message}`) : error;
  }
}

/** Return `config` if its addresses and numbers are valid. Throws ConfigError. */
export function requireValid(config: ClientConfig): ClientConfig {
  for (const role of ["party0", "party1"] as const) {
    // A scheme is refused, because gRPC would follow `unix:`.
    const port = ADDRESS.exec(config[role] ?? "")?.[1];
    if (port === undefined || Number(port) > 65535) {
      throw configError(`${role}: must be HOST:PORT with a port up to 65535`);
    }
  }
  const { rpcTimeoutS = 60, retries = 4 } = config;
  if (!(rpcTimeoutS > 0 && rpcTimeoutS <= 3600)) {
    throw configError("rpc_timeout_s: must be above 0 and at most 3600");
  }
  if (!(Number.isInteger(retries) && retries >= 0 && retries <= 100)) {
    throw configError("retries: must be a whole number from 0 to 100");
  }
  if (config.integrity !== undefined && !INTEGRITIES.includes(config.integrity)) {
    throw configError(`integrity: one of ${INTEGRITIES.join(", ")}`);
  }
  return config;
}

function parsed(path: string): Table {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw configError(`${path}: ${unreadable(error)}`);
  }
  try {
    return parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    throw configError(`${path}: not a TOML file: ${(error as Error).message.split("\n")[0]}`);
  }
}

function onlyKeys(table: Table, known: readonly string[]): void {
  const unknown = Object.keys(table).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  const hint = unknown === "insecure_loopback" ? "; this client speaks TLS only" : "";
  throw configError(`${unknown}: unknown key${hint}`);
}

function tableOf(table: Table, key: string): Table {
  const found = table[key];
  if (typeof found !== "object" || found === null || Array.isArray(found)) {
    throw configError(`${key}: a table is needed`);
  }
  return found as Table;
}

function textOf(table: Table, key: string): string {
  const found = table[key];
  if (typeof found !== "string") throw configError(`${key}: a text is needed`);
  return found;
}

function numberOf(table: Table, key: string, otherwise: number): number {
  const found = table[key] ?? otherwise;
  if (typeof found !== "number") throw configError(`${key}: a number is needed`);
  return found;
}

function resolved(folder: string, path: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : resolve(folder, path);
}

function configError(message: string): PrivedgeError {
  return new PrivedgeError("ConfigError", message);
}
