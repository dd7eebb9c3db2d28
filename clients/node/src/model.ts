/**
 * The graph of a served model that is no RAN (privedge/graph/spec.py), as far as a client needs it:
 * the shape of an input, how many scores there are, and what may leave of them.
 */
import { PrivedgeError } from "./errors.js";
import type { RanSpec, Shape } from "./spec.js";

/** One layer; the fields depend on its kind. */
interface ModelLayer {
  readonly kind: string;
  /** The place of the layer whose output it takes, -1 for the input; null for the one before. */
  readonly of?: number | null;
  readonly channels?: number;
  readonly features?: number;
  readonly kernel?: readonly [number, number];
  readonly padding?: readonly [number, number];
  readonly window?: number | readonly [number, number];
  readonly stride?: number;
}

/** What leaves of the scores. */
export type Outputs =
  | { readonly kind: "label" }
  | { readonly kind: "scores" }
  | { readonly kind: "rounded"; readonly bits: number };

export interface ModelSpec {
  readonly kind: "model";
  readonly name: string;
  /** Of one sample: features; channels, length; or channels, height, width. */
  readonly input: Shape;
  readonly layers: readonly ModelLayer[];
  readonly outputs: Outputs;
  /** What the scores are called, in order; empty if they have no names. */
  readonly labels: readonly string[];
}

const MOST_SCORES = 1024;
const MOST_BITS = 12;
const FRACTIONAL_BITS = 16;

export function isModel(spec: RanSpec | ModelSpec): spec is ModelSpec {
  return "kind" in spec && spec.kind === "model";
}

/** Throws CheckpointError unless the cohort has RANs. */
export function ofRans(spec: RanSpec | ModelSpec, cohort: string): RanSpec {
  if (!isModel(spec)) return spec;
  throw refused(`cohort ${cohort}: serves a model, and no RANs`);
}

/** Throws CheckpointError unless the cohort serves a model that is no RAN. */
export function ofModel(spec: RanSpec | ModelSpec, cohort: string): ModelSpec {
  if (isModel(spec)) return spec;
  throw refused(`cohort ${cohort}: has RANs, and serves no other model`);
}

/** Whether this client knows everything in the spec that it needs. Throws if it makes no sense. */
export function isKnown({ input, layers, outputs, labels }: ModelSpec): boolean {
  const scores = scoresOf({ input, layers });
  const kinds = ["label", "scores", "rounded"];
  return (
    input.every((extent) => Number.isSafeInteger(extent) && extent > 0) &&
    Number.isSafeInteger(scores) &&
    scores >= 1 &&
    scores <= MOST_SCORES &&
    kinds.includes(outputs.kind) &&
    (outputs.kind !== "rounded" || (outputs.bits >= 0 && outputs.bits <= MOST_BITS)) &&
    labels.every((label) => typeof label === "string") &&
    (labels.length === 0 || labels.length === classes(scores))
  );
}

/** How many words one answer has: a one-hot of the classes, or the scores. */
export function widthOf(spec: ModelSpec): number {
  const scores = scoresOf(spec);
  return spec.outputs.kind === "label" ? classes(scores) : scores;
}

/** The scale of an answer's words is 2 to this power. */
export function fractionalBits({ outputs }: ModelSpec): number {
  if (outputs.kind === "label") return 0;
  return outputs.kind === "rounded" ? outputs.bits : FRACTIONAL_BITS;
}

/** One score alone tells two classes apart. */
function classes(scores: number): number {
  return Math.max(2, scores);
}

/** How many numbers the last layer gives; NaN if they are no scores. */
function scoresOf({ input, layers }: Pick<ModelSpec, "input" | "layers">): number {
  const shapes: Shape[] = [];
  layers.forEach((layer, at) => {
    const place = layer.of ?? at - 1;
    const before = place < 0 ? input : shapes[place];
    if (before === undefined) throw new RangeError("takes the output of a layer that comes later");
    shapes.push(outputShape(layer, before));
  });
  const last = shapes.at(-1);
  return last?.length === 1 ? last[0]! : NaN;
}

function outputShape(layer: ModelLayer, input: Shape): Shape {
  const { channels = 0, kernel = [0, 0], padding = [0, 0], window = 0, features = 0 } = layer;
  switch (layer.kind) {
    case "conv":
      return [channels, ...windows(layer, input, kernel, padding)];
    case "max_pool":
    case "average_pool": {
      const sides = typeof window === "number" ? ([window, window] as const) : window;
      return [input[0]!, ...windows(layer, input, sides, [0, 0])];
    }
    case "dense":
      return [features];
    case "flatten":
      return [input.reduce((size, extent) => size * extent, 1)];
    case "relu":
    case "square":
    case "add":
      return input;
    default:
      throw new RangeError("a layer that is not on the list");
  }
}

/** How many windows there are along each axis: of a signal, (channels, length), along one. */
function windows(
  { stride = 1 }: ModelLayer,
  [, ...sides]: Shape,
  window: readonly [number, number],
  padding: readonly [number, number],
): number[] {
  return sides.map((side, axis) => {
    const at = axis + 2 - sides.length;
    return Math.floor((side + 2 * padding[at]! - window[at]!) / stride) + 1;
  });
}

function refused(message: string): PrivedgeError {
  return new PrivedgeError("CheckpointError", message);
}
