/** Repeat calls as the table in docs/reference/errors.md says. */
import { randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { PrivedgeError } from "./errors.js";

/** The first pause; each is twice as long as the one before. */
const FIRST_MS = 250;
const LONGEST_MS = 4_000;
/** How often a call is made again that lost its connection, at least. */
const LOST = 2;

/** All tries of a call together last `withinMs`; after the first there are `retries`. */
export interface Patience {
  readonly withinMs: number;
  readonly retries: number;
  /** Whether the party has answered before: then it is tried as long as there is time. */
  readonly answered: boolean;
}

/** Return what `call` returns, or throw what its last try threw. */
export async function retried<T>(
  call: (deadline: Date) => Promise<T>,
  { withinMs, retries, answered }: Patience,
): Promise<T> {
  const deadline = new Date(Date.now() + withinMs);
  let pauseMs = FIRST_MS;
  for (let tried = 0; ; tried++) {
    try {
      return await call(deadline);
    } catch (error) {
      if (!(error instanceof PrivedgeError)) throw error;
      // By chance, or all who were refused together would return together.
      const waitMs = Math.max(pauseMs, error.retryAfterMs) * (1 + randomInt(500) / 1000);
      const late = Date.now() + waitMs >= deadline.getTime();
      if (late || !isMadeAgain(error, tried, retries, answered)) throw error;
      await sleep(waitMs);
      pauseMs = Math.min(2 * pauseMs, LONGEST_MS);
    }
  }
}

function isMadeAgain(
  { again }: PrivedgeError,
  tried: number,
  retries: number,
  answered: boolean,
): boolean {
  if (retries === 0) return false;
  if (again === "started") return true;
  if (again === "place") return tried < retries;
  return again === "lost" && (tried < Math.min(retries, LOST) || answered);
}
