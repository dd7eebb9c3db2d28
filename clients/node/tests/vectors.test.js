// The vectors of tests/golden: what this client computes, sends and reads, byte for byte.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { answerShape, readAnswers } from "../dist/answers.js";
import { queryHeader, wordsOf } from "../dist/question.js";
import { answerShare, queryRequests } from "../dist/exchange.js";
import { extract } from "../dist/features.js";
import { QueryRequest, QueryResponse, UploadModelRequest } from "../dist/generated/party.js";
import { widthOf } from "../dist/model.js";
import { requireInRange } from "../dist/narrow.js";
import { halvesOf, uploadRequests } from "../dist/owner.js";
import { readPredictions, wordsOfInputs } from "../dist/predictions.js";
import { parseRan } from "../dist/ran.js";
import { combine, encode, fromBytes, sharesUnder, split, toBytes } from "../dist/ring.js";
import { parseSpec } from "../dist/spec.js";

const golden = (name) =>
  JSON.parse(readFileSync(new URL(`../../../tests/golden/${name}`, import.meta.url), "utf8"));
const vectors = golden("client.json");
const bytes = (hex) => Buffer.from(hex, "hex");
const hex = (words) => toBytes(words).toString("hex");
const mask = (seed, length) =>
  fromBytes(createHash("shake128", { outputLength: length }).update(seed).digest());

for (const vector of vectors.pictures) {
  const spec = parseSpec(vector.spec);
  test(`a picture of ${vector.channels} channels in ${spec.image.channels}`, async () => {
    const { width, height } = vector;
    const words = await wordsOf(spec, { data: bytes(vector.pixels), width, height }, 0);
    assert.equal(hex(words), vector.words);
  });
}

for (const vector of vectors.vectors) {
  const spec = parseSpec(vector.spec);
  const { unit_length: unit, size } = spec.features;

  test(`a vector of ${vector.dtype}, unit length ${unit}`, async () => {
    const { buffer, byteOffset } = Buffer.from(bytes(vector.values));
    const Kind = vector.dtype === "float32" ? Float32Array : Float64Array;
    const values = new Kind(buffer.slice(byteOffset, byteOffset + size * Kind.BYTES_PER_ELEMENT));
    assert.equal(hex(await wordsOf(spec, values, 0)), vector.words);
  });
}

test("a cohort of neither RANs nor a model that is known is refused", () => {
  const [{ spec }] = vectors.predictions;
  const model = JSON.parse(spec);
  for (const change of [
    { kind: "oracle" },
    { layers: [] },
    { layers: [{ kind: "lambda" }] },
    { layers: [{ kind: "relu" }] },
    { layers: [{ kind: "relu", of: 5 }] },
    { layers: [{ kind: "flatten" }, { kind: "dense", features: 1025 }] },
    { outputs: { kind: "weights" } },
    { labels: ["rest"] },
    { input: [0] },
  ]) {
    const refused = { code: "CheckpointError", message: /does not know such an architecture$/ };
    assert.throws(() => parseSpec(JSON.stringify({ ...model, ...change })), refused);
  }
});

for (const vector of vectors.predictions) {
  const spec = parseSpec(vector.spec);
  const width = spec.labels.length;
  const inputs = vector.inputs.map((each) => new Float32Array(new Uint8Array(bytes(each)).buffer));

  test(`the messages of a prediction: ${spec.outputs.kind}`, () => {
    const joined = Buffer.concat(wordsOfInputs(spec, inputs).map((each) => toBytes(each)));
    assert.equal(joined.toString("hex"), vector.words);
    const shares = sharesUnder(mask(vector.seed, joined.length), fromBytes(joined));
    const { cohort: name, snapshot_id: snapshotId, word_bits: wordBits } = vector;
    const cohort = { name, snapshotId, spec, wordBits };
    const header = queryHeader(cohort, inputs.length, null, false, bytes(vector.query_id));
    shares.forEach((share, party) => {
      assert.equal(toBytes(share, wordBits).toString("hex"), vector.shares[party]);
      const sent = [...queryRequests(header, share)].map((each) =>
        Buffer.from(QueryRequest.encode(each).finish()).toString("hex"),
      );
      assert.deepEqual(sent, vector.requests[party]);
    });
  });

  test(`the answers of a prediction: ${spec.outputs.kind}`, async () => {
    assert.equal(widthOf(spec), width);
    const shape = [inputs.length, width];
    const [first, second] = await Promise.all(
      vector.responses.map((each) => answerShare(stream(each), "party", shape)),
    );
    const opened = combine(first, second);
    assert.equal(hex(opened), vector.opened);
    assert.deepEqual(readPredictions(opened, spec), vector.answers);
    for (const row of vector.refused) {
      const refused = { code: "IntegrityError", message: /do not add up to an answer/ };
      assert.throws(() => readPredictions(fromBytes(bytes(row)), spec), refused, row);
    }
  });
}

test("one score alone has two labels", () => {
  const spec = {
    ...parseSpec(vectors.predictions[1].spec),
    layers: [{ kind: "flatten" }, { kind: "dense", features: 1 }],
    labels: ["no", "yes"],
  };
  const opened = BigUint64Array.from([1n << 15n, -1n, 0n]);
  assert.deepEqual(readPredictions(opened, spec), [
    { label: 1, name: "yes", scores: [0.5] },
    { label: 0, name: "no", scores: [-(2 ** -16)] },
    { label: 0, name: "no", scores: [0] },
  ]);
  assert.equal(widthOf({ ...spec, outputs: { kind: "label" } }), 2);
});

test("inputs that a served model cannot take are refused", () => {
  const spec = parseSpec(vectors.predictions[0].spec);
  const filled = (value, length = 20) => new Float32Array(length).fill(value);
  for (const [given, code, said] of [
    [[], "ImageError", /none were given/],
    [filled(1, 19), "ImageError", /must have 20 values \(2 x 10\), row by row, not 19/],
    [[filled(1), filled(NaN)], "ImageError", /inputs\[1\]: has NaN or infinity/],
    [new Int32Array(20), "ImageError", /give a Float32Array or Float64Array/],
    [[[1, 2]], "ImageError", /give a Float32Array or Float64Array/],
    [filled(64), "RangeError", /a value reaches 64/],
    [filled(40_000), "RangeError", /reaches the limit of 32768/],
  ]) {
    assert.throws(() => wordsOfInputs(spec, given), { code, message: said });
  }
  assert.equal(wordsOfInputs(spec, filled(-63.9)).length, 1);
});

test("a vector that the cohort cannot take is refused", async () => {
  const [plain, unit] = [false, true].map((wanted) => {
    const found = vectors.vectors.find(
      ({ spec }) => JSON.parse(spec).features.unit_length === wanted,
    );
    return parseSpec(found.spec);
  });
  const pictures = parseSpec(vectors.pictures[0].spec);
  const filled = (value, length = 9) => new Float32Array(length).fill(value);
  const picture = { data: new Uint8Array(80), width: 10, height: 8 };
  for (const [spec, given, said] of [
    [plain, filled(1, 8), /have 9 values, not 8/],
    [plain, filled(NaN), /NaN or infinity/],
    [plain, filled(Infinity), /NaN or infinity/],
    [plain, filled(31), /length is above 90; scale all vectors/],
    [plain, filled(1e-6), /length is below 1\/64, too short .*; scale all vectors/],
    [plain, filled(0), /length is below 1\/64/],
    [unit, filled(0), /no unit length/],
    [plain, [1, 2, 3, 4, 5, 6, 7, 8, 9], /give a Float32Array or Float64Array/],
    [plain, new Int32Array(9), /give a Float32Array or Float64Array/],
    [plain, picture, /takes vectors/],
    [pictures, filled(1), /takes pictures, not vectors/],
  ]) {
    await assert.rejects(wordsOf(spec, given, 0), { code: "ImageError", message: said });
  }
});

for (const vector of vectors.queries) {
  const spec = parseSpec(vector.spec);
  const { owners, verify_owner: owner, one_subject: oneSubject } = vector;
  const images = vector.pixels.length;

  test(`the messages of a query: ${vector.name}`, async () => {
    const pictures = vector.pixels.map((data) => ({ data: bytes(data), ...spec.image }));
    const words = await Promise.all(pictures.map((each, at) => wordsOf(spec, each, at)));
    const joined = Buffer.concat(words.map((each) => toBytes(each)));
    assert.equal(joined.toString("hex"), vector.words);
    const shares = sharesUnder(mask(vector.seed, joined.length), fromBytes(joined));
    const wordBits = vector.word_bits;
    const sent = shares.map((share) => toBytes(share, wordBits).toString("hex"));
    assert.deepEqual(sent, vector.shares);
    const cohort = { name: vector.cohort, snapshotId: vector.snapshot_id, spec, wordBits };
    const header = queryHeader(cohort, images, owner, oneSubject, bytes(vector.query_id));
    shares.forEach((share, party) => {
      const sent = [...queryRequests(header, share)].map((each) =>
        Buffer.from(QueryRequest.encode(each).finish()).toString("hex"),
      );
      assert.deepEqual(sent, vector.requests[party]);
    });
  });

  test(`the answer of a query: ${vector.name}`, async () => {
    const publicOwners = vector.public_owners;
    const shape = answerShape(owners, images, owner, oneSubject, publicOwners);
    const [first, second] = await Promise.all(
      vector.responses.map((each) => answerShare(stream(each), "party", shape)),
    );
    const opened = combine(first, second);
    assert.deepEqual([...opened].map(Number), vector.opened.flat());
    const names = [...owners, ...new Array(publicOwners).fill(null)];
    assert.deepEqual(readAnswers(opened, owner === null ? names : [owner]), vector.answers);
  });
}

test("a public owner is nobody, and has a column after the owners'", () => {
  assert.deepEqual(answerShape(["ana", "ben"], 3, null, false, 2), [3, 4]);
  assert.deepEqual(answerShape(["ana", "ben"], 3, "ana", false, 2), [3, 1]);
  const opened = BigUint64Array.from([0n, 1n, 0n, 0n, 0n, 1n]);
  assert.deepEqual(readAnswers(opened, ["ana", "ben", null]), ["ben", null]);
});

test("no other sum is reported as an answer", () => {
  // These numbers have no exact form in JavaScript, so they are read from the text.
  const text = readFileSync(new URL("../../../tests/golden/client.json", import.meta.url), "utf8");
  const rows = /"refused_answers": \[\n([^"]*)\n\]/.exec(text)[1].match(/\[\d+, \d+\]/g);
  assert.equal(rows.length, vectors.refused_answers.length);
  for (const row of rows) {
    const opened = BigUint64Array.from(row.match(/\d+/g), BigInt);
    assert.throws(() => readAnswers(opened, ["ana", "ben"]), { code: "IntegrityError" }, row);
  }
});

test("an answer of another shape or length is refused", async () => {
  const [responses] = vectors.queries[0].responses;
  const read = (messages, shape) => answerShare(stream(messages), "party 0", shape);
  await assert.rejects(read(responses, [2, 2]), { code: "IntegrityError" });
  await assert.rejects(read(responses, [1, 3]), { code: "IntegrityError" });
  await assert.rejects(read(responses.slice(1), [1, 2]), { code: "IntegrityError" });
  await assert.rejects(read([], [1, 2]), { code: "ShareError" });
  await assert.rejects(read(responses.slice(0, 1), [1, 2]), { code: "ShareError" });
  await assert.rejects(read([...responses, responses[1]], [1, 2]), { code: "ShareError" });
});

test("the messages of an upload", () => {
  const vector = vectors.upload;
  const ran = parseRan(bytes(vector.file), "ana.ran");
  assert.equal(ran.owner, vector.owner);
  const salts = vector.salts.map(bytes);
  const draws = {
    modelId: vector.model_id,
    salts,
    split: (words, name) => {
      assert.equal(hex(words), vector.words[name]);
      return sharesUnder(mask(vector.seeds[name], words.byteLength), words);
    },
  };
  const halves = halvesOf(ran, vector.cohort, vector.spec_digest, draws, vector.word_bits);
  for (const party of [0, 1]) {
    const [header, ...rest] = uploadRequests(halves.manifest, salts[party], halves.shares[party]);
    const sent = Buffer.from(UploadModelRequest.encode(header).finish());
    assert.equal(sent.toString("hex"), vector.headers[party]);
    assert.equal(
      Buffer.concat(rest.map((each) => each.part.value)).toString("hex"),
      vector.shares[party],
    );
  }
});

test("a damaged file of a model is refused", () => {
  const file = bytes(vectors.upload.file);
  const refused = { code: "CheckpointError" };
  for (const length of [0, 7, 8, 40, file.length - 1]) {
    assert.throws(() => parseRan(file.subarray(0, length), "cut.ran"), refused, `${length}`);
  }
  const altered = (from, to) => Buffer.from(file.toString("latin1").replace(from, to), "latin1");
  assert.throws(() => parseRan(altered("F32", "F16"), "f16.ran"), refused);
  assert.throws(() => parseRan(altered("0.mean", "0.meat"), "name.ran"), refused);
  assert.throws(
    () => parseRan(altered('\\"format\\": 1', '\\"format\\": 2'), "format.ran"),
    refused,
  );
  assert.throws(() => parseRan(Buffer.from("PERAN001and more"), "closed.ran"), /is encrypted/);
  const notFinite = Buffer.from(file);
  notFinite.writeFloatLE(NaN, file.length - 4);
  assert.throws(() => parseRan(notFinite, "nan.ran"), refused);
});

const featureVectors = golden("features.json");
for (const vector of featureVectors.cases) {
  test(`the feature map ${vector.case}`, () => {
    const { height, width } = featureVectors;
    const planes = Array.from({ length: vector.channels }, (_, channel) =>
      Uint8Array.from({ length: height * width }, (_, at) => {
        const row = Math.floor(at / width);
        return (9 * row + 16 * (at % width) + 37 * channel * row) % 256;
      }),
    );
    const image = { height, width, channels: vector.channels };
    const found = extract({ name: "v", image, features: vector.features, layers: [] }, planes);
    assert.equal(found.length, vector.values.length);
    found.forEach((value, at) => assert.ok(Math.abs(value - vector.values[at]) < 1e-5, `${at}`));
  });
}

const page = readFileSync(new URL("../../../docs/reference/wire.md", import.meta.url), "utf8");
const wire = JSON.parse(/```json\n([^`]*)```/.exec(page)[1]);

test("numbers are encoded as the page of the wire says", () => {
  for (const { value, word } of wire.encode) {
    assert.equal(encode(Float64Array.of(value), "v")[0], BigInt(`0x${word}`), `${value}`);
  }
  for (const value of wire.refuse) {
    const given = Float64Array.of(value === "inf" ? Infinity : Number(value));
    assert.throws(() => encode(given, "v"), { code: "RangeError" }, `${value}`);
  }
});

test("halves are rounded to even", () => {
  const half = 2 ** -17;
  const words = encode(Float64Array.of(half, 3 * half, -half, -3 * half), "v");
  assert.deepEqual([...new BigInt64Array(words.buffer)], [0n, 2n, 0n, -2n]);
});

test("two shares add up, and neither is used twice", () => {
  const secret = encode(Float64Array.of(1, -2.25, 0), "v");
  const [first, second] = [split(secret), split(secret)];
  assert.deepEqual(combine(...first), secret);
  assert.deepEqual(combine(...second), secret);
  assert.notDeepEqual(first[0], second[0]);
});

async function* stream(messages) {
  for (const message of messages) yield QueryResponse.decode(bytes(message));
}

test("what the parties would answer with unknown is refused", async () => {
  const of = (kind) => ({ features: { kind: "vector", size: 2, ...kind } });
  const unit = of({ unit_length: true });
  const plain = of({ unit_length: false });
  for (const [spec, values, said] of [
    [unit, [1, 0], null],
    [unit, [0.9, 0], /too short or too long/],
    [unit, [1, 1], /too short or too long/],
    [plain, [0, 0], null],
    [plain, [127, 10], null],
    [plain, [127, 30], /too short or too long/],
    [plain, [0, 300], /reaches 256/],
  ]) {
    const words = encode(Float64Array.from(values), "query");
    const check = () => requireInRange(spec, words, 26);
    if (said === null) check();
    else assert.throws(check, { code: "RangeError", message: said });
    requireInRange(spec, words, 0);
  }
});
