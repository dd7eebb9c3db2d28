// Files that a person writes: what is wrong with one is said in one line.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Client, loadConfig } from "privedge";
import { isOwnerName } from "../dist/certificates.js";
import { planesOf } from "../dist/pictures.js";
import { retried } from "../dist/retry.js";
import { PrivedgeError } from "../dist/errors.js";

const SOUND = `party0 = "127.0.0.1:7000"
party1 = "[::1]:7001"
rpc_timeout_s = 5
integrity = "canaries:3"
evidence = "kept"
[tls]
ca = "ca.crt"
certificate = "/etc/privedge/client-me.crt"
key = "~/client-me.key"
[tls.pins]
party0 = "party0.crt"
admin = "admin.crt"
`;

function written(t, text) {
  const folder = mkdtempSync(join(tmpdir(), "privedge-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "privedge.toml");
  writeFileSync(path, text);
  return { folder, path };
}

test("a file is read as Python reads it", (t) => {
  const { folder, path } = written(t, `\uFEFF${SOUND}`);
  const config = loadConfig(path);
  assert.equal(config.tls.ca, join(folder, "ca.crt"));
  assert.equal(config.tls.certificate, "/etc/privedge/client-me.crt");
  assert.ok(config.tls.key.endsWith("/client-me.key") && !config.tls.key.includes("~"));
  assert.deepEqual(config.tls.pins, { party0: join(folder, "party0.crt") });
  assert.deepEqual([config.rpcTimeoutS, config.retries], [5, 4]);
  assert.deepEqual([config.integrity, config.evidence], ["canaries:3", join(folder, "kept")]);
});

const faults = {
  "a wrong key": [/rpc_timeout_s/, "rpc_timeouts"],
  "no TLS": [/\[tls\][^]*/, "insecure_loopback = true"],
  "a scheme": [/127\.0\.0\.1:7000/, "unix:/tmp/party0"],
  "a port that is too large": [/7001/, "70010"],
  "no time": [/= 5/, "= 0"],
  "a number of canaries that there is not": [/canaries:3/, "canaries:5"],
  "no TOML": [/party0 = /, "party0: "],
  "a number for a text": [/"ca.crt"/, "1"],
};
for (const [fault, [from, to]] of Object.entries(faults)) {
  test(`a file with ${fault} is refused in one line`, (t) => {
    const { path } = written(t, SOUND.replace(from, to));
    assert.throws(() => loadConfig(path), {
      code: "ConfigError",
      message: /^[^\n]*privedge\.toml: [^\n]+$/,
    });
  });
}

test("files that are missing are named", (t) => {
  const { path } = written(t, SOUND);
  assert.throws(() => loadConfig(`${path}.no`), { code: "ConfigError", message: /no such file/ });
  assert.throws(() => Client.fromFile(path), { code: "CertificateError", message: /no such file/ });
});

const shape = { width: 8, height: 8, channels: 1 };
const pictures = {
  "no pixels": { data: new Uint8Array(0), width: 0, height: 0 },
  "numbers in place of bytes": { data: new Float32Array(64), width: 8, height: 8 },
  opacity: { data: new Uint8Array(256), width: 8, height: 8 },
  "another size": { data: new Uint8Array(63), width: 9, height: 7 },
  "only 0 and 1": { data: new Uint8Array(64).fill(1), width: 8, height: 8 },
  nothing: undefined,
};
for (const [what, picture] of Object.entries(pictures)) {
  test(`a picture with ${what} is refused in one line`, () =>
    assert.rejects(planesOf(picture, shape, "pictures[0]"), {
      code: "ImageError",
      message: /^pictures\[0\]: [^\n]+$/,
    }));
}

/** Fails in each of these ways in turn, then answers. */
function failing(...ends) {
  const calls = [];
  const call = async (deadline) => {
    calls.push(deadline);
    const again = ends[calls.length - 1];
    if (again !== undefined) throw new PrivedgeError("Refused", "", again, 0);
    return "answer";
  };
  return { call, calls };
}

const patience = { withinMs: 60_000, retries: 1, awayMs: 0 };

test("what has a place later is asked again, as often as may be", async () => {
  const once = failing("place");
  assert.equal(await retried(once.call, patience), "answer");
  assert.equal(once.calls.length, 2);
  assert.equal(once.calls[0], once.calls[1]);
  await assert.rejects(retried(failing("place", "place").call, patience), { again: "place" });
});

for (const again of ["place", "started", "lost"]) {
  test(`${again}: nothing is asked again without retries, or without time for the pause`, async () => {
    const impatient = failing(again);
    await assert.rejects(retried(impatient.call, { ...patience, retries: 0 }), { again });
    const late = failing(again);
    await assert.rejects(retried(late.call, { ...patience, withinMs: 200 }), { again });
    assert.deepEqual([impatient.calls.length, late.calls.length], [1, 1]);
  });
}

for (const again of ["never", "changed"]) {
  test(`${again}: the same call would end the same way`, async () => {
    const once = failing(again);
    await assert.rejects(retried(once.call, patience), { again });
    assert.equal(once.calls.length, 1);
  });
}

test("no owner has the name of the answer for strangers", () => {
  for (const name of ["unknown", "Unknown", "UNKNOWN", "", "a b", "-a"]) {
    assert.equal(isOwnerName(name), false, name);
  }
  for (const name of ["ana", "Ana.B_2", "unknown-2", "unknowns"]) assert.ok(isOwnerName(name));
});
