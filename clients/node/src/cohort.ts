/** What both parties say of a cohort. */
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

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Ask both parties, and throw ManifestMismatch unless they say the same. */
export async function described(
  parties: Parties,
  cohort: string,
  patience: Patience,
): Promise<Cohort> {
  const [first, second] = await both(parties, (party) =>
    party.told(party.client.describeCohort, { cohort, withRivals: false }, patience),
  );
  const [one, other] = [first, second].map((said) => DescribeCohortResponse.encode(said).finish());
  if (Buffer.compare(one!, other!) !== 0) {
    throw new PrivedgeError(
      "ManifestMismatch",
      `cohort ${cohort}: the parties describe it differently; try again in a moment, ` +
        "and tell both operators if it stays so",
    );
  }
  const { specJson, margin, meanShare, rivals, rivalsSha256 } = first;
  const { owners, publicOwners, snapshotId, wordBits } = first;
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
  const maxBatch = Math.max(1, first.maxBatch);
  const spec = parseSpec(specJson);
  const rule = { margin, meanShare, rivals, rivalsSha256, publicOwners };
  return { name: cohort, spec, specJson, ...rule, owners, snapshotId, maxBatch, wordBits };
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
