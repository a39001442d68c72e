// The figures of the panel, out of the server's metrics.

import { bar } from "./bar.js";
import { element, fill } from "./element.js";
import { tell } from "./language.js";

const GIB = 2 ** 30;
const NONE = "–";

/** Show which model serves, and where. */
export function showModel(metrics) {
  const [info] = metrics.all("unbroken_model_info");
  const { name, version, device } = info?.labels ?? {};
  document.getElementById("model").textContent = [name, version, device].filter(Boolean).join(" · ");
}

/** Show what is being done; `date` is the response's own, because clocks differ. */
export function showWork(metrics, date) {
  const admitted = {
    count: metrics.one("unbroken_admitted_images") ?? NONE,
    limit: metrics.one("unbroken_admitted_images_limit") ?? NONE,
  };
  const engines = metrics.all("unbroken_engines").filter(({ value }) => value > 0);
  const began = metrics.one("unbroken_start_time_seconds");
  fill("work", [
    entry("inProgress", text(metrics.one("unbroken_requests_in_progress"))),
    entry("queueLength", text(metrics.one("unbroken_queue_length"))),
    entry("admitted", tell(element("dd"), "ofLimit", admitted)),
    entry("engines", text(engines.map(({ labels, value }) => `${value} ${labels.stage}`).join(", "))),
    entry("uptime", text(began && date && duration(Date.parse(date) / 1000 - began))),
  ]);
}

function entry(key, value) {
  return element("div", { className: key }, tell(element("dt"), key), value);
}

function text(value) {
  return element("dd", { textContent: value === undefined || value === "" ? NONE : value });
}

/** Show how many batches had which size. */
export function showBatches(metrics) {
  const steps = stepsOf(metrics.all("unbroken_batch_size_bucket"));
  const most = Math.max(...steps.map(({ count }) => count));
  const rows = steps
    .filter(({ count }) => count > 0)
    .map(({ key, size, count }) =>
      element(
        "li",
        {},
        tell(element("span", { className: "label" }), key, { size }),
        element("span", { className: "score", textContent: `${count} ×` }),
        bar(count / most),
      ),
    );
  fill("batches", rows.length ? rows : [tell(element("li"), "noBatches")]);
}

/** Return how many fell into each bucket alone: the format adds them up. */
function stepsOf(buckets) {
  let [below, bound] = [0, 0];
  return buckets.map(({ labels, value }) => {
    const count = value - below;
    below = value;
    if (labels.le === "+Inf") return { key: "batchAbove", size: bound, count };
    bound = Number(labels.le);
    return { key: bound === 1 ? "batchOne" : "batchUpTo", size: bound, count };
  });
}

/** Show the memory of GPUs and of engines. */
export function showMemory(metrics) {
  const used = new Map(
    metrics.all("unbroken_gpu_memory_used_bytes").map(({ labels, value }) => [labels.gpu, value]),
  );
  const gpus = metrics.all("unbroken_gpu_memory_total_bytes").map(({ labels, value: total }) => {
    const taken = used.get(labels.gpu) ?? 0;
    const values = { device: labels.device, used: gib(taken), total: gib(total) };
    return element("li", {}, tell(element("span"), "gpu", values), bar(taken / total));
  });
  const engines = metrics
    .all("unbroken_engine_memory_bytes")
    .map(({ labels, value }) => tell(element("li"), "host", { device: labels.device, used: gib(value) }));
  const rows = [...gpus, ...engines];
  fill("memory", rows.length ? rows : [tell(element("li"), "noMemory")]);
}

function gib(bytes) {
  return (bytes / GIB).toFixed(2);
}

function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}
