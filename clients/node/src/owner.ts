/**
 * Upload a trained model, list one's models, delete one.
 *
 * Sees the model in the clear, both shares of it and both salts. Each party is sent its own only.
 */
import { createHash, randomBytes } from "node:crypto";
import { Readable, type Writable } from "node:stream";
import { isDeepStrictEqual } from "node:util";
import { readCaller } from "./certificates.js";
import { described, type Parties } from "./cohort.js";
import { loadConfig, requireValid, type ClientConfig } from "./config.js";
import { PrivedgeError } from "./errors.js";
import { cut } from "./exchange.js";
import type { ModelManifest, TensorEntry, UploadModelRequest } from "./generated/party.js";
import { Party } from "./party.js";
import { requireNarrow } from "./narrow.js";
import { readRan, type Ran } from "./ran.js";
import type { Patience } from "./retry.js";
import { RING_BITS, encode, split, toBytes } from "./ring.js";
import { parameters } from "./spec.js";
import { fromStatus } from "./status.js";

/** One party's model, as it reports it. */
export interface ModelFacts {
  readonly modelId: string;
  readonly cohort: string;
  readonly owner: string;
  /** "uploaded", "prepared", "active", "quarantined" or "retired". */
  readonly state: string;
  readonly shareBytes: number;
  readonly createdAt: Date;
}

export interface Receipt {
  readonly modelId: string;
  /** The id of the cohort's new set of models. */
  readonly snapshotId: string;
  readonly bytesPerParty: number;
}

/** What is drawn for one upload, and for no other. */
export interface Draws {
  readonly modelId: string;
  readonly salts: readonly [Buffer, Buffer];
  readonly split: (words: BigUint64Array, name: string) => [BigUint64Array, BigUint64Array];
}

/** One upload: the manifest, and each party's shares of all tensors, as they are sent. */
export interface Halves {
  readonly manifest: ModelManifest;
  readonly shares: readonly [Buffer[], Buffer[]];
}

const SALT_BYTES = 32;
const MOST_MODELS = 2 ** 24;
const MODEL_ID_BYTES = 16;
const WITHDRAWN_WITHIN: Patience = { withinMs: 5_000, retries: 0, answered: false };

export class Owner {
  readonly #name: string;
  readonly #parties: Parties;
  readonly #patience: Patience;

  /** Throws ConfigError or CertificateError. It connects with the first call. */
  constructor(config: ClientConfig) {
    const { rpcTimeoutS = 60, retries = 4 } = requireValid(config);
    this.#name = readCaller(config.tls).name;
    this.#parties = [new Party(config, "party0"), new Party(config, "party1")];
    this.#patience = { withinMs: 1000 * rpcTimeoutS, retries, answered: false };
  }

  /** An owner from a TOML file, as Python's `Owner.from_file` reads it. */
  static fromFile(path: string): Owner {
    return new Owner(loadConfig(path));
  }

  /**
   * Share the model of a .ran file with both parties and make it the owner's one of the cohort.
   *
   * Throws before anything is sent if the model does not fit. If a party refuses later, the shares
   * are deleted again from every party that can be reached. They stay if the activation ends
   * without an answer, because the model may be active.
   */
  async upload(path: string, { cohort }: { readonly cohort: string }): Promise<Receipt> {
    const ran = await readRan(path);
    if (ran.owner !== this.#name) {
      throw checkpointError(`${path}: is ${ran.owner}'s, the certificate names ${this.#name}`);
    }
    const { specDigest, wordBits } = await this.#fitting(ran, cohort);
    const draws = freshDraws();
    const halves = halvesOf(ran, cohort, specDigest, draws, wordBits);
    const { modelId } = halves.manifest;
    try {
      await this.#uploaded(halves, draws.salts);
    } catch (error) {
      await this.#withdraw(modelId);
      throw error;
    }
    const snapshotId = await this.#activated(modelId);
    const bytesPerParty = halves.shares[0].reduce((sum, words) => sum + words.byteLength, 0);
    return { modelId, snapshotId, bytesPerParty };
  }

  /** This owner's models at party 0, which decides which are active; the newest comes first. */
  async models(cohort = ""): Promise<ModelFacts[]> {
    const [party0] = this.#parties;
    const found: ModelFacts[] = [];
    let pageToken = "";
    do {
      const asked = { cohort, pageToken };
      const page = await party0.told(party0.client.listModels, asked, this.#patience);
      for (const { shareBytes, createdAt, ...row } of page.models) {
        const created = new Date(1000 * Number(createdAt));
        found.push({ ...row, shareBytes: Number(shareBytes), createdAt: created });
      }
      // No party can list models for ever.
      pageToken = page.models.length > 0 && found.length < MOST_MODELS ? page.nextPageToken : "";
    } while (pageToken !== "");
    return found;
  }

  /** Delete a model from party 0, then from party 1. It may be repeated. */
  async delete(modelId: string): Promise<void> {
    for (const party of this.#parties) await deleted(party, modelId, this.#patience);
  }

  close(): void {
    this.#parties.forEach((party) => party.close());
  }

  /** The digest of the cohort's architecture, which must be the model's, and its words' bits. */
  async #fitting(ran: Ran, cohort: string): Promise<{ specDigest: string; wordBits: number }> {
    const { spec, specJson, wordBits } = await described(this.#parties, cohort, this.#patience, {
      names: false,
    });
    if (!isDeepStrictEqual(spec, ran.spec)) {
      throw checkpointError(`cohort ${cohort}: needs another architecture than this model has`);
    }
    return { specDigest: createHash("sha256").update(specJson).digest("hex"), wordBits };
  }

  /** Send both shares at once. A failure at one party ends the call to the other. */
  async #uploaded({ manifest, shares }: Halves, salts: readonly [Buffer, Buffer]): Promise<void> {
    const calls = this.#parties.map((party, at) =>
      uploading(party, uploadRequests(manifest, salts[at]!, shares[at]!), this.#patience.withinMs),
    );
    try {
      await Promise.all(calls.map((call) => call.done));
    } catch (error) {
      calls.forEach((call) => call.cancel());
      await Promise.allSettled(calls.map((call) => call.done));
      throw error;
    }
  }

  async #activated(modelId: string): Promise<string> {
    const [party0] = this.#parties;
    try {
      const answer = await party0.told(party0.client.activateModel, { modelId }, this.#patience);
      return answer.snapshotId;
    } catch (error) {
      const unknown = error instanceof PrivedgeError && mayBeActive(error);
      if (!unknown) await this.#withdraw(modelId);
      throw error;
    }
  }

  /** Delete both shares. A party that cannot be reached keeps its own. */
  async #withdraw(modelId: string): Promise<void> {
    for (const party of this.#parties) {
      await deleted(party, modelId, WITHDRAWN_WITHIN).catch(() => {});
    }
  }
}

/** Split every tensor, and commit to each share. */
export function halvesOf(
  ran: Ran,
  cohort: string,
  specDigest: string,
  draws: Draws,
  wordBits = 0,
): Halves {
  const shares: [Buffer[], Buffer[]] = [[], []];
  const tensors: TensorEntry[] = [];
  const shapes = parameters(ran.spec);
  for (const [name, values] of ran.tensors) {
    // A threshold is compared, and never multiplied: it stays wide.
    const bits = name === "threshold" ? 0 : wordBits;
    const words = encode(values, `the model: ${name}`);
    requireNarrow(words, bits, `the model: ${name}`);
    const pair = draws.split(words, name).map((share) => toBytes(share, bits || RING_BITS));
    const commitments = pair.map((share, party) => commitment(draws.salts[party]!, name, share));
    const shape = shapes.get(name)!.map(BigInt);
    tensors.push({ name, shape, commitments, wordBits: bits === RING_BITS ? 0 : bits });
    pair.forEach((share, party) => shares[party]!.push(share));
  }
  return {
    manifest: { modelId: draws.modelId, cohort, owner: ran.owner, specDigest, tensors },
    shares,
  };
}

/** The messages to one party: the header with its own salt, then its own share in chunks. */
export function* uploadRequests(
  manifest: ModelManifest,
  salt: Buffer,
  shares: readonly Buffer[],
): Generator<UploadModelRequest> {
  yield { part: { $case: "header", value: { manifest, salt } } };
  for (const share of shares) {
    for (const words of cut(share)) yield { part: { $case: "words", value: words } };
  }
}

function freshDraws(): Draws {
  const salts = [randomBytes(SALT_BYTES), randomBytes(SALT_BYTES)] as const;
  return { modelId: randomBytes(MODEL_ID_BYTES).toString("hex"), salts, split };
}

function commitment(salt: Buffer, name: string, share: Buffer): Buffer {
  return createHash("sha256").update(salt).update(`${name}\0`).update(share).digest();
}

function uploading(party: Party, requests: Iterable<UploadModelRequest>, withinMs: number) {
  let cancel = () => {};
  const done = new Promise<void>((resolve, reject) => {
    const options = { deadline: new Date(Date.now() + withinMs) };
    const call = party.client.uploadModel(options, (error) =>
      error ? reject(fromStatus(error, party.name)) : resolve(),
    );
    // What goes wrong is told to the callback.
    call.on("error", () => {});
    Readable.from(requests).pipe(call as unknown as Writable);
    cancel = () => call.cancel();
  });
  return { done, cancel: () => cancel() };
}

async function deleted(party: Party, modelId: string, patience: Patience): Promise<void> {
  await party.told(party.client.deleteModel, { modelId }, patience);
}

function mayBeActive({ again, code }: PrivedgeError): boolean {
  return (
    again === "lost" || again === "started" || code === "DeadlineExceeded" || code === "Cancelled"
  );
}

function checkpointError(message: string): PrivedgeError {
  return new PrivedgeError("CheckpointError", message);
}
