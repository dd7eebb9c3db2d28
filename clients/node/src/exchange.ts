/** Ask both parties one question at once: send each a share, receive a share of the answer. */
import { setTimeout as sleep } from "node:timers/promises";
import { Readable, type Writable } from "node:stream";
import { PrivedgeError } from "./errors.js";
import { QueryRequest, type QueryHeader, type QueryResponse } from "./generated/party.js";
import type { Party } from "./party.js";
import { RING_BITS, WORD_BYTES, fromBytes, toBytes } from "./ring.js";
import { fromStatus } from "./status.js";

const CHUNK_BYTES = 2 ** 20;
/** How long to wait for the other party's reason, when one reports only a lost connection. */
const REASON_MS = 1_000;

type Pair<T> = readonly [T, T];

/**
 * Return both parties' answer shares, of `rows` x `columns` words. Throws as soon as one fails, or
 * answers anything else; the other call is then cancelled.
 */
export async function exchange(
  parties: Pair<Party>,
  header: QueryHeader,
  shares: Pair<BigUint64Array>,
  shape: Pair<number>,
  deadline: Date,
): Promise<Pair<BigUint64Array>> {
  const asked = parties.map((party, at) => ask(party, header, shares[at]!, shape, deadline));
  const halves = asked.map(({ half }) => half);
  try {
    const [first, second] = await Promise.all(halves);
    return [first!, second!];
  } catch (error) {
    // A party that lost the other one reports it at once. The other one may be about to say why.
    const patience = saysLittle(error) >= 2 ? REASON_MS : 0;
    await Promise.race([Promise.allSettled(halves), sleep(patience, undefined, { ref: false })]);
    asked.forEach(({ cancel }) => cancel());
    const reasons = (await Promise.allSettled(halves)).flatMap((end) =>
      end.status === "rejected" ? [end.reason as unknown] : [],
    );
    throw [error, ...reasons].sort((a, b) => saysLittle(a) - saysLittle(b))[0];
  }
}

/** Begin the call to one party; `half` is its share of the answer. */
function ask(
  party: Party,
  header: QueryHeader,
  share: BigUint64Array,
  shape: Pair<number>,
  deadline: Date,
): { half: Promise<BigUint64Array>; cancel: () => void } {
  const call = party.client.query({ deadline });
  // What goes wrong is thrown where the answer is read; without a listener it would be thrown here.
  call.on("error", () => {});
  Readable.from(queryRequests(header, share)).pipe(call as unknown as Writable);
  const half = answerShare(call, party.name, shape).catch((error: unknown) => {
    throw fromStatus(error, party.name);
  });
  return { half, cancel: () => call.cancel() };
}

/** The messages to one party: the header, then its share in chunks. */
export function* queryRequests(
  header: QueryHeader,
  share: BigUint64Array,
): Generator<QueryRequest> {
  yield { part: { $case: "header", value: header } };
  const bytes = toBytes(share, header.wordBits || RING_BITS);
  for (const words of cut(bytes)) yield { part: { $case: "words", value: words } };
}

export function* cut(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES);
}

/** Read no more than the answer: a party could go on for ever. */
export async function answerShare(
  responses: AsyncIterable<QueryResponse>,
  party: string,
  [rows, columns]: Pair<number>,
): Promise<BigUint64Array> {
  const expected = rows * columns * WORD_BYTES;
  const received: Uint8Array[] = [];
  let size = 0;
  let headed = false;
  for await (const { part } of responses) {
    if (!headed) {
      const shape = part?.$case === "header" ? part.value.shape : [];
      if (shape.length !== 2 || shape[0] !== BigInt(rows) || shape[1] !== BigInt(columns)) {
        const message = `${party}: its answer has another shape than the question; ask again`;
        throw new PrivedgeError("IntegrityError", message);
      }
      headed = true;
      continue;
    }
    const words = part?.$case === "words" ? part.value : new Uint8Array();
    size += words.length;
    if (words.length === 0 || size > expected) break;
    received.push(words);
  }
  if (!headed || Buffer.concat(received).length !== expected || size !== expected) {
    throw new PrivedgeError(
      "ShareError",
      `${party}: its answer is not the ${expected} bytes expected`,
    );
  }
  return fromBytes(Buffer.concat(received));
}

/** An error that names a cause comes before a restart, that before a lost connection. */
function saysLittle(error: unknown): number {
  const code = error instanceof PrivedgeError ? error.code : "";
  return ["Restarting", "Unreachable", "Cancelled"].indexOf(code) + 1;
}
