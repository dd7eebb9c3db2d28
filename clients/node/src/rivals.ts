/** The public rivals of a cohort (privedge/ran/rivals.py): rows of features that are no secret. */
import { createHash } from "node:crypto";
import type { Parties, RanCohort } from "./cohort.js";
import { PrivedgeError } from "./errors.js";
import type { Patience } from "./retry.js";
import { inputShape, sizeOf } from "./spec.js";

const FLOAT_BYTES = 4;

/** One Float64Array for each rival. */
export type Rivals = readonly Float64Array[];

/** What both parties send of a cohort's rivals. Throws ManifestMismatch unless it has its digest. */
export async function rivalsOf(
  parties: Parties,
  cohort: RanCohort,
  patience: Patience,
): Promise<Rivals> {
  const asked = { cohort: cohort.name, withRivals: true };
  const [first, second] = await Promise.all(
    parties.map((party) => party.told(party.client.describeCohort, asked, patience)),
  );
  const rows = Buffer.from(first!.rivalsRows);
  const shape = inputShape(cohort.spec);
  const whole = rows.length > 0 && rows.length % (FLOAT_BYTES * sizeOf(shape)) === 0;
  const same = rows.equals(Buffer.from(second!.rivalsRows));
  if (!whole || !same || digestOf(rows, shape) !== cohort.rivalsSha256) {
    throw new PrivedgeError(
      "ManifestMismatch",
      `cohort ${cohort.name}: its public rivals are not those of its description; ` +
        "ask again, and tell both operators if it stays so",
    );
  }
  return readRivals(rows, sizeOf(shape));
}

/** Rows of `size` values each, from float32, little-endian. */
export function readRivals(raw: Buffer, size: number): Rivals {
  const count = raw.length / (FLOAT_BYTES * size);
  return Array.from({ length: count }, (_, row) =>
    Float64Array.from({ length: size }, (_, at) =>
      raw.readFloatLE(FLOAT_BYTES * (row * size + at)),
    ),
  );
}

/** SHA-256 (hex) over the shape and the rows. */
export function digestOf(raw: Buffer, shape: readonly number[]): string {
  const count = raw.length / (FLOAT_BYTES * sizeOf(shape));
  const facts = JSON.stringify([count, ...shape]);
  return createHash("sha256")
    .update("privedge rivals v1\0")
    .update(facts)
    .update(raw)
    .digest("hex");
}
