// One image in, the model's answer out. Asks for masks where the model has them.

import { authorized, Refusal } from "./api.js";

const HOPS = ["decode", "queue", "inference"];

// What the model that served last wants in its query; null where that has to be looked up.
let query = null;
let version = "";

/** Resolve with {answer, timings, version, requestId}, or throw a Refusal. */
export async function predict(file) {
  const began = performance.now();
  const response = await ask(file);
  const answer = await response.json();
  const whole = performance.now() - began;
  const header = (name) => response.headers.get(name) ?? "";
  // Exchanged: the next image is asked what the new model has.
  if (version && header("X-Model-Version") !== version) query = null;
  version = header("X-Model-Version");
  return {
    answer,
    timings: { ...timingsOf(header("Server-Timing")), whole },
    version,
    requestId: header("X-Request-Id"),
  };
}

async function ask(file) {
  query ??= await queryOfModel();
  const options = { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } };
  try {
    return await authorized(`predict${query}`, options);
  } catch (error) {
    if (!query || error.code !== "invalid_parameter") throw error;
    query = null; // the model was exchanged between the two
    return authorized("predict", options);
  }
}

async function queryOfModel() {
  try {
    const { options = [] } = await (await authorized("status")).json();
    return options.some(({ name }) => name === "masks") ? "?masks=png" : "";
  } catch (error) {
    if (error instanceof Refusal && error.code !== "unauthorized") return ""; // the post will say why
    throw error;
  }
}

function timingsOf(text) {
  const found = {};
  for (const entry of text.split(",")) {
    const [name, ...parameters] = entry.trim().split(";");
    const duration = parameters.find((parameter) => parameter.startsWith("dur="));
    if (HOPS.includes(name) && duration) found[name] = Number(duration.slice(4));
  }
  return found;
}
