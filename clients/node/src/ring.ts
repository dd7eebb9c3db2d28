/**
 * Fixed-point words, and their two additive shares modulo 2^64.
 *
 * A word is an element of a BigUint64Array, whose stores wrap around. On the wire it has eight
 * bytes, little-endian, or of a word of fewer bits the low ones: those of shares modulo 2^64 are
 * shares modulo 2^bits.
 */
import { randomBytes } from "node:crypto";
import { endianness } from "node:os";
import { PrivedgeError } from "./errors.js";

export const WORD_BYTES = 8;
export const RING_BITS = 64;
const SCALE = 2 ** 16;
const LIMIT = 2 ** 15;

/** Round each value to the nearest multiple of 2^-16, ties to even. Throws RangeError of ours. */
export function encode(values: Float32Array | Float64Array, what: string): BigUint64Array {
  const words = new BigInt64Array(values.length);
  values.forEach((value, at) => {
    if (!Number.isFinite(value)) {
      throw new PrivedgeError("RangeError", `${what}: NaN or infinity cannot be shared`);
    }
    if (Math.abs(value) >= LIMIT) {
      throw new PrivedgeError("RangeError", `${what}: a value reaches the limit of ${LIMIT}`);
    }
    words[at] = BigInt(roundToEven(value * SCALE));
  });
  return new BigUint64Array(words.buffer);
}

/** Split words into party 0's share, which is uniformly random, and party 1's. */
export function split(secret: BigUint64Array): [BigUint64Array, BigUint64Array] {
  return sharesUnder(fromBytes(randomBytes(WORD_BYTES * secret.length)), secret);
}

/** The shares of `secret` under a mask. Only `split` and the tests of vectors may choose one. */
export function sharesUnder(
  mask: BigUint64Array,
  secret: BigUint64Array,
): [BigUint64Array, BigUint64Array] {
  return [mask, secret.map((word, at) => word - mask[at]!)];
}

/** Add two shares of equal length. */
export function combine(first: BigUint64Array, second: BigUint64Array): BigUint64Array {
  return first.map((word, at) => word + second[at]!);
}

export function toBytes(words: BigUint64Array, bits = RING_BITS): Buffer {
  const low = bits === RING_BITS ? words : words.map((word) => BigInt.asUintN(bits, word));
  const bytes = Buffer.from(low.buffer, low.byteOffset, low.byteLength);
  const ordered = endianness() === "LE" ? bytes : Buffer.from(bytes).swap64();
  const width = Math.ceil(bits / 8);
  if (width === WORD_BYTES) return ordered;
  const packed = Buffer.alloc(width * words.length);
  words.forEach((_, at) => {
    ordered.copy(packed, width * at, WORD_BYTES * at, WORD_BYTES * at + width);
  });
  return packed;
}

export function fromBytes(bytes: Uint8Array): BigUint64Array {
  const words = new BigUint64Array(bytes.length / WORD_BYTES);
  const copy = Buffer.from(words.buffer);
  copy.set(bytes);
  if (endianness() !== "LE") copy.swap64();
  return words;
}

function roundToEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
