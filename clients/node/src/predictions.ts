/**
 * Ask a cohort that serves a model that is no RAN, as privedge/client/predictions.py does: inputs are
 * numbers as they are, and answers are labels or scores.
 */
import { randomBytes } from "node:crypto";
import type { Cohort, Parties } from "./cohort.js";
import type { Integrity } from "./config.js";
import { PrivedgeError } from "./errors.js";
import { exchange } from "./exchange.js";
import { fractionalBits, ofModel, widthOf, type ModelSpec } from "./model.js";
import { requireNarrow } from "./narrow.js";
import { joined, queryHeader } from "./question.js";
import { retried, type Patience } from "./retry.js";
import { combine, encode, split } from "./ring.js";
import { sizeOf } from "./spec.js";
import { isVector, type Vector } from "./vectors.js";

/** One input or several: all values of one sample row by row, in the order that the graph has. */
export type Inputs = Vector | readonly Vector[];

export interface Prediction {
  /** The place of the greatest score; of one score alone, whether it is above 0. */
  readonly label: number;
  /** What the model calls that label; null if it has no names. */
  readonly name: string | null;
  /** Where clients get them; else null. */
  readonly scores: readonly number[] | null;
}

export interface Predictions {
  /** One for each input, in order. */
  readonly answers: readonly Prediction[];
  /** From sending the shares to adding up the answers. */
  readonly seconds: number;
}

/** Values below 64, at scale 2^16. */
const WORD_BITS = 24;
const LIMIT = 2 ** 15;

/** Ask both parties, in as few questions as the cohort allows. Throws PrivedgeError. */
export async function predicted(
  parties: Parties,
  cohort: Cohort,
  inputs: Inputs,
  patience: Patience,
): Promise<Predictions> {
  const spec = ofModel(cohort.spec, cohort.name);
  const words = wordsOfInputs(spec, inputs);
  const answers: Prediction[] = [];
  let seconds = 0;
  for (let start = 0; start < words.length; start += cohort.maxBatch) {
    const batch = words.slice(start, start + cohort.maxBatch);
    // Each try has a fresh id and fresh shares.
    const opened = await retried(async (deadline) => {
      const header = queryHeader(cohort, batch.length, null, false, randomBytes(16));
      const shape = [batch.length, widthOf(spec)] as const;
      const began = performance.now();
      const shares = await exchange(parties, header, split(joined(batch)), shape, deadline);
      seconds += (performance.now() - began) / 1000;
      return combine(...shares);
    }, patience);
    answers.push(...readPredictions(opened, spec));
  }
  return { answers, seconds };
}

/** The fixed-point words of each input. Throws ImageError or RangeError. */
export function wordsOfInputs(spec: ModelSpec, inputs: Inputs): BigUint64Array[] {
  const rows: readonly unknown[] = Array.isArray(inputs) ? inputs : [inputs];
  if (rows.length === 0) throw imageError("inputs: none were given");
  return rows.map((row, at) => {
    if (!isVector(row)) throw imageError(`inputs[${at}]: give a Float32Array or Float64Array`);
    if (row.length !== sizeOf(spec.input)) {
      const wanted = `${sizeOf(spec.input)} values (${spec.input.join(" x ")}), row by row`;
      throw imageError(`inputs[${at}]: must have ${wanted}, not ${row.length}`);
    }
    if (!row.every(Number.isFinite)) throw imageError(`inputs[${at}]: has NaN or infinity`);
    const words = encode(row, "query");
    requireNarrow(words, WORD_BITS, "query");
    return words;
  });
}

/**
 * One answer for each row of the sum of both answer shares: one-hot rows, or scores. Anything else
 * means that a party deviated, a run went wrong, or values in the model left their range: an
 * IntegrityError, and no answer is reported.
 */
export function readPredictions(opened: BigUint64Array, spec: ModelSpec): Prediction[] {
  const width = widthOf(spec);
  const answers: Prediction[] = [];
  for (let start = 0; start < opened.length; start += width) {
    const row = [...opened.subarray(start, start + width)];
    answers.push(spec.outputs.kind === "label" ? ofLabel(row, spec) : ofScores(row, spec));
  }
  return answers;
}

function ofLabel(row: readonly bigint[], spec: ModelSpec): Prediction {
  const label = row.indexOf(1n);
  if (label < 0 || row.some((word, at) => word !== (at === label ? 1n : 0n))) throw noAnswer();
  return { label, name: nameOf(spec, label), scores: null };
}

function ofScores(row: readonly bigint[], spec: ModelSpec): Prediction {
  const scale = 2 ** fractionalBits(spec);
  const scores = row.map((word) => Number(BigInt.asIntN(64, word)) / scale);
  if (scores.some((score) => Math.abs(score) > LIMIT + 1)) throw noAnswer();
  const best = scores.indexOf(Math.max(...scores));
  const label = scores.length > 1 ? best : Number(scores[0]! > 0);
  return { label, name: nameOf(spec, label), scores };
}

/** Throws ConfigError if canaries were asked for: a model that is no RAN has none. */
export function requireNoCanaries(integrity: Integrity | undefined): void {
  if (integrity === undefined || integrity === "none" || integrity === "canaries:0") return;
  throw new PrivedgeError("ConfigError", "canaries: are for cohorts of RANs; set integrity = none");
}

function nameOf(spec: ModelSpec, label: number): string | null {
  return spec.labels[label] ?? null;
}

function noAnswer(): PrivedgeError {
  return new PrivedgeError(
    "IntegrityError",
    "the parties' shares do not add up to an answer: either values within the model left their " +
      "range for this input (its owner can look), or a party went wrong; tell both operators",
  );
}

function imageError(message: string): PrivedgeError {
  return new PrivedgeError("ImageError", message);
}
