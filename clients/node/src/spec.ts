/** A cohort's architecture (privedge/ran/spec.py), as far as a client needs it. */
import { PrivedgeError } from "./errors.js";
import { isKnown, isModel, type ModelSpec } from "./model.js";
import type { VectorMap } from "./vectors.js";

export type Shape = readonly number[];

export interface ImageShape {
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
}

interface Scales {
  readonly cell: number;
  readonly directions: number;
  readonly blurs: readonly number[];
}

/** The public feature map, which is computed on the client's device. */
export type FeatureMap =
  | { readonly kind: "pixels" }
  | { readonly kind: "oriented"; readonly cell: number }
  | ({ readonly kind: "oriented-scales" } & Scales)
  | ({ readonly kind: "oriented-centre"; readonly left_out: readonly number[] } & Scales)
  | { readonly kind: "cooccurrence" }
  | { readonly kind: "fine-cooccurrence"; readonly directions: number }
  | { readonly kind: "encoder"; readonly sha256: string; readonly output: Shape }
  | VectorMap;

/** One layer; the fields depend on its kind. */
export interface Layer {
  readonly kind: string;
  readonly channels?: number;
  readonly kernel?: number;
  readonly stride?: number;
  readonly padding?: readonly [number, number, number, number];
  readonly features?: number;
  readonly shape?: Shape;
  readonly factor?: number;
  readonly components?: number;
}

export interface RanSpec {
  readonly name: string;
  /** The size of pictures; null for vectors. */
  readonly image: ImageShape | null;
  readonly features: FeatureMap;
  readonly layers: readonly Layer[];
}

/** Of RANs, or of a served model that is none. */
export type Spec = RanSpec | ModelSpec;

/** Parse the JSON that both parties describe a cohort with. They have checked it themselves. */
export function parseSpec(text: string): Spec {
  try {
    const spec = JSON.parse(text) as Spec;
    if (isModel(spec) ? isKnown(spec) : hasInputs(spec)) return spec;
  } catch {
    // Said below.
  }
  throw new PrivedgeError(
    "CheckpointError",
    "spec: this client does not know such an architecture",
  );
}

function hasInputs(spec: RanSpec): boolean {
  return inputShape(spec).every((extent) => Number.isSafeInteger(extent) && extent > 0);
}

/** The shape of the feature map of one picture or vector. */
export function inputShape(spec: RanSpec): Shape {
  const { features } = spec;
  if (features.kind === "vector") return [features.size];
  const image = imageOf(spec);
  switch (features.kind) {
    case "pixels":
      return [image.channels, image.height, image.width];
    case "oriented":
      return [8, ...cells(image, features.cell)];
    case "oriented-scales":
      return [features.directions * features.blurs.length, ...cells(image, features.cell)];
    case "oriented-centre": {
      const [left = 0, right = 0, top = 0, bottom = 0] = features.left_out;
      const [rows = 0, columns = 0] = cells(image, features.cell);
      const maps = features.directions * features.blurs.length;
      return [maps, rows - top - bottom, columns - left - right];
    }
    case "cooccurrence":
      return [864];
    case "fine-cooccurrence":
      return [6 * features.directions ** 2];
    case "encoder":
      return features.output;
  }
}

/** The size of the cohort's pictures. Throws ImageError if it takes vectors. */
export function imageOf({ image }: RanSpec): ImageShape {
  if (image === null) {
    throw new PrivedgeError("ImageError", "this cohort takes vectors, not pictures");
  }
  return image;
}

/** The parameter tensors of a model in upload order; `threshold` is the last. */
export function parameters(spec: RanSpec): Map<string, Shape> {
  const named = new Map<string, Shape>();
  let shape = inputShape(spec);
  spec.layers.forEach((layer, at) => {
    for (const [name, extents] of layerParameters(layer, shape))
      named.set(`${at}.${name}`, extents);
    shape = outputShape(layer, shape);
  });
  return named.set("threshold", [1]);
}

export function sizeOf(shape: Shape): number {
  return shape.reduce((size, extent) => size * extent, 1);
}

function cells(image: ImageShape, cell: number): [number, number] {
  return [Math.floor(image.height / cell), Math.floor(image.width / cell)];
}

function layerParameters(layer: Layer, input: Shape): [string, Shape][] {
  const { channels = 0, kernel = 0, features = 0, components = 0 } = layer;
  switch (layer.kind) {
    case "conv":
      return [
        ["weight", [channels, input[0]!, kernel, kernel]],
        ["bias", [channels]],
      ];
    case "dense":
      return [
        ["weight", [features, sizeOf(input)]],
        ["bias", [features]],
      ];
    case "sample_norm":
      return [
        ["gamma", [1]],
        ["beta", [1]],
      ];
    case "subspace":
      return [
        ["basis", [components, sizeOf(input)]],
        ["mean", [sizeOf(input)]],
      ];
    default:
      return [];
  }
}

function outputShape(layer: Layer, input: Shape): Shape {
  const { channels = 0, kernel = 0, stride = 1, factor = 1, features = 0 } = layer;
  const [maps = 0, height = 0, width = 0] = input;
  switch (layer.kind) {
    case "conv": {
      const [left, right, top, bottom] = layer.padding ?? [0, 0, 0, 0];
      const reach = (extent: number) => Math.floor((extent - kernel) / stride) + 1;
      return [channels, reach(height + top + bottom), reach(width + left + right)];
    }
    case "upsample":
      return [maps, height * factor, width * factor];
    case "dense":
      return [features];
    case "reshape":
      return layer.shape ?? input;
    default:
      return input;
  }
}
