// Parties that misbehave: real gRPC servers with the certificates of a deployment.
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createServer } from "node:tls";
import { Metadata, status } from "@grpc/grpc-js";
import { loadConfig } from "privedge";
import { QueryResponse } from "../dist/generated/party.js";
import { live, needsDeployment } from "./live.js";
import { clientOf, description, files, party, vectors } from "./servers.js";

const [vector] = vectors.queries;
const picture = { data: Buffer.from(vector.pixels[0], "hex"), width: 10, height: 8 };

const answer =
  (at, { responses } = vector) =>
  (call) => {
    call.on("data", () => {});
    call.on("end", () => {
      for (const message of responses[at]) {
        call.write(QueryResponse.decode(Buffer.from(message, "hex")));
      }
      call.end();
    });
  };

/** Refuses as a server of ours does. */
const refuse = (code, details, milliseconds) => (call) => {
  const metadata = new Metadata();
  if (milliseconds !== undefined) metadata.set("retry-after-ms", String(milliseconds));
  call.emit("error", { code, details, metadata });
};

const [predicted] = vectors.predictions;
const inputs = predicted.inputs.map(
  (each) => new Float32Array(new Uint8Array(Buffer.from(each, "hex")).buffer),
);
const describe = {
  ...description,
  specJson: predicted.spec,
  owners: ["clinic"],
  snapshotId: predicted.snapshot_id,
  margin: 1,
  wordBits: predicted.word_bits,
};

const ask = (client) => client.identify(picture, { cohort: "vectors" });

test("the answers of the vectors are read from two servers", needsDeployment, async (t) => {
  const ports = [await party(t, "party0", answer(0)), await party(t, "party1", answer(1))];
  assert.deepEqual((await ask(clientOf(t, ports))).answers, vector.answers);
});

test("a served model is asked in batches, and without canaries", needsDeployment, async (t) => {
  const rows = [];
  const play =
    (at) =>
    (call, { shape }) => {
      rows.push(Number(shape[0]));
      answer(at, predicted)(call);
    };
  const ports = [
    await party(t, "party0", play(0), { describe: { ...describe, maxBatch: 2 } }),
    await party(t, "party1", play(1), { describe: { ...describe, maxBatch: 2 } }),
  ];
  const asked = { cohort: "signals" };
  const found = await clientOf(t, ports).predict([...inputs, ...inputs], asked);
  assert.deepEqual(found.answers, [...predicted.answers, ...predicted.answers]);
  assert.deepEqual(rows, [2, 2, 2, 2]);
  const refused = { code: "ConfigError", message: /canaries: are for cohorts of RANs/ };
  const careful = clientOf(t, ports, { integrity: "canaries:3" });
  await assert.rejects(careful.predict(inputs, asked), refused);
});

test(
  "a busy party is asked again, with a fresh id and a fresh share",
  needsDeployment,
  async (t) => {
    const ids = [];
    const busy = refuse(status.RESOURCE_EXHAUSTED, "too many calls at once", 1);
    const second = (call, { queryId }) => {
      ids.push(Buffer.from(queryId).toString("hex"));
      (ids.length < 3 ? busy : answer(1))(call);
    };
    const ports = [await party(t, "party0", answer(0)), await party(t, "party1", second)];
    assert.deepEqual((await ask(clientOf(t, ports))).answers, vector.answers);
    assert.equal(new Set(ids).size, 3);
  },
);

test("without retries a busy party's refusal is thrown", needsDeployment, async (t) => {
  const busy = refuse(status.RESOURCE_EXHAUSTED, "too many calls at once", 1);
  const ports = [await party(t, "party0", answer(0)), await party(t, "party1", busy)];
  const refused = { code: "Busy", retryAfterMs: 1, message: /^party 1 \(/ };
  await assert.rejects(ask(clientOf(t, ports, { retries: 0 })), refused);
});

test(
  "a refusal that will not change is thrown at once, and ends the other call",
  needsDeployment,
  async (t) => {
    let asked = 0;
    const ended = new Promise((resolve) => {
      t.cancelled = resolve;
    });
    const waits = (call) => call.on("cancelled", t.cancelled);
    const malformed = refuse(status.INVALID_ARGUMENT, "malformed request");
    const second = (call) => {
      asked += 1;
      malformed(call);
    };
    const ports = [await party(t, "party0", waits), await party(t, "party1", second)];
    await assert.rejects(ask(clientOf(t, ports)), { code: "ShareError" });
    await ended;
    assert.equal(asked, 1);
  },
);

test("the reason comes before the loss that follows from it", needsDeployment, async (t) => {
  const lost = refuse(status.UNAVAILABLE, "a part of the service is down");
  const damaged = refuse(status.DATA_LOSS, "bytes do not match their digest");
  // Party 1 gives its reason only when party 0 has given up.
  let second;
  const first = (call) => {
    lost(call);
    setImmediate(() => damaged(second));
  };
  const arrived = new Promise((resolve) => {
    t.arrived = resolve;
  });
  const ports = [
    await party(t, "party0", (call) => arrived.then(() => first(call))),
    await party(t, "party1", (call) => {
      second = call;
      t.arrived();
    }),
  ];
  await assert.rejects(ask(clientOf(t, ports)), { code: "DigestMismatch", message: /^party 1 / });
});

test("shares that add up to no answer are not reported", needsDeployment, async (t) => {
  const ports = [await party(t, "party0", answer(0)), await party(t, "party1", answer(0))];
  await assert.rejects(ask(clientOf(t, ports)), { code: "IntegrityError" });
});

test("a silent party ends with the deadline", needsDeployment, async (t) => {
  const ports = [await party(t, "party0", answer(0)), await party(t, "party1", () => {})];
  await assert.rejects(ask(clientOf(t, ports, { rpcTimeoutS: 1 })), { code: "DeadlineExceeded" });
});

test("parties that describe a cohort differently are not asked", needsDeployment, async (t) => {
  const describe = { ...description, owners: ["ben", "ana"] };
  const ports = [
    await party(t, "party0", answer(0)),
    await party(t, "party1", answer(1), { describe }),
  ];
  await assert.rejects(ask(clientOf(t, ports)), { code: "ManifestMismatch" });
});

test(
  "a party is not taken for the other one, nor anybody else for it",
  needsDeployment,
  async (t) => {
    const ports = [await party(t, "party0", answer(0)), await party(t, "party1", answer(1))];
    const another = { code: "Unreachable", message: /is another server than the one asked for/ };
    await assert.rejects(ask(clientOf(t, ports.reverse(), { retries: 0 })), another);
    const dealer = await party(t, "party0", answer(0), { as: "dealer" });
    await assert.rejects(ask(clientOf(t, [dealer, ports[0]], { retries: 0 })), another);
  },
);

test("a pin alone vouches for a party", needsDeployment, async (t) => {
  const ports = [await party(t, "party0", answer(0)), await party(t, "party1", answer(1))];
  const { tls } = loadConfig(live.client);
  const pinned = (pins) => clientOf(t, ports, { retries: 0, tls: { ...tls, pins } });
  const authority = { party0: tls.ca, party1: tls.ca };
  assert.deepEqual((await ask(pinned(authority))).answers, vector.answers);
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 9) || (major === 20 && minor >= 18)) {
    const own = { party0: `${live.certs}/party0.crt`, party1: `${live.certs}/party1.crt` };
    assert.deepEqual((await ask(pinned(own))).answers, vector.answers);
    const swapped = pinned({ party0: own.party1, party1: own.party0 });
    await assert.rejects(ask(swapped), { code: "Unreachable", message: /not trusted here/ });
  }
  const stranger = pinned({ party1: live.other_ca });
  await assert.rejects(ask(stranger), {
    code: "Unreachable",
    message: /party 1.* not trusted here/,
  });
});

test(
  "renewed files are taken over by a running client, and unsound ones are not",
  needsDeployment,
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "privedge-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const { tls } = loadConfig(live.client);
    const own = Object.fromEntries(
      ["ca", "certificate", "key"].map((name) => [name, join(folder, name)]),
    );
    const put = (from) => Object.keys(own).forEach((name) => copyFileSync(from[name], own[name]));
    put(tls);
    const serials = [];
    const seen = (call) => {
      serials.push(call.getAuthContext().sslPeerCertificate.serialNumber);
      answer(0)(call);
    };
    const ports = [await party(t, "party0", seen), await party(t, "party1", answer(1))];
    const client = clientOf(t, ports, { tls: own });
    await ask(client);
    writeFileSync(own.certificate, "not a certificate");
    await ask(client);
    put(loadConfig(live.other_client).tls);
    await ask(client);
    assert.equal(serials.length, 3);
    assert.equal(serials[0], serials[1]);
    assert.notEqual(serials[1], serials[2]);
  },
);

test("a server without TLS 1.3 is refused", needsDeployment, async (t) => {
  const { certificate, key, ca } = files("party0");
  const options = { cert: certificate, key, ca, ALPNProtocols: ["h2"], maxVersion: "TLSv1.2" };
  const server = createServer(options).on("tlsClientError", () => {});
  t.after(() => server.close());
  const port = await new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve(server.address().port));
  });
  const refused = { code: "Unreachable", message: /has no TLS 1\.3/ };
  await assert.rejects(ask(clientOf(t, [port, port], { retries: 0 })), refused);
});

test("nobody there is said in one line", needsDeployment, async (t) => {
  const refused = {
    code: "Unreachable",
    message: /^party 0 \(127\.0\.0\.1:1\): refuses connections; [^\n]+$/,
  };
  await assert.rejects(ask(clientOf(t, [1, 1], { retries: 0 })), refused);
});
