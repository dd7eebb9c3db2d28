/** What is asked of the inputs and parameters of a cohort with narrow words (privedge/ran/narrow.py). */
import { PrivedgeError } from "./errors.js";
import { RING_BITS } from "./ring.js";
import type { RanSpec } from "./spec.js";

const FRACTIONAL_BITS = 16;
/** At the scale of a product. */
const ONE = 1n << BigInt(2 * FRACTIONAL_BITS);

/** Throw RangeError of ours for a query that the parties would answer with "unknown". */
export function requireInRange(spec: RanSpec, words: BigUint64Array, wordBits: number): void {
  if (wordBits === 0 || wordBits === RING_BITS) return;
  requireNarrow(words, wordBits, "query");
  const squares = words.reduce((sum, word) => sum + BigInt.asIntN(RING_BITS, word) ** 2n, 0n);
  const unit = "unit_length" in spec.features && spec.features.unit_length === true;
  const [least, bound] = unit ? [ONE - ONE / 16n, ONE + ONE / 16n] : [0n, ONE << 14n];
  if (squares < least || squares >= bound) {
    throw new PrivedgeError("RangeError", "query: its features are too short or too long");
  }
}

/** Throw RangeError of ours unless the parties get these words back from so many bits. */
export function requireNarrow(words: BigUint64Array, wordBits: number, what: string): void {
  if (wordBits === 0 || wordBits === RING_BITS) return;
  const limit = 1n << BigInt(wordBits - 2);
  for (const word of words) {
    const value = BigInt.asIntN(RING_BITS, word);
    if (value >= limit || value <= -limit) {
      const message = `${what}: a value reaches ${Number(limit) / 2 ** FRACTIONAL_BITS}; scale the data down`;
      throw new PrivedgeError("RangeError", message);
    }
  }
}
