/**
 * Canary rows: questions with known answers, mixed into a batch (docs/protocol.md#canaries), as
 * privedge/client/canaries.py makes them.
 *
 * A party or dealer that deviates can change any answer. But the shares of all rows are uniform, so
 * it cannot tell for which of them the client knows the answer already. Draws and order are the
 * operating system's, afresh for every try.
 */
import { randomBytes, randomInt } from "node:crypto";
import type { RanCohort } from "./cohort.js";
import type { Integrity } from "./config.js";
import { PrivedgeError } from "./errors.js";
import { kept, type Facts } from "./evidence.js";
import type { Rivals } from "./rivals.js";
import { combine, encode } from "./ring.js";
import { inputShape, sizeOf, type RanSpec } from "./spec.js";

/** All rows of one query together. */
const SIZES = [2, 4, 8, 16, 32, 64];
/** `verify` has so many where nothing is said. */
const USUAL = 3;
/** A stranger that was named is asked about among so many; budgets keep as many for it. */
const ROWS_ASKED_AGAIN = 16;
/** A public owner's canary is so much of the squared distance to the nearest other rival away. */
const AWAY = 1 / 32;
/** Of shorter vectors, some of the strangers drawn here would be like an owner. */
const LEAST_VALUES = 64;

export type Kind = "public owner" | "stranger" | "stranger, asked again";

/** Where a canary is, and the column that must be 1 in its answer; null for none. */
export interface Canary {
  readonly row: number;
  readonly kind: Kind;
  readonly column: number | null;
}

/** A stranger that was named: its words, the column that named it, and facts for evidence. */
export interface Doubt {
  readonly words: BigUint64Array;
  readonly column: number;
  readonly canaries: Facts["canaries"];
}

/** The rows of one query. `own` is where the client's rows are; none if a doubt is to be settled. */
export interface Mixed {
  readonly rows: readonly BigUint64Array[];
  readonly own: readonly number[];
  readonly canaries: readonly Canary[];
}

interface Drawn {
  readonly words: BigUint64Array;
  readonly kind: Kind;
  readonly column: number | null;
}

/**
 * How many canaries a question has. Throws ConfigError for a question that cannot have the ones that
 * were asked for.
 */
export function wanted(
  integrity: Integrity | undefined,
  cohort: Pick<RanCohort, "name" | "spec" | "rivals" | "publicOwners" | "maxBatch">,
  verify: boolean,
  oneSubject: boolean,
): number {
  if (integrity === undefined) {
    const { layers } = cohort.spec;
    const able = cohort.rivals > 0 && layers.length === 1 && layers[0]!.kind === "subspace";
    return able && verify && !oneSubject && cohort.maxBatch > USUAL ? USUAL : 0;
  }
  const count = integrity === "none" ? 0 : Number(integrity.slice("canaries:".length));
  if (count > 0 && oneSubject) {
    throw refused("canaries: images of one subject get one answer; set integrity = none");
  }
  if (count > 0 && (verify ? cohort.rivals : cohort.publicOwners) === 0) {
    const lacks = verify ? "public rivals" : "public owners";
    throw refused(`canaries: cohort ${cohort.name} has no ${lacks}; set integrity = none`);
  }
  return count;
}

/** The canaries of one kind of question to one cohort. */
export class Canaries {
  /** How many rows of the client fit into one query. */
  readonly room: number;
  /** How many questions settle a doubt: guessing its row in all has 1 chance in 16 or less. */
  readonly times: number;
  readonly #rivals: Rivals;
  readonly #count: number;
  readonly #againRows: number;
  readonly #strangers: boolean;
  readonly #public: number;
  readonly #firstColumn: number | null;

  /** `count`: so many or more in a query. Throws ConfigError if the cohort takes too few rows. */
  constructor(
    cohort: Pick<RanCohort, "spec" | "owners" | "publicOwners" | "maxBatch">,
    rivals: Rivals,
    count: number,
    verify: boolean,
  ) {
    const largest = SIZES.filter((size) => size <= cohort.maxBatch).at(-1) ?? 0;
    if (largest <= count) {
      throw refused(`${count} canaries: the cohort takes ${cohort.maxBatch} rows at once`);
    }
    this.room = largest - count;
    this.#count = count;
    this.#againRows = Math.min(ROWS_ASKED_AGAIN, largest);
    this.times = Math.ceil(Math.log2(ROWS_ASKED_AGAIN) / Math.log2(this.#againRows));
    this.#rivals = rivals;
    this.#strangers = tellApart(cohort.spec) && rivals.length > 1;
    // To `verify` the answer is no, whichever rival it is.
    this.#public = verify ? rivals.length : cohort.publicOwners;
    this.#firstColumn = verify ? null : cohort.owners.length;
  }

  /** Put canaries among the client's rows, `room` at most. */
  mixed(own: readonly BigUint64Array[]): Mixed {
    return this.#inOrder(own, own.length + this.#count, []);
  }

  /** Put fresh canaries around a stranger that was named, and no own row. */
  again({ words, column }: Doubt): Mixed {
    return this.#inOrder([], this.#againRows, [{ words, kind: "stranger, asked again", column }]);
  }

  #inOrder(own: readonly BigUint64Array[], least: number, more: readonly Drawn[]): Mixed {
    const size = SIZES.find((each) => each >= least)!;
    const kinds = this.#kinds(size - own.length - more.length);
    const drawn = [...more, ...kinds.map((kind) => this.#drawn(kind))];
    const order = shuffled(size);
    const rows = new Array<BigUint64Array>(size);
    [...own, ...drawn.map(({ words }) => words)].forEach((words, at) => (rows[order[at]!] = words));
    const canaries = drawn.map(({ kind, column }, at) => {
      return { row: order[own.length + at]!, kind, column };
    });
    return { rows, own: order.slice(0, own.length), canaries };
  }

  /** Half of them strangers, or one more; of a single one by chance. To `verify` all. */
  #kinds(count: number): Kind[] {
    let known = count > 1 ? Math.floor(count / 2) : randomInt(2);
    if (!this.#strangers) known = count;
    else if (this.#firstColumn === null) known = 0;
    return Array.from({ length: count }, (_, at) => (at < known ? "public owner" : "stranger"));
  }

  #drawn(kind: Kind): Drawn {
    const signs = randomSigns(this.#rivals[0]!.length);
    if (kind === "stranger") {
      return { words: wordsOf(stranger(this.#rivals, signs)), kind, column: null };
    }
    const at = randomInt(this.#public);
    const column = this.#firstColumn === null ? null : this.#firstColumn + at;
    return { words: wordsOf(near(this.#rivals, at, signs)), kind, column };
  }
}

/**
 * Add up the answer shares, of `columns` words a row, look at the canaries', and return the own rows'
 * words. The doubt is for `Canaries.again`: before it is settled, no answer may be used.
 *
 * Throws IntegrityError if a canary's answer is wrong; it names the file of evidence in `folder`.
 */
export function sifted(
  mixed: Mixed,
  shares: readonly [BigUint64Array, BigUint64Array],
  columns: number,
  question: Omit<Facts, "canaries">,
  folder: string,
): { opened: BigUint64Array; doubt: Doubt | undefined } {
  const sum = combine(...shares);
  const row = (words: BigUint64Array, at: number) =>
    words.subarray(at * columns, (at + 1) * columns);
  const opened = new BigUint64Array(mixed.own.length * columns);
  mixed.own.forEach((at, place) => opened.set(row(sum, at), place * columns));
  const wrong = mixed.canaries.filter(({ row: at, column }) =>
    row(sum, at).some((word, place) => word !== (place === column ? 1n : 0n)),
  );
  if (wrong.length === 0) return { opened, doubt: undefined };
  const canaries = mixed.canaries.map((each) => {
    return { ...each, shares: shares.map((share) => [...row(share, each.row)]) };
  });
  const found = wrong[0]!;
  const answer = [...row(sum, found.row)];
  const named = answer.filter((word) => word !== 0n).length === 1 && answer.includes(1n);
  if (mixed.own.length > 0 && wrong.length === 1 && found.kind === "stranger" && named) {
    const words = mixed.rows[found.row]!;
    return { opened, doubt: { words, column: answer.indexOf(1n), canaries } };
  }
  const evidence = kept(folder, { ...question, canaries });
  throw new PrivedgeError(
    "IntegrityError",
    `${wrong.length} of ${canaries.length} canaries came back wrong: one of the three operators ` +
      `deviated; no answer is reported, tell all three (${evidence})`,
  );
}

/** The error of a doubt that could not be settled: whoever forged the answer could refuse that. */
export function unsettled(
  question: Omit<Facts, "canaries">,
  doubt: Doubt,
  error: PrivedgeError,
  folder: string,
): PrivedgeError {
  const evidence = kept(folder, { ...question, canaries: doubt.canaries });
  return new PrivedgeError(
    "IntegrityError",
    "a canary was named, and asking about it again was refused: one of the three operators may " +
      `have deviated; no answer is reported, tell all three (${error.code}; ${evidence})`,
  );
}

/** Nobody: the mean of the rivals, and with these signs their spread in each value. */
export function stranger(rivals: Rivals, signs: readonly number[]): Float64Array {
  const row = Float64Array.from(signs, (sign, at) => {
    const column = rivals.map((rival) => rival[at]!);
    const mean = sumOf(column) / column.length;
    const spread = Math.sqrt(sumOf(column.map((value) => (value - mean) ** 2)) / column.length);
    return mean + sign * spread;
  });
  return asLongAs(row, rivals[0]!);
}

/** A row near a rival's, in the direction of these signs. */
export function near(rivals: Rivals, at: number, signs: readonly number[]): Float64Array {
  const row = rivals[at]!;
  const others = rivals.filter((_, other) => other !== at);
  const squares = others.map((other) =>
    sumOf(row.map((value, place) => (value - other[place]!) ** 2)),
  );
  const nearest = others.length > 0 ? Math.min(...squares) : sumOf(row.map((value) => value ** 2));
  const step = Math.sqrt((AWAY * nearest) / row.length);
  return asLongAs(
    row.map((value, place) => value + step * signs[place]!),
    row,
  );
}

/** Fixed-point words of a canary, whose values are float32 as those of features. */
export function wordsOf(row: Float64Array): BigUint64Array {
  return encode(Float32Array.from(row), "canaries");
}

/** Whether a vector that is drawn at random is like nobody: not so of pictures' own maps. */
function tellApart(spec: RanSpec): boolean {
  const { kind } = spec.features;
  return (kind === "encoder" || kind === "vector") && sizeOf(inputShape(spec)) >= LEAST_VALUES;
}

/** A cohort may want all rows of one length. */
function asLongAs(row: Float64Array, like: Float64Array): Float64Array {
  const [length, wantedLength] = [row, like].map((each) =>
    Math.sqrt(sumOf(each.map((v) => v ** 2))),
  );
  return length! > 0 ? row.map((value) => value * (wantedLength! / length!)) : row;
}

function sumOf(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

function randomSigns(count: number): number[] {
  return Array.from(randomBytes(count), (byte) => (byte & 1 ? 1 : -1));
}

/** 0 to count - 1 in a uniform order: it hides which rows matter. */
function shuffled(count: number): number[] {
  const order = Array.from({ length: count }, (_, at) => at);
  for (let last = count - 1; last > 0; last--) {
    const other = randomInt(last + 1);
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}

function refused(message: string): PrivedgeError {
  return new PrivedgeError("ConfigError", message);
}
