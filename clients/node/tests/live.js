// What a test of a running deployment needs; tests/integration/test_node_client.py writes the file.
import { readFileSync } from "node:fs";

const file = process.env.PRIVEDGE_LIVE;

export const live = file === undefined ? undefined : JSON.parse(readFileSync(file, "utf8"));
/** For `test`: without a deployment there is nothing to ask. */
export const needsDeployment = {
  skip: live === undefined && "no deployment: run tests/integration/test_node_client.py",
  timeout: 120_000,
};
/** A picture as the file of the deployment has it. */
export const raw = ({ data, width, height }) => ({ data: Buffer.from(data, "hex"), width, height });
