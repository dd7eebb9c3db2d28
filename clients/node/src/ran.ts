/** A trained model, as `privedge train` writes it (docs/reference/files.md). It is secret. */
import { stat, readFile } from "node:fs/promises";
import { isOwnerName } from "./certificates.js";
import { PrivedgeError, unreadable } from "./errors.js";
import { readSafetensors } from "./safetensors.js";
import { isModel } from "./model.js";
import { parameters, parseSpec, type RanSpec } from "./spec.js";

export interface Ran {
  readonly owner: string;
  readonly spec: RanSpec;
  /** In upload order. */
  readonly tensors: ReadonlyMap<string, Float32Array>;
}

const FORMAT = 1;
const MAX_BYTES = 2 ** 30;
// How a file begins that `privedge train --encrypt` has written.
const SEALED = Buffer.from("PERAN001");
const ORTHONORMAL_WITHIN = 1e-3;

/** Read and check a model's file. Throws CheckpointError. */
export async function readRan(path: string): Promise<Ran> {
  let file: Buffer;
  try {
    if ((await stat(path)).size > MAX_BYTES) throw faulty(path, `larger than ${MAX_BYTES} bytes`);
    file = await readFile(path);
  } catch (error) {
    if (error instanceof PrivedgeError) throw error;
    throw faulty(path, `${unreadable(error)}`);
  }
  return parseRan(file, path);
}

export function parseRan(file: Buffer, where: string): Ran {
  if (file.subarray(0, SEALED.length).equals(SEALED)) {
    throw faulty(where, "is encrypted; upload it with `privedge upload`, which opens it");
  }
  const { metadata, tensors: found } = readSafetensors(file, where);
  const { owner, spec } = described(metadata["privedge"], where);
  const expected = parameters(spec);
  const tensors = new Map<string, Float32Array>();
  for (const [name, shape] of expected) {
    const tensor = found.get(name);
    if (String(tensor?.shape) !== String(shape)) {
      throw faulty(where, `parameter ${name} should have the shape (${shape.join(", ")})`);
    }
    if (!tensor!.values.every(Number.isFinite))
      throw faulty(where, `parameter ${name} is not finite`);
    tensors.set(name, tensor!.values);
  }
  const extra = [...found.keys()].find((name) => !expected.has(name));
  if (extra !== undefined) throw faulty(where, `parameter ${extra} should be absent`);
  spec.layers.forEach((layer, at) => {
    const basis = tensors.get(`${at}.basis`);
    if (basis !== undefined && !isOrthonormal(basis, layer.components!)) {
      throw faulty(where, `layer ${at}: the basis is not orthonormal`);
    }
  });
  return { owner, spec, tensors };
}

function described(text: unknown, where: string): { owner: string; spec: RanSpec } {
  let found: { format?: unknown; owner?: unknown; spec?: unknown };
  try {
    found = JSON.parse(String(text)) as typeof found;
  } catch {
    throw faulty(where, "was not written by privedge train");
  }
  if (found?.format !== FORMAT) throw faulty(where, `has another format than ${FORMAT}`);
  if (typeof found.owner !== "string") throw faulty(where, "names no owner");
  if (!isOwnerName(found.owner)) {
    throw faulty(where, `no owner can be called ${JSON.stringify(found.owner).slice(0, 80)}`);
  }
  const spec = parseSpec(JSON.stringify(found.spec));
  if (isModel(spec)) {
    throw faulty(where, "is a model to serve, and no RAN; upload it with `privedge upload`");
  }
  return { owner: found.owner, spec };
}

/** Whether the rows are orthonormal, or zero: the private score relies on it. */
function isOrthonormal(basis: Float32Array, rows: number): boolean {
  const width = basis.length / rows;
  const row = (at: number) => basis.subarray(at * width, (at + 1) * width);
  const product = (a: Float32Array, b: Float32Array) =>
    a.reduce((sum, value, at) => sum + value * b[at]!, 0);
  for (let i = 0; i < rows; i++) {
    const length = product(row(i), row(i));
    if (Math.abs(length - (length > 0.5 ? 1 : 0)) > 2 * ORTHONORMAL_WITHIN) return false;
    for (let j = 0; j < i; j++) {
      if (Math.abs(product(row(i), row(j))) > ORTHONORMAL_WITHIN) return false;
    }
  }
  return true;
}

function faulty(where: string, what: string): PrivedgeError {
  return new PrivedgeError("CheckpointError", `${where}: ${what}`);
}
