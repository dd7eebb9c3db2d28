/** What both parties say of a cohort. */
import { createHash } from "node:crypto";
import { isOwnerName } from "./certificates.js";
import { PrivedgeError } from "./errors.js";
import { DescribeCohortResponse } from "./generated/party.js";
import type { Party } from "./party.js";
import type { Patience } from "./retry.js";
import { RING_BITS } from "./ring.js";
import { parseSpec, type RanSpec, type Spec } from "./spec.js";

/** Every field is public. */
export interface Cohort {
  readonly name: string;
  readonly spec: Spec;
  /** The architecture as the parties write it; its SHA-256 is the cohort's digest. */
  readonly specJson: string;
  readonly margin: number;
  readonly meanShare: number;
  /** How many public rivals the best model must beat too, and the digest of their file. */
  readonly rivals: number;
  readonly rivalsSha256: string;
  /** In the order of the answer vector; empty while no model is active. */
  readonly owners: readonly string[];
  readonly snapshotId: string;
  readonly maxBatch: number;
  /** Entries of the answer vector after the owners'; each of them means "unknown". */
  readonly publicOwners: number;
  /** How many bits a word has in a query, and in a model but its threshold; 0 for 64. */
  readonly wordBits: number;
}

/** One that has RANs, and serves no other model. */
export type RanCohort = Cohort & { readonly spec: RanSpec };

export type Parties = readonly [Party, Party];

/** More than any cohort has, so that no party can tell names for ever. */
const MOST_OWNERS = 2 ** 24;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Ask both parties, and throw ManifestMismatch unless they say the same. Uploads need no `names`. */
export async function described(
  parties: Parties,
  cohort: string,
  patience: Patience,
  { names = true } = {},
): Promise<Cohort> {
  const [first, second] = await both(parties, async (party) => {
    const asked = { cohort, withRivals: false, namesApart: true };
    const { owners, ...said } = await party.told(party.client.describeCohort, asked, patience);
    // An older release tells the names at once. Afterwards both releases say the same.
    const older = said.ownersSha256.length === 0;
    const all = older
      ? { ownerCount: BigInt(owners.length), ownersSha256: ownersSha256(owners) }
      : {};
    return { owners, said: { ...said, ...all, owners: [] } };
  });
  const [one, other] = [first, second].map(({ said }) =>
    DescribeCohortResponse.encode(said).finish(),
  );
  if (Buffer.compare(one!, other!) !== 0) {
    throw new PrivedgeError(
      "ManifestMismatch",
      `cohort ${cohort}: the parties describe it differently; try again in a moment, ` +
        "and tell both operators if it stays so",
    );
  }
  const { specJson, margin, meanShare, rivals, rivalsSha256 } = first.said;
  const { publicOwners, snapshotId, wordBits } = first.said;
  const told = [first.owners, second.owners].find((some) => some.length > 0);
  const owners = names ? (told ?? (await namesOf(parties[0], cohort, first.said, patience))) : [];
  if (wordBits > RING_BITS) {
    throw new PrivedgeError("ShareError", `cohort ${cohort}: a word has at most ${RING_BITS} bits`);
  }
  const wrong = owners.find((name) => !isOwnerName(name));
  if (wrong !== undefined) {
    throw new PrivedgeError(
      "ManifestMismatch",
      `cohort ${cohort}: ${JSON.stringify(wrong).slice(0, 80)} is no name of an owner, so its ` +
        "answers would mislead; tell both operators",
    );
  }
  const maxBatch = Math.max(1, first.said.maxBatch);
  const spec = parseSpec(specJson);
  const rule = { margin, meanShare, rivals, rivalsSha256, publicOwners };
  return { name: cohort, spec, specJson, ...rule, owners, snapshotId, maxBatch, wordBits };
}

/** The names in pages, from one party: both have said the digest of them all. */
async function namesOf(
  party: Party,
  cohort: string,
  { snapshotId, ownerCount, ownersSha256: digest }: DescribeCohortResponse,
  patience: Patience,
): Promise<string[]> {
  const names: string[] = [];
  while (names.length < ownerCount && names.length < MOST_OWNERS) {
    const start = BigInt(names.length);
    const asked = { cohort, snapshotId, start };
    const { owners } = await party.told(party.client.listOwners, asked, patience);
    if (owners.length === 0) break;
    for (const name of owners) names.push(name);
  }
  if (BigInt(names.length) !== ownerCount || !ownersSha256(names).equals(digest)) {
    throw new PrivedgeError(
      "ManifestMismatch",
      `cohort ${cohort}: ${party.name} does not tell the names that both parties have; ask again, ` +
        "and tell both operators if it stays so",
    );
  }
  return names;
}

/** SHA-256 over the names in the order of the answer vector, each with a line's end. */
function ownersSha256(names: readonly string[]): Buffer {
  const found = createHash("sha256").update("privedge owners v1\n");
  for (const name of names) found.update(`${name}\n`);
  return found.digest();
}

/** Names of the cohorts that both parties serve with the same architecture, sorted. */
export async function listed(parties: Parties, patience: Patience): Promise<string[]> {
  const [first, second] = await both(parties, async (party) => {
    const { cohorts } = await party.told(party.client.listCohorts, {}, patience);
    if (!cohorts.every((row) => NAME.test(row.name))) {
      throw new PrivedgeError(
        "ShareError",
        `${party.name}: it lists a cohort without a valid name`,
      );
    }
    return cohorts;
  });
  const shared = first.filter((row) =>
    second.some((other) => other.name === row.name && other.specDigest === row.specDigest),
  );
  return shared.map((row) => row.name).sort();
}

function both<T>(parties: Parties, call: (party: Party) => Promise<T>): Promise<[T, T]> {
  return Promise.all([call(parties[0]), call(parties[1])]);
}
