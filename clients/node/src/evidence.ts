/** What is kept of a canary that came back wrong, for operators to look for. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Of canaries alone: the client's own rows and answers are nobody's business. */
export interface Facts {
  readonly query: string;
  readonly cohort: string;
  readonly snapshot: string;
  readonly asked: "identify" | "verify";
  readonly rows: number;
  readonly canaries: readonly {
    readonly row: number;
    readonly kind: string;
    readonly column: number | null;
    readonly shares: readonly (readonly bigint[])[];
  }[];
}

/** Write it to a file that only this user may read; returns what to say of it. */
export function kept(folder: string, facts: Facts): string {
  const path = join(folder, `privedge-evidence-${facts.query}.json`);
  const { canaries, ...question } = facts;
  const all = { ...question, at: Math.round(Date.now() / 1000), canaries };
  // JSON has no bigint, and the words must not lose digits as numbers of JavaScript.
  const marked = JSON.stringify(
    all,
    (_, value: unknown) => (typeof value === "bigint" ? `word ${value}` : value),
    1,
  );
  try {
    mkdirSync(folder, { mode: 0o700, recursive: true });
    writeFileSync(path, marked.replaceAll(/"word (\d+)"/g, "$1"), { mode: 0o600, flag: "wx" });
  } catch (error) {
    return `no evidence is kept: ${(error as NodeJS.ErrnoException).code}`;
  }
  return `evidence: ${path}`;
}
