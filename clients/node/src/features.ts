/**
 * The public feature maps of privedge/ran/features.py, which defines them.
 *
 * They are computed in double precision and rounded to single precision once. `pixels` is equal to
 * Python's in every bit. The others add up in another order, so a value may differ by one unit in
 * its last place, which is far below what a model notices.
 */
import { PrivedgeError } from "./errors.js";
import { imageOf, sizeOf, inputShape, type RanSpec } from "./spec.js";

/** One channel: row-major values. */
interface Plane {
  readonly height: number;
  readonly width: number;
  readonly values: Float64Array;
}

const OFFSETS = [
  [3, 0],
  [0, 3],
  [3, 3],
  [3, -3],
  [7, 0],
  [0, 7],
] as const;

/** The features of one picture; `planes` are its channels at the size of the spec. */
export function extract(spec: RanSpec, planes: readonly Uint8Array[]): Float32Array {
  const { height, width } = imageOf(spec);
  const size = { height, width };
  const scaled = () =>
    planes.map((plane) => ({ ...size, values: Float64Array.from(plane, (x) => x / 127.5 - 1) }));
  const found = new Float32Array(sizeOf(inputShape(spec)));
  put(found, maps(spec, scaled, planes));
  return found;
}

function maps(spec: RanSpec, scaled: () => Plane[], planes: readonly Uint8Array[]): Float64Array[] {
  const { features } = spec;
  const image = imageOf(spec);
  switch (features.kind) {
    case "pixels":
      return scaled().map((plane) => plane.values);
    case "oriented":
      return oriented(scaled(), features.cell, 8).map((plane) => plane.values);
    case "oriented-scales":
    case "oriented-centre": {
      const left = features.kind === "oriented-centre" ? features.left_out : [0, 0, 0, 0];
      return features.blurs
        .flatMap((sigma) =>
          oriented(
            scaled().map((each) => blur(each, sigma)),
            features.cell,
            features.directions,
          ),
        )
        .map((map) => centre(map, left));
    }
    case "cooccurrence":
      return cooccurrence(grey(planes, image.height, image.width), 12);
    case "fine-cooccurrence":
      return cooccurrence(grey(planes, image.height, image.width), features.directions);
    case "vector":
      throw new PrivedgeError("ImageError", "this cohort takes vectors, not pictures");
    case "encoder":
      throw new PrivedgeError("ConfigError", "this cohort needs an encoder; ask it from Python");
  }
}

function put(target: Float32Array, parts: readonly Float64Array[]): void {
  let at = 0;
  for (const part of parts) {
    target.set(part, at);
    at += part.length;
  }
}

function grey(planes: readonly Uint8Array[], height: number, width: number): Plane {
  const values = new Float64Array(height * width);
  for (const plane of planes) plane.forEach((pixel, at) => (values[at]! += pixel));
  return { height, width, values: values.map((sum) => sum / planes.length / 255) };
}

/** `bins` maps, one a direction, averaged over cells and normalised. */
function oriented(planes: readonly Plane[], cell: number, bins: number): Plane[] {
  const cells = directions(planes, bins).map((map) => means(blur(map, cell / 3), cell));
  const { height, width } = cells[0]!;
  const norm = new Float64Array(height * width);
  for (const map of cells) map.values.forEach((value, at) => (norm[at]! += value * value));
  const third = [1 / 3, 1 / 3, 1 / 3];
  const around = convolve({ height, width, values: norm.map(Math.sqrt) }, third).values;
  return cells.map((map) => ({
    ...map,
    values: map.values.map((value, at) => Math.sqrt(value / (around[at]! + 0.02))),
  }));
}

/** Six matrices of how often directions meet at an offset, row by row. */
function cooccurrence(picture: Plane, bins: number): Float64Array[] {
  const { height, width } = picture;
  const weights = directions([blur(picture, 0.8)], bins);
  return OFFSETS.map(([down, right]) => {
    const matrix = new Float64Array(bins * bins);
    for (let y = 0; y < height - down; y++) {
      for (let x = Math.max(0, -right); x < width - Math.max(0, right); x++) {
        addMeeting(matrix, weights, y * width + x, (y + down) * width + x + right);
      }
    }
    const total = matrix.reduce((sum, value) => sum + value, 0);
    return matrix.map((value) => (total > 0 ? Math.sqrt(value / total) : 0));
  });
}

function addMeeting(matrix: Float64Array, weights: Plane[], here: number, there: number): void {
  const bins = weights.length;
  for (let a = 0; a < bins; a++) {
    const weight = weights[a]!.values[here]!;
    if (weight === 0) continue;
    for (let b = 0; b < bins; b++) matrix[a * bins + b]! += weight * weights[b]!.values[there]!;
  }
}

/** Lengths of gradients, each divided between the two nearest of `bins` directions. */
function directions(planes: readonly Plane[], bins: number): Plane[] {
  const { height, width } = planes[0]!;
  const maps = Array.from({ length: bins }, () => new Float64Array(height * width));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [down, right] = longestGradient(planes, y, x);
      const angle = Math.atan2(down, right) * (bins / (2 * Math.PI));
      const share = angle - Math.floor(angle);
      const first = (Math.floor(angle) + bins) % bins;
      const length = Math.sqrt(down * down + right * right);
      maps[first]![y * width + x] = length * (1 - share);
      maps[(first + 1) % bins]![y * width + x] = length * share;
    }
  }
  return maps.map((values) => ({ height, width, values }));
}

/** The gradient of the channel in which it is longest; the first of equals. */
function longestGradient(planes: readonly Plane[], y: number, x: number): [number, number] {
  let longest: [number, number] = [0, 0];
  let most = -1;
  for (const plane of planes) {
    const down = (pixel(plane, y + 1, x) - pixel(plane, y - 1, x)) / 2;
    const right = (pixel(plane, y, x + 1) - pixel(plane, y, x - 1)) / 2;
    const square = down * down + right * right;
    if (square > most) [most, longest] = [square, [down, right]];
  }
  return longest;
}

/** The value at a place; outside, that of the border. */
function pixel({ height, width, values }: Plane, y: number, x: number): number {
  const row = Math.min(Math.max(y, 0), height - 1);
  return values[row * width + Math.min(Math.max(x, 0), width - 1)]!;
}

function blur(plane: Plane, sigma: number): Plane {
  const radius = Math.ceil(3 * sigma);
  const kernel = Array.from({ length: 2 * radius + 1 }, (_, at) =>
    Math.exp(-0.5 * ((at - radius) / sigma) ** 2),
  );
  const sum = kernel.reduce((total, weight) => total + weight, 0);
  return convolve(
    plane,
    kernel.map((weight) => weight / sum),
  );
}

/** Convolve with a symmetric kernel along columns, then along rows; the border is repeated. */
function convolve(plane: Plane, kernel: readonly number[]): Plane {
  const radius = (kernel.length - 1) / 2;
  const alongColumns = each(plane, (y, x) =>
    kernel.reduce((sum, weight, at) => sum + weight * pixel(plane, y + at - radius, x), 0),
  );
  return each(alongColumns, (y, x) =>
    kernel.reduce((sum, weight, at) => sum + weight * pixel(alongColumns, y, x + at - radius), 0),
  );
}

/** The mean of every whole cell. */
function means(plane: Plane, cell: number): Plane {
  const height = Math.floor(plane.height / cell);
  const width = Math.floor(plane.width / cell);
  return each({ height, width }, (row, column) => {
    let sum = 0;
    for (let y = row * cell; y < (row + 1) * cell; y++) {
      for (let x = column * cell; x < (column + 1) * cell; x++) sum += pixel(plane, y, x);
    }
    return sum / (cell * cell);
  });
}

/** A map without its first and last columns and rows: (left, right, top, bottom). */
function centre(map: Plane, leftOut: readonly number[]): Float64Array {
  const [left = 0, right = 0, top = 0, bottom = 0] = leftOut;
  const kept = { height: map.height - top - bottom, width: map.width - left - right };
  return each(kept, (y, x) => pixel(map, y + top, x + left)).values;
}

function each(
  { height, width }: { height: number; width: number },
  value: (y: number, x: number) => number,
): Plane {
  const values = new Float64Array(height * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) values[y * width + x] = value(y, x);
  }
  return { height, width, values };
}
