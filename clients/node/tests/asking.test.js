// A running deployment with real models: the answers are those that Python's client gets.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Owner } from "privedge";
import { wordsOf } from "../dist/question.js";
import { parseSpec } from "../dist/spec.js";
import { toBytes } from "../dist/ring.js";
import { live, needsDeployment, raw } from "./live.js";

async function withClient(path, use) {
  const client = Client.fromFile(path);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

test("pictures are identified as Python's client identifies them", needsDeployment, () =>
  withClient(live.client, async (client) => {
    const { pictures, cohort, answers } = live;
    const reply = await client.identify(pictures.map(raw), { cohort });
    assert.deepEqual(reply.answers, answers);
    assert.ok(answers.includes(null) && answers.some((each) => each !== null));
    const [one] = (await client.identify(raw(pictures[0]), { cohort })).answers;
    assert.equal(one, answers[0]);
  }),
);

test("one owner is verified, with yes and with no", needsDeployment, () =>
  withClient(live.client, async (client) => {
    const { pictures, cohort, answers, owners } = live;
    const other = owners.find((name) => name !== answers[0]);
    const picture = raw(pictures[0]);
    const yes = await client.verify(picture, answers[0], { cohort });
    assert.deepEqual(yes.answers, [answers[0]]);
    assert.deepEqual((await client.verify(picture, other, { cohort })).answers, [null]);
    await assert.rejects(client.verify(picture, "nobody", { cohort }), { code: "UnknownModel" });
  }),
);

test("several pictures of one subject get one answer", needsDeployment, () =>
  withClient(live.client, async (client) => {
    const pictures = [raw(live.pictures[0]), raw(live.pictures[0])];
    const reply = await client.identify(pictures, { cohort: live.cohort, oneSubject: true });
    assert.deepEqual(reply.answers, [live.answers[0]]);
  }),
);

test("calls at once share a client and get their own answers", needsDeployment, () =>
  withClient(live.client, async (client) => {
    const asked = live.pictures.map((each) => client.identify(raw(each), { cohort: live.cohort }));
    const replies = await Promise.all(asked);
    assert.deepEqual(
      replies.flatMap((reply) => reply.answers),
      live.answers,
    );
  }),
);

test("cohorts are listed and described", needsDeployment, () =>
  withClient(live.client, async (client) => {
    assert.deepEqual(await client.cohorts(), live.cohorts);
    const { owners, rivals, rivalsSha256 } = await client.describe(live.cohort);
    assert.deepEqual([owners, rivals, rivalsSha256], [live.owners, 0, ""]);
  }),
);

test("a refusal names its kind, and the party", needsDeployment, async () => {
  await withClient(live.client, async (client) => {
    await assert.rejects(client.describe("nowhere"), {
      code: "UnknownCohort",
      message: /^party [01] \(/,
    });
    await assert.rejects(client.describe("empty"), { code: "NotReady" });
    const small = { data: new Uint8Array(64), width: 8, height: 8 };
    await assert.rejects(client.identify(small, { cohort: live.cohort }), { code: "ImageError" });
  });
  await withClient(live.owner, async (owner) => {
    const asked = owner.identify(raw(live.pictures[0]), { cohort: live.cohort });
    await assert.rejects(asked, { code: "NotAllowed" });
  });
});

test("a closed client says so", needsDeployment, async () => {
  const client = Client.fromFile(live.client);
  client.close();
  await assert.rejects(client.cohorts(), { code: "Closed" });
});

test("files become the same numbers as in Python", needsDeployment, async () => {
  for (const { path, spec, words } of live.files) {
    const found = await wordsOf(parseSpec(spec), path, 0);
    assert.equal(toBytes(found).toString("hex"), words, path);
  }
  for (const path of live.refused_files) {
    const asked = wordsOf(parseSpec(live.files[0].spec), path, 0);
    await assert.rejects(asked, { code: "ImageError", message: /^[^\n]+$/ }, path);
  }
});

test("a model is uploaded, listed, asked and deleted", needsDeployment, async () => {
  const owner = Owner.fromFile(live.owner);
  try {
    const { model, upload_cohort: cohort } = live;
    const receipt = await owner.upload(model, { cohort });
    const [newest] = await owner.models(cohort);
    assert.equal(newest.modelId, receipt.modelId);
    assert.equal(newest.state, "active");
    assert.equal(newest.shareBytes, receipt.bytesPerParty);
    await withClient(live.client, async (client) => {
      const described = await client.describe(cohort);
      assert.equal(described.snapshotId, receipt.snapshotId);
      const reply = await client.identify(raw(live.pictures[0]), { cohort });
      assert.deepEqual(reply.answers, [live.owner_name]);
    });
    await owner.delete(receipt.modelId);
    assert.deepEqual(await owner.models(cohort), []);
  } finally {
    owner.close();
  }
});

test("a model that does not fit is refused before anything is sent", needsDeployment, async () => {
  const owner = Owner.fromFile(live.owner);
  try {
    const refused = { code: "CheckpointError", message: /^[^\n]+$/ };
    await assert.rejects(owner.upload(live.model, { cohort: "paper" }), refused);
    await assert.rejects(owner.upload(live.other_model, { cohort: live.upload_cohort }), refused);
    await assert.rejects(owner.upload("no-such.ran", { cohort: live.upload_cohort }), refused);
    assert.deepEqual(await owner.models(live.upload_cohort), []);
  } finally {
    owner.close();
  }
});

test("a served model answers as Python's client reads it", needsDeployment, () =>
  withClient(live.served.client, async (client) => {
    const inputs = live.served.inputs.map((row) => Float32Array.from(row));
    for (const { cohort, answers } of live.served.cohorts) {
      assert.deepEqual((await client.predict(inputs, { cohort })).answers, answers);
      const [first] = (await client.predict(inputs[0], { cohort })).answers;
      assert.deepEqual(first, answers[0]);
      const { spec } = await client.describe(cohort);
      assert.deepEqual([spec.kind, spec.input], ["model", live.served.input]);
    }
  }),
);

test("a cohort of the other kind is refused before anything is sent", needsDeployment, async () => {
  const [{ cohort }] = live.served.cohorts;
  await withClient(live.served.client, async (client) => {
    const ran = { code: "CheckpointError", message: /serves a model, and no RANs$/ };
    await assert.rejects(client.identify(raw(live.pictures[0]), { cohort }), ran);
    await assert.rejects(client.verify(raw(live.pictures[0]), "clinic", { cohort }), ran);
  });
  await withClient(live.client, async (client) => {
    const model = { code: "CheckpointError", message: /has RANs, and serves no other model$/ };
    const asked = client.predict(Float32Array.of(1), { cohort: live.cohort });
    await assert.rejects(asked, model);
  });
  const owner = Owner.fromFile(live.owner);
  try {
    const refused = { code: "CheckpointError", message: /is a model to serve, and no RAN/ };
    const asked = owner.upload(live.served.model, { cohort: live.upload_cohort });
    await assert.rejects(asked, refused);
  } finally {
    owner.close();
  }
});
