/**
 * Pictures as planes of bytes, exactly as privedge/ran/images.py makes them of the same pixels.
 *
 * Nothing is resized: another resampling than the owners' would change answers. A picture must have
 * the cohort's size.
 */
import { readFile } from "node:fs/promises";
import { PrivedgeError, unreadable } from "./errors.js";
import type { ImageShape } from "./spec.js";

/** Pixels of one picture, row-major: one byte each for grey, three (R, G, B) for colour. */
export interface RawPicture {
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** A PNG or JPEG file by its path (needs the optional package sharp), or raw pixels. */
export type Picture = string | RawPicture;

const MAX_FILE_BYTES = 50_000_000;
const MAX_PIXELS = 110_000_000;
const SIGNATURES = [Buffer.from("89504e470d0a1a0a", "hex"), Buffer.from("ffd8ff", "hex")];

/** The channels of a picture at the size of `shape`. Throws ImageError. */
export async function planesOf(
  picture: Picture,
  shape: ImageShape,
  what: string,
): Promise<Uint8Array[]> {
  const raw = typeof picture === "string" ? await decoded(picture) : checked(picture, what);
  const where = typeof picture === "string" ? picture : what;
  if (raw.width !== shape.width || raw.height !== shape.height) {
    throw imageError(
      `${where}: is ${raw.width} x ${raw.height} pixels, the cohort's pictures are ` +
        `${shape.width} x ${shape.height}; bring it to this size first`,
    );
  }
  const planes = channelsOf(raw);
  if (planes.length === shape.channels) return planes;
  return shape.channels === 1 ? [luma(planes)] : [planes[0]!, planes[0]!, planes[0]!];
}

function checked(picture: RawPicture, what: string): RawPicture {
  const { data, width, height } = picture ?? {};
  const sides = [width, height].every((side) => Number.isSafeInteger(side) && side > 0);
  if (!(data instanceof Uint8Array) || !sides) {
    throw imageError(`${what}: give { data: Uint8Array, width, height }, or the path of a file`);
  }
  if (data.length !== width * height && data.length !== 3 * width * height) {
    throw imageError(
      `${what}: ${data.length} bytes are neither grey nor RGB of ${width} x ${height} pixels`,
    );
  }
  if (data.reduce((most, byte) => Math.max(most, byte), 0) === 1) {
    throw imageError(`${what}: holds only 0 and 1, and bytes reach to 255; multiply by 255`);
  }
  return picture;
}

function channelsOf({ data, width, height }: RawPicture): Uint8Array[] {
  const count = data.length / (width * height);
  return Array.from({ length: count }, (_, channel) =>
    Uint8Array.from({ length: width * height }, (_, at) => data[at * count + channel]!),
  );
}

/** Pillow's weights, in whole numbers. */
function luma([red, green, blue]: Uint8Array[]): Uint8Array {
  return red!.map((r, at) => (r * 19595 + green![at]! * 38470 + blue![at]! * 7471 + 0x8000) >> 16);
}

async function decoded(path: string): Promise<RawPicture> {
  const { default: sharp } = await import("sharp").catch(() => {
    throw new PrivedgeError("MissingExtra", "PNG and JPEG files need sharp: npm install sharp");
  });
  const file = await readFile(path).catch((error: unknown) => {
    throw imageError(`${path}: ${unreadable(error)}`);
  });
  if (file.length > MAX_FILE_BYTES) throw imageError(`${path}: larger than 50 MB; make it smaller`);
  // Before sharp looks at it: it would try every format that it knows.
  if (!SIGNATURES.some((signature) => file.subarray(0, signature.length).equals(signature))) {
    throw imageError(`${path}: is not a PNG or JPEG image`);
  }
  try {
    const image = sharp(file, { ignoreIcc: true, limitInputPixels: MAX_PIXELS });
    const { depth, hasAlpha, space } = await image.metadata();
    if (depth === "uchar" && !hasAlpha && space !== "cmyk") {
      // Without an argument, rotate() turns a picture upright as its EXIF says.
      const { data, info } = await image.rotate().raw().toBuffer({ resolveWithObject: true });
      return { data, width: info.width, height: info.height };
    }
  } catch {
    throw imageError(`${path}: is not a sound PNG or JPEG image`);
  }
  throw imageError(`${path}: save it as PNG or JPEG with 8-bit grey or RGB, without opacity`);
}

function imageError(message: string): PrivedgeError {
  return new PrivedgeError("ImageError", message);
}
