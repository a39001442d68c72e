// One image in, the model's answer out. Asks for masks where the model turns out to have them.

import { post } from "./api.js";

const MASKS = "predict?masks=png";
const hops = ["decode", "queue", "inference"];

// Which models there are, the page learns from their answers: by version, whether masks can be had.
const masked = new Map();
let version = "";

/** Resolve with {answer, timings, version, requestId}, or throw a Refusal. */
export async function predict(file) {
  const began = performance.now();
  const response = await ask(file);
  const answer = await response.json();
  const whole = performance.now() - began;
  return {
    answer,
    timings: { ...serverTimings(response), whole },
    version: response.headers.get("X-Model-Version") ?? "",
    requestId: response.headers.get("X-Request-Id") ?? "",
  };
}

async function ask(file) {
  if (masked.get(version)) {
    const response = await withMasks(file);
    if (response) return response;
    masked.clear(); // the model has been exchanged
  }
  const response = await post("predict", file);
  version = response.headers.get("X-Model-Version") ?? "";
  if (masked.has(version)) return response;
  const answer = await response.clone().json();
  if (!answer?.regions?.length) return response;
  const better = await withMasks(file);
  masked.set(version, Boolean(better));
  return better ?? response;
}

async function withMasks(file) {
  try {
    return await post(MASKS, file);
  } catch (refusal) {
    if (refusal.code === "invalid_parameter") return null;
    throw refusal;
  }
}

function serverTimings(response) {
  const header = response.headers.get("Server-Timing") ?? "";
  const found = {};
  for (const entry of header.split(",")) {
    const [name, ...parameters] = entry.trim().split(";");
    const duration = parameters.find((parameter) => parameter.startsWith("dur="));
    if (hops.includes(name) && duration) found[name] = Number(duration.slice(4));
  }
  return found;
}
