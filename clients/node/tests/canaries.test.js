// Canary rows, as tests/golden/client.json and Python's client have them.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";
import { Canaries, near, sifted, stranger, wanted, wordsOf } from "../dist/canaries.js";
import { digestOf, readRivals } from "../dist/rivals.js";
import { combine, fromBytes, split, toBytes } from "../dist/ring.js";
import { inputShape, parseSpec } from "../dist/spec.js";
import { needsDeployment } from "./live.js";
import { clientOf, description, party, vectors } from "./servers.js";

const golden = vectors.canaries;
const spec = parseSpec(golden.spec);
const raw = Buffer.from(golden.rivals, "hex");
const rivals = readRivals(raw, 64);
const COUNTED = { name: "vectors", spec, owners: ["ana", "ben"] };

/** Sums are added up in another order than numpy's. */
function assertNear(words, expected) {
  const values = (each) => [...each].map((word) => BigInt.asIntN(64, word));
  const other = values(fromBytes(Buffer.from(expected, "hex")));
  values(words).forEach((value, at) => {
    const off = value - other[at];
    assert.ok(off >= -1n && off <= 1n, `${at}: ${value} and ${other[at]}`);
  });
}

test("rivals have the digest of the description", () => {
  assert.equal(rivals.length, 4);
  assert.equal(digestOf(raw, inputShape(spec)), golden.rivals_sha256);
});

test("strangers and public owners' rows are Python's", () => {
  assertNear(wordsOf(stranger(rivals, golden.signs)), golden.stranger);
  golden.near.forEach((words, at) => assertNear(wordsOf(near(rivals, at, golden.signs)), words));
});

const cohortOf = (asked) => ({
  ...COUNTED,
  rivals: asked.rivals,
  publicOwners: asked.public_owners,
  maxBatch: asked.max_batch,
});

for (const asked of golden.rows) {
  const name = `${asked.integrity}, verify ${asked.verify}, ${asked.max_batch} rows, ${asked.own} own`;
  test(`how many canaries, and of which kind: ${name}, rivals ${asked.rivals}`, () => {
    const cohort = cohortOf(asked);
    const made = () => {
      const integrity = asked.integrity ?? undefined;
      const count = wanted(integrity, cohort, asked.verify, asked.one_subject);
      return count ? [count, new Canaries(cohort, rivals, count, asked.verify)] : [0];
    };
    if (asked.wanted === null) {
      assert.throws(made, { code: "ConfigError" });
      return;
    }
    const [count, canaries] = made();
    assert.equal(count, asked.wanted);
    if (count === 0) return;
    const own = Array.from({ length: asked.own }, () => new BigUint64Array(64).fill(7n));
    const mixed = canaries.mixed(own);
    assert.deepEqual([canaries.room, mixed.rows.length], [asked.room, asked.rows]);
    assert.ok(mixed.own.every((at) => mixed.rows[at] === own[mixed.own.indexOf(at)]));
    const places = [...mixed.own, ...mixed.canaries.map(({ row }) => row)].sort((a, b) => a - b);
    assert.deepEqual(places, [...mixed.rows.keys()]);
    const strangers = mixed.canaries.filter(({ kind }) => kind === "stranger").length;
    if (asked.strangers !== null) assert.equal(strangers, asked.strangers);
    const again = canaries.again({ words: own[0], column: 0, canaries: [] });
    assert.deepEqual([again.rows.length, canaries.times], asked.again);
    assert.deepEqual(again.own, []);
  });
}

test("the place of the own row is uniform", () => {
  const canaries = new Canaries({ ...COUNTED, publicOwners: 2, maxBatch: 64 }, rivals, 3, false);
  const places = [0, 0, 0, 0];
  for (let each = 0; each < 2000; each++) {
    places[canaries.mixed([new BigUint64Array(64)]).own[0]] += 1;
  }
  // Chi-square with three degrees of freedom: above 24 once in 40,000 times.
  assert.ok(places.reduce((sum, found) => sum + (found - 500) ** 2 / 500, 0) < 24, `${places}`);
});

const QUESTION = { query: "0e".repeat(16), cohort: "vectors", snapshot: "1f".repeat(32) };
const ASKED = { ...QUESTION, asked: "identify", rows: 4 };

function folderOf(t) {
  const folder = mkdtempSync(join(tmpdir(), "privedge-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

for (const outcome of golden.sifted) {
  test(`what a client makes of it: ${outcome.name}`, (t) => {
    const folder = join(folderOf(t), "evidence");
    const rows = Array.from({ length: 4 }, () => new BigUint64Array(64));
    const mixed = { rows, own: outcome.own, canaries: outcome.canaries };
    const shares = split(BigUint64Array.from(outcome.opened.flat(), BigInt));
    const found = () => sifted(mixed, shares, 4, ASKED, folder);
    if (outcome.outcome === "alarm") {
      assert.throws(found, { code: "IntegrityError", message: /one of the three operators/ });
      const path = join(folder, `privedge-evidence-${ASKED.query}.json`);
      assert.equal(statSync(path).mode & 0o777, 0o600);
      const text = readFileSync(path, "utf8");
      const kept = JSON.parse(text);
      // Neither the own row nor its answer, of which a share would be a half.
      assert.deepEqual(
        kept.canaries.map(({ row }) => row),
        [1, 2, 3],
      );
      assert.deepEqual(Object.keys(kept).sort(), [
        "asked",
        "at",
        "canaries",
        "cohort",
        "query",
        "rows",
        "snapshot",
      ]);
      // Words lose no digit.
      assert.ok(text.includes(String(shares[0][4])));
      return;
    }
    const { opened, doubt } = found();
    assert.deepEqual([...opened].map(Number), outcome.opened[0]);
    assert.equal(doubt?.column, outcome.outcome === "answers" ? undefined : outcome.outcome.doubt);
    assert.ok(!existsSync(folder));
  });
}

// --- A client and two servers ---------------------------------------------------------------------

const VECTORS = {
  ...description,
  specJson: golden.spec,
  rivals: 4,
  rivalsSha256: golden.rivals_sha256,
  publicOwners: 2,
  rivalsRows: raw,
};

/** What honest parties answer: a row at a rival is nobody but a public owner, no other is anybody. */
function honest(words, { question, shape }) {
  const verify = question.$case === "verify";
  const opened = [];
  for (let start = 0; start < words.length; start += 64) {
    const row = [...words.subarray(start, start + 64)].map(
      (word) => Number(BigInt.asIntN(64, word)) / 65536,
    );
    const away = rivals.map((each) => each.reduce((sum, v, at) => sum + (v - row[at]) ** 2, 0));
    const at = away.findIndex((each) => each < 0.2);
    opened.push(verify ? [0] : [0, 0, Number(at === 0), Number(at === 1)]);
  }
  assert.equal(opened.length, Number(shape[0]));
  return opened;
}

/** Two servers that add up what they get, and answer with what `change` makes of the answers. */
async function served(t, change, describe = VECTORS) {
  const waiting = new Map();
  const asked = [];
  const query = (call, header) => {
    const pieces = [];
    call.on("data", ({ part }) => pieces.push(part.value));
    call.on("end", () => {
      const id = Buffer.from(header.queryId).toString("hex");
      const half = { call, words: fromBytes(Buffer.concat(pieces)) };
      const other = waiting.get(id);
      if (other === undefined) {
        waiting.set(id, half);
        return;
      }
      asked.push(header);
      const opened = change(honest(combine(half.words, other.words), header), header);
      const halves = opened && split(BigUint64Array.from(opened.flat(), BigInt));
      [half, other].forEach((each, at) => {
        if (!opened) {
          const details = "the budget is spent";
          each.call.emit("error", { code: status.RESOURCE_EXHAUSTED, details });
          return;
        }
        const shape = [opened.length, opened[0].length].map(BigInt);
        each.call.write({ part: { $case: "header", value: { shape, cost: undefined } } });
        each.call.write({ part: { $case: "words", value: toBytes(halves[at]) } });
        each.call.end();
      });
    });
  };
  const ports = await Promise.all(
    ["party0", "party1"].map((role) => party(t, role, query, { describe })),
  );
  return { ports, asked };
}

/** Far from every rival. */
const nobody = Float64Array.from({ length: 64 }, (_, at) => (at === 5 ? 1 : 0));
const same = (opened) => opened;

test("canaries go along and are left out", needsDeployment, async (t) => {
  const { ports, asked } = await served(t, same);
  for (const [integrity, rows] of [
    ["none", 1],
    ["canaries:1", 2],
    ["canaries:3", 4],
    ["canaries:7", 8],
  ]) {
    const client = clientOf(t, ports, { integrity });
    const reply = await client.identify(nobody, { cohort: "vectors" });
    assert.deepEqual([reply.answers, reply.canaries], [[null], rows - 1]);
    assert.equal(asked.at(-1).shape[0], BigInt(rows));
  }
});

test("verify has three by itself, and identify none", needsDeployment, async (t) => {
  const { ports } = await served(t, same);
  const client = clientOf(t, ports);
  assert.equal((await client.verify(nobody, "ana", { cohort: "vectors" })).canaries, 3);
  assert.equal((await client.identify(nobody, { cohort: "vectors" })).canaries, 0);
});

test("a changed batch is not reported, and leaves evidence", needsDeployment, async (t) => {
  const evidence = folderOf(t);
  const named = (opened) => opened.map(([first, ...rest]) => [first + 1, ...rest]);
  const { ports } = await served(t, named);
  const believed = clientOf(t, ports, { integrity: "none" });
  assert.deepEqual((await believed.identify(nobody, { cohort: "vectors" })).answers, ["ana"]);
  const client = clientOf(t, ports, { integrity: "canaries:3", evidence });
  const asked = client.identify(nobody, { cohort: "vectors" });
  await assert.rejects(asked, { code: "IntegrityError", message: /3 of 3 canaries/ });
  assert.equal(readdirSync(evidence).length, 1);
});

/** Names the first row that is nobody's in questions of the usual kind. */
const namesAStranger = (then) => (opened, header) => {
  if (header.again) return then(opened, header);
  const at = opened.findIndex((row) => row.every((word) => word === 0));
  return opened.map((row, place) => (place === at ? [1, ...row.slice(1)] : row));
};

test(
  "a stranger that is named is asked about again, and must be named",
  needsDeployment,
  async (t) => {
    const { ports, asked } = await served(t, namesAStranger(same));
    const client = clientOf(t, ports, { integrity: "canaries:7", evidence: folderOf(t) });
    // The first row that is nobody's is the own one now and then: then there is no doubt.
    for (let settled = 0; settled < 3;) {
      const before = asked.length;
      await client.identify(nobody, { cohort: "vectors" }).then(
        () => {},
        (error) => {
          assert.equal(error.code, "IntegrityError");
          assert.match(error.message, /1 of 16 canaries came back wrong/);
          assert.deepEqual([asked.length - before, asked.at(-1).shape[0]], [2, 16n]);
          settled += 1;
        },
      );
    }
  },
);

test("a doubt that may not be settled is an alarm", needsDeployment, async (t) => {
  const { ports } = await served(
    t,
    namesAStranger(() => undefined),
  );
  const changes = { integrity: "canaries:7", evidence: folderOf(t), retries: 0 };
  const client = clientOf(t, ports, changes);
  const errors = [];
  while (errors.length === 0) {
    await client.identify(nobody, { cohort: "vectors" }).catch((error) => errors.push(error));
  }
  assert.equal(errors[0].code, "IntegrityError");
  assert.match(errors[0].message, /asking about it again was refused/);
});

test("rivals that are not those of the description are refused", needsDeployment, async (t) => {
  const rivalsRows = Buffer.from(raw).reverse();
  const { ports } = await served(t, same, { ...VECTORS, rivalsRows });
  const asked = clientOf(t, ports).verify(nobody, "ana", { cohort: "vectors" });
  await assert.rejects(asked, { code: "ManifestMismatch", message: /public rivals are not those/ });
});
