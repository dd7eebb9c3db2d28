/**
 * Ask both parties which owner a picture shows.
 *
 * Sees the pictures, both shares of them, and the answers. Each party gets one share, which alone
 * is uniformly random.
 */
import { randomBytes } from "node:crypto";
import { answerShape, readAnswers } from "./answers.js";
import { Canaries, sifted, unsettled, wanted, type Doubt, type Mixed } from "./canaries.js";
import { described, listed, type Cohort, type Parties, type RanCohort } from "./cohort.js";
import { loadConfig, requireValid, type ClientConfig, type Integrity } from "./config.js";
import { PrivedgeError } from "./errors.js";
import type { Facts } from "./evidence.js";
import { exchange } from "./exchange.js";
import { ofRans } from "./model.js";
import { Party } from "./party.js";
import { predicted, requireNoCanaries, type Inputs, type Predictions } from "./predictions.js";
import type { Picture } from "./pictures.js";
import { joined, queryHeader, wordsOf } from "./question.js";
import { retried, type Patience } from "./retry.js";
import { rivalsOf, type Rivals } from "./rivals.js";
import { requireInRange } from "./narrow.js";
import { combine, split } from "./ring.js";
import type { Vector } from "./vectors.js";

const MAX_IMAGES_OF_ONE_SUBJECT = 32;
/** A cohort may change between the call that describes it and the query. */
const TRIES = 3;

export interface Reply {
  /** One for each picture, in order, or one in all with `oneSubject`; null is "unknown", or "no". */
  readonly answers: readonly (string | null)[];
  /** From sending the shares to adding up the answer. */
  readonly seconds: number;
  /** How many canaries went along, all of them answered rightly. */
  readonly canaries: number;
}

/** One picture or several; for a cohort of vectors, one vector or several. */
export type Asked = Picture | Vector | readonly Picture[] | readonly Vector[];

/** What is asked, but for the rows. */
interface Question {
  readonly cohort: RanCohort;
  readonly owner: string | null;
  readonly oneSubject: boolean;
}

type Told = Omit<Facts, "canaries">;

export interface AskOptions {
  readonly cohort: string;
  /** All pictures, at most 32, show one subject and get one answer. */
  readonly oneSubject?: boolean;
}

/** A connection to both parties, which any number of calls may share at once. */
export class Client {
  readonly #parties: Parties;
  readonly #cohorts = new Map<string, Cohort>();
  readonly #rivals = new Map<string, Rivals>();
  readonly #integrity: Integrity | undefined;
  readonly #evidence: string;
  #patience: Patience;
  #closed = false;

  /** Throws ConfigError or CertificateError. It connects with the first call. */
  constructor(config: ClientConfig) {
    const { rpcTimeoutS = 60, retries = 4, integrity, evidence = "." } = requireValid(config);
    this.#integrity = integrity;
    this.#evidence = evidence;
    this.#parties = [new Party(config, "party0"), new Party(config, "party1")];
    this.#patience = { withinMs: 1000 * rpcTimeoutS, retries, answered: false };
  }

  /** A client from a TOML file, as Python's `Client.from_file` reads it. */
  static fromFile(path: string): Client {
    return new Client(loadConfig(path));
  }

  /** Names of the cohorts that both parties serve with the same architecture, sorted. */
  async cohorts(): Promise<string[]> {
    this.#requireOpen();
    return listed(this.#parties, this.#patience);
  }

  /** Throws ManifestMismatch unless both parties say the same, and NotReady without models. */
  async describe(cohort: string): Promise<Cohort> {
    this.#requireOpen();
    const found = await described(this.#parties, cohort, this.#patience);
    this.#patience = { ...this.#patience, answered: true };
    if (found.owners.length === 0) {
      const message = `cohort ${cohort}: no active model yet; upload one first`;
      throw new PrivedgeError("NotReady", message);
    }
    this.#cohorts.set(cohort, found);
    return found;
  }

  /** Find which owner of a cohort each picture, or vector, shows. Throws PrivedgeError. */
  identify(pictures: Asked, options: AskOptions): Promise<Reply> {
    return this.#ask(pictures, options, null);
  }

  /** Whether pictures show one owner: its name for yes, null for no. Throws PrivedgeError. */
  verify(pictures: Asked, owner: string, options: AskOptions): Promise<Reply> {
    return this.#ask(pictures, options, owner);
  }

  /** Let the model that a cohort serves answer for each input. Throws PrivedgeError. */
  async predict(inputs: Inputs, { cohort }: Pick<AskOptions, "cohort">): Promise<Predictions> {
    requireNoCanaries(this.#integrity);
    return this.#whileItChanges(cohort, (found) => {
      this.#requireOpen();
      return predicted(this.#parties, found, inputs, this.#patience);
    });
  }

  /** Close both connections. */
  close(): void {
    this.#closed = true;
    this.#parties.forEach((party) => party.close());
  }

  #requireOpen(): void {
    if (this.#closed) throw new PrivedgeError("Closed", "this client is closed; create a new one");
  }

  async #ask(pictures: Asked, options: AskOptions, owner: string | null): Promise<Reply> {
    const given = Array.isArray(pictures) ? pictures : [pictures];
    if (given.length === 0) throw new PrivedgeError("ImageError", "pictures: none were given");
    return this.#whileItChanges(options.cohort, async (found) => {
      const cohort = { ...found, spec: ofRans(found.spec, found.name) };
      if (owner !== null && !cohort.owners.includes(owner)) {
        throw new PrivedgeError("UnknownModel", `cohort ${cohort.name}: has no owner ${owner}`);
      }
      const words = await Promise.all(given.map((each, at) => wordsOf(cohort.spec, each, at)));
      words.forEach((each) => requireInRange(cohort.spec, each, cohort.wordBits));
      return this.#inBatches(cohort, words, owner, options.oneSubject ?? false);
    });
  }

  /** Use what is known of a cohort, and once more if the cohort has changed meanwhile. */
  async #whileItChanges<T>(name: string, use: (cohort: Cohort) => Promise<T>): Promise<T> {
    for (let left = TRIES - 1; ; left--) {
      const cohort = this.#cohorts.get(name) ?? (await this.describe(name));
      try {
        return await use(cohort);
      } catch (error) {
        const changed = error instanceof PrivedgeError && error.again === "changed";
        if (!changed || left === 0) throw error;
        this.#cohorts.delete(name);
      }
    }
  }

  async #inBatches(
    cohort: RanCohort,
    words: readonly BigUint64Array[],
    owner: string | null,
    oneSubject: boolean,
  ): Promise<Reply> {
    if (oneSubject && words.length > MAX_IMAGES_OF_ONE_SUBJECT) {
      const message = `one subject: at most ${MAX_IMAGES_OF_ONE_SUBJECT} images, not ${words.length}`;
      throw new PrivedgeError("ImageError", message);
    }
    const canaries = await this.#canariesFor(cohort, owner !== null, oneSubject);
    const size = canaries?.room ?? (oneSubject ? words.length : cohort.maxBatch);
    const replies: Reply[] = [];
    for (let start = 0; start < words.length; start += size) {
      const batch = words.slice(start, start + size);
      const question = { cohort, owner, oneSubject };
      const ask = (deadline: Date) => this.#askedOnce(question, batch, canaries, deadline);
      replies.push(await retried(ask, this.#patience));
    }
    return {
      answers: replies.flatMap((reply) => reply.answers),
      seconds: replies.reduce((sum, reply) => sum + reply.seconds, 0),
      canaries: replies.reduce((sum, reply) => sum + reply.canaries, 0),
    };
  }

  /** Undefined for a question without any. */
  async #canariesFor(
    cohort: RanCohort,
    verify: boolean,
    oneSubject: boolean,
  ): Promise<Canaries | undefined> {
    const count = wanted(this.#integrity, cohort, verify, oneSubject);
    if (count === 0) return undefined;
    const known = this.#rivals.get(cohort.rivalsSha256);
    const rivals = known ?? (await rivalsOf(this.#parties, cohort, this.#patience));
    this.#rivals.set(cohort.rivalsSha256, rivals);
    return new Canaries(cohort, rivals, count, verify);
  }

  /**
   * Ask with a fresh id, fresh shares and fresh canaries: nothing of an earlier try is used again, or
   * a party that ends queries could find out which rows matter.
   */
  async #askedOnce(
    question: Question,
    batch: readonly BigUint64Array[],
    canaries: Canaries | undefined,
    deadline: Date,
  ): Promise<Reply> {
    const { cohort, owner } = question;
    const mixed = canaries?.mixed(batch);
    const began = performance.now();
    const asked = await this.#exchanged(question, mixed?.rows ?? batch, false, deadline);
    const seconds = (performance.now() - began) / 1000;
    const named = [...cohort.owners, ...new Array<null>(cohort.publicOwners).fill(null)];
    const names = owner === null ? named : [owner];
    let opened = combine(...asked.shares);
    if (canaries !== undefined && mixed !== undefined) {
      const found = sifted(mixed, asked.shares, names.length, asked.facts, this.#evidence);
      opened = found.opened;
      if (found.doubt) await this.#settle(question, canaries, found.doubt, asked.facts);
    }
    return { answers: readAnswers(opened, names), seconds, canaries: mixed?.canaries.length ?? 0 };
  }

  /** Ask again about a stranger that was named: it must be named again, and no answer is an alarm. */
  async #settle(question: Question, canaries: Canaries, doubt: Doubt, facts: Told): Promise<void> {
    const columns = question.owner === null ? namesOf(question.cohort) : 1;
    const ask = async (deadline: Date) => {
      const mixed: Mixed = canaries.again(doubt);
      const asked = await this.#exchanged(question, mixed.rows, true, deadline);
      sifted(mixed, asked.shares, columns, asked.facts, this.#evidence);
    };
    try {
      for (let time = 0; time < canaries.times; time++) await retried(ask, this.#patience);
    } catch (error) {
      if (!(error instanceof PrivedgeError) || error.code === "IntegrityError") throw error;
      throw unsettled(facts, doubt, error, this.#evidence);
    }
  }

  /** One question to both parties; `again`: it settles a doubt. */
  async #exchanged(
    { cohort, owner, oneSubject }: Question,
    rows: readonly BigUint64Array[],
    again: boolean,
    deadline: Date,
  ): Promise<{ shares: readonly [BigUint64Array, BigUint64Array]; facts: Told }> {
    this.#requireOpen();
    const id = randomBytes(16);
    const header = queryHeader(cohort, rows.length, owner, oneSubject, id, again);
    const { owners, publicOwners, snapshotId: snapshot } = cohort;
    const shape = answerShape(owners, rows.length, owner, oneSubject, publicOwners);
    const shares = await exchange(this.#parties, header, split(joined(rows)), shape, deadline);
    const asked = owner === null ? "identify" : "verify";
    const query = id.toString("hex");
    return { shares, facts: { query, cohort: cohort.name, snapshot, asked, rows: rows.length } };
  }
}

function namesOf({ owners, publicOwners }: Cohort): number {
  return owners.length + publicOwners;
}
