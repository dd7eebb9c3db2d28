/** A question on its way to the parties: its words, and the header that both get. */
import type { Cohort } from "./cohort.js";
import { PrivedgeError } from "./errors.js";
import { extract } from "./features.js";
import type { QueryHeader } from "./generated/party.js";
import { isModel } from "./model.js";
import { planesOf, type Picture } from "./pictures.js";
import { encode } from "./ring.js";
import { imageOf, inputShape, type RanSpec } from "./spec.js";
import { isVector, vectorFeatures, type Vector } from "./vectors.js";

/** The public part of a question, the same for both parties. */
export function queryHeader(
  cohort: Pick<Cohort, "name" | "snapshotId" | "spec" | "wordBits">,
  images: number,
  owner: string | null,
  oneSubject: boolean,
  queryId: Buffer,
  again = false,
): QueryHeader {
  const { spec } = cohort;
  const sample = isModel(spec) ? spec.input : inputShape(spec);
  return {
    queryId,
    cohort: cohort.name,
    snapshotId: cohort.snapshotId,
    shape: [images, ...sample].map(BigInt),
    question:
      owner === null ? { $case: "identify", value: {} } : { $case: "verify", value: { owner } },
    oneSubject,
    wordBits: cohort.wordBits,
    again,
  };
}

/** The fixed-point words of one picture's, or one vector's, features. */
export async function wordsOf(
  spec: RanSpec,
  picture: Picture | Vector,
  at: number,
): Promise<BigUint64Array> {
  const what = `pictures[${at}]`;
  if (spec.features.kind === "vector") {
    return encode(vectorFeatures(picture, spec.features, what), "query");
  }
  if (isVector(picture)) {
    throw new PrivedgeError("ImageError", `${what}: this cohort takes pictures, not vectors`);
  }
  const planes = await planesOf(picture, imageOf(spec), what);
  return encode(extract(spec, planes), "query");
}

/** The words of all rows, one after the other. */
export function joined(batch: readonly BigUint64Array[]): BigUint64Array {
  const words = new BigUint64Array(batch.length * batch[0]!.length);
  batch.forEach((each, at) => words.set(each, at * each.length));
  return words;
}
