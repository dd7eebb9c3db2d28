// node examples/identify.mjs CONFIG COHORT PICTURE...
import { Client, PrivedgeError } from "privedge";

const [config, cohort, ...pictures] = process.argv.slice(2);

if (pictures.length === 0) {
  console.error("usage: node examples/identify.mjs CONFIG COHORT PICTURE...");
  process.exit(2);
}

try {
  const client = Client.fromFile(config);
  try {
    const { answers, seconds } = await client.identify(pictures, { cohort });
    answers.forEach((owner, at) => console.log(`${pictures[at]}: ${owner ?? "unknown"}`));
    console.log(`${seconds.toFixed(2)} s`);
  } finally {
    client.close();
  }
} catch (error) {
  if (!(error instanceof PrivedgeError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
}
