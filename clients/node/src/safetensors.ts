/** The safetensors format, as far as a model's file uses it: float32 tensors and text metadata. */
import { PrivedgeError } from "./errors.js";
import { sizeOf, type Shape } from "./spec.js";

export interface Tensors {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, { readonly shape: Shape; readonly values: Float32Array }>;
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

const MAX_HEADER_BYTES = 2 ** 20;
const FLOAT_BYTES = 4;

/** Read a whole file. Throws CheckpointError unless every tensor is float32 and inside the file. */
export function readSafetensors(file: Buffer, where: string): Tensors {
  const unsound = (): never => {
    throw new PrivedgeError(
      "CheckpointError",
      `${where}: is not a sound safetensors file of float32`,
    );
  };
  const length = file.length < 8 ? -1 : Number(file.readBigUInt64LE(0));
  if (length < 2 || length > MAX_HEADER_BYTES || 8 + length > file.length) return unsound();
  const data = file.subarray(8 + length);
  const { __metadata__: metadata = {}, ...entries } = header(file.subarray(8, 8 + length), unsound);
  const tensors = new Map<string, { shape: Shape; values: Float32Array }>();
  for (const [name, entry] of Object.entries(entries) as [string, Partial<Entry>][]) {
    const { dtype, shape, data_offsets: offsets } = entry ?? {};
    if (dtype !== "F32" || !areCounts(shape) || !areCounts(offsets)) return unsound();
    const [begin = 0, end = 0] = offsets;
    if (end > data.length || end - begin !== FLOAT_BYTES * sizeOf(shape)) return unsound();
    tensors.set(name, { shape, values: floats(data.subarray(begin, end)) });
  }
  return { metadata: metadata as Record<string, unknown>, tensors };
}

function header(raw: Buffer, unsound: () => never): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(raw.toString("utf8"));
    return typeof parsed === "object" && parsed !== null ? { ...parsed } : unsound();
  } catch {
    return unsound();
  }
}

function areCounts(found: readonly number[] | undefined): found is readonly number[] {
  return Array.isArray(found) && found.every((each) => Number.isSafeInteger(each) && each >= 0);
}

function floats(raw: Buffer): Float32Array {
  return Float32Array.from({ length: raw.length / FLOAT_BYTES }, (_, at) =>
    raw.readFloatLE(FLOAT_BYTES * at),
  );
}
