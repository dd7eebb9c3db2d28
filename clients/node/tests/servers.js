// Parties that a test plays: real gRPC servers with the certificates of a deployment.
import { readFileSync } from "node:fs";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { Client, loadConfig } from "privedge";
import { PartyService } from "../dist/generated/party.js";
import { live } from "./live.js";

const golden = new URL("../../../tests/golden/client.json", import.meta.url);
export const vectors = JSON.parse(readFileSync(golden, "utf8"));
const [vector] = vectors.queries;
export const description = {
  specJson: vector.spec,
  owners: vector.owners,
  snapshotId: vector.snapshot_id,
  margin: 0.8,
  meanShare: 0,
  rivals: 0,
  rivalsSha256: "",
  enrolmentCheck: "off",
  enrolmentOnMatch: "report",
  maxBatch: 64,
  publicOwners: 0,
  rivalsRows: Buffer.alloc(0),
  wordBits: 0,
  modelCheck: "",
  // As of a release that tells all names at once.
  ownerCount: 0n,
  ownersSha256: Buffer.alloc(0),
};

export const files = (role) => ({
  certificate: readFileSync(`${live.certs}/${role}.crt`),
  key: readFileSync(`${live.certs}/${role}.key`),
  ca: readFileSync(`${live.certs}/ca.crt`),
});

/** Serve as `role`; `query(call, header)` says what becomes of each query. Returns the port. */
export async function party(
  t,
  role,
  query,
  { describe = description, pages = [], as = role } = {},
) {
  const server = new Server();
  server.addService(PartyService, {
    describeCohort: (_, done) => done(null, describe),
    // `pages`: of names, by how many there are before each.
    listOwners: ({ request }, done) => done(null, { owners: pages[Number(request.start)] ?? [] }),
    query: (call) => {
      call.once("data", ({ part }) => query(call, part.value));
      call.on("error", () => {});
    },
  });
  const { certificate, key, ca } = files(as);
  const secure = ServerCredentials.createSsl(
    ca,
    [{ cert_chain: certificate, private_key: key }],
    true,
  );
  t.after(() => server.forceShutdown());
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", secure, (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
}

export function clientOf(t, ports, changes = {}) {
  const [party0, party1] = ports.map((port) => `127.0.0.1:${port}`);
  const client = new Client({ ...loadConfig(live.client), party0, party1, ...changes });
  t.after(() => client.close());
  return client;
}
