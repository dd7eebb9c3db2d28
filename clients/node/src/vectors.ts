/** Vectors in place of pictures, exactly as privedge/ran/vectors.py reads them. */
import { PrivedgeError } from "./errors.js";

/** One vector, for a cohort of vectors. */
export type Vector = Float32Array | Float64Array;

/** What a cohort's architecture says of its vectors. */
export interface VectorMap {
  readonly kind: "vector";
  readonly size: number;
  readonly unit_length: boolean;
}

/** An error is at most (2 * LONGEST)^2, which is below the limit of the fixed point, 2^15. */
const LONGEST = 90;
/** Rounded to steps of 2^-16, a shorter vector says little more than that it is short. */
const SHORTEST = 1 / 64;

export function isVector(given: unknown): given is Vector {
  return given instanceof Float32Array || given instanceof Float64Array;
}

/** The features of one vector. Throws ImageError, whose message begins with `what`. */
export function vectorFeatures(given: unknown, wanted: VectorMap, what: string): Float32Array {
  if (!isVector(given)) {
    throw imageError(`${what}: this cohort takes vectors: give a Float32Array or Float64Array`);
  }
  if (given.length !== wanted.size) {
    throw imageError(
      `${what}: the cohort's vectors have ${wanted.size} values, not ${given.length}`,
    );
  }
  const values = Float64Array.from(given);
  if (!values.every(Number.isFinite)) throw imageError(`${what}: has NaN or infinity`);
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const scaled = values.map((value) => value / (largest || 1));
  const length = largest * Math.sqrt(scaled.reduce((sum, value) => sum + value * value, 0));
  if (wanted.unit_length) {
    if (length === 0) throw imageError(`${what}: all values are 0, so it has no unit length`);
    return Float32Array.from(values, (value) => value / length);
  }
  const cure = "scale all vectors alike by public numbers, or use a cohort with unit length";
  if (length > LONGEST) throw imageError(`${what}: its length is above ${LONGEST}; ${cure}`);
  if (length < SHORTEST) {
    throw imageError(
      `${what}: its length is below 1/64, too short for numbers in steps of 2^-16; ${cure}`,
    );
  }
  return Float32Array.from(values);
}

function imageError(message: string): PrivedgeError {
  return new PrivedgeError("ImageError", message);
}
