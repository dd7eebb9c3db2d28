/** Ask two parties whose picture it is, and upload trained models. See README.md. */
export { Client, type AskOptions, type Asked, type Reply } from "./client.js";
export type { Cohort } from "./cohort.js";
export {
  loadConfig,
  type ClientConfig,
  type Integrity,
  type ServerRole,
  type TlsFiles,
} from "./config.js";
export { PrivedgeError } from "./errors.js";
export type { ModelSpec, Outputs } from "./model.js";
export { Owner, type ModelFacts, type Receipt } from "./owner.js";
export type { Picture, RawPicture } from "./pictures.js";
export type { Inputs, Prediction, Predictions } from "./predictions.js";
export type { FeatureMap, ImageShape, Layer, RanSpec, Shape, Spec } from "./spec.js";
export type { Vector, VectorMap } from "./vectors.js";
