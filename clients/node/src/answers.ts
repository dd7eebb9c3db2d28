/** The opened answer: a one-hot row for each picture, or all zero for "unknown". */
import { PrivedgeError } from "./errors.js";

/** How many rows and columns the answer to a question has. */
export function answerShape(
  owners: readonly string[],
  images: number,
  verifyOwner: string | null,
  oneSubject: boolean,
  publicOwners = 0,
): [number, number] {
  return [oneSubject ? 1 : images, verifyOwner === null ? owners.length + publicOwners : 1];
}

/**
 * One name, or null for "unknown" (or "no"), for each row of the sum of both answer shares. The name
 * of a public owner is null.
 *
 * Anything but one-hot rows means that a party deviated or a run went wrong: an IntegrityError, and
 * no answer is reported.
 */
export function readAnswers(
  opened: BigUint64Array,
  names: readonly (string | null)[],
): (string | null)[] {
  const answers: (string | null)[] = [];
  for (let start = 0; start < opened.length; start += names.length) {
    const row = [...opened.subarray(start, start + names.length)];
    const ones = row.filter((word) => word === 1n).length;
    if (ones > 1 || row.some((word) => word > 1n)) {
      throw new PrivedgeError(
        "IntegrityError",
        "the parties' shares do not add up to an answer; ask again, and tell both operators",
      );
    }
    answers.push(ones ? names[row.indexOf(1n)]! : null);
  }
  return answers;
}
