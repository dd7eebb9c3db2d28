/**
 * The one kind of error that this client throws on purpose.
 *
 * `message` is one line: what is wrong, and what to do. It never holds a pixel, a share or a label.
 */
import type { Again } from "./generated/refusals.js";

export class PrivedgeError extends Error {
  override readonly name = "PrivedgeError";

  /**
   * @param code the kind, as docs/reference/errors.md lists them: "NotReady", "ImageError", ...
   * @param again for how long a call that ended like this is made again
   * @param retryAfterMs no earlier than this, if the server said so
   */
  constructor(
    readonly code: string,
    message: string,
    readonly again: Again = "never",
    readonly retryAfterMs = 0,
  ) {
    super(message);
  }
}

/** Why a file could not be read, for a message after its path. */
export function unreadable(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" ? "no such file" : `cannot be read (${code})`;
}
