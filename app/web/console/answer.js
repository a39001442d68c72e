// What an answer is: its kind, and its sum in a few words.

const READERS = {
  mnist_result: (value) => (Number.isInteger(value) ? { kind: "digit", digit: value } : null),
  predictions: (value) => (isList(value, isClass) ? { kind: "classes", classes: value } : null),
  regions: (value) => (isList(value, isRegion) ? { kind: "regions", regions: inOrder(value) } : null),
  segmentation: (value) =>
    typeof value?.png === "string" && isList(value.classes ?? [], isShare)
      ? { kind: "segmentation", png: value.png, classes: value.classes ?? [] }
      : null,
};

/** Return {kind, …, width, height} of an answer to one image; kind "other" for a model's own. */
export function read(answer) {
  const { width = 0, height = 0 } = answer ?? {};
  for (const [member, reader] of Object.entries(READERS)) {
    const found = answer?.[member] === undefined ? null : reader(answer[member]);
    if (found) return { ...found, width, height };
  }
  return { kind: "other", width, height };
}

/** Return [key, values] of the words that sum an answer up. */
export function summary(found) {
  switch (found.kind) {
    case "digit":
      return ["digit", { digit: found.digit }];
    case "classes":
      if (!found.classes.length) return ["noClasses", {}];
      return ["likeliest", { label: found.classes[0].label, score: percent(found.classes[0].score) }];
    case "regions":
      if (!found.regions.length) return ["noRegions", {}];
      return found.regions.length === 1 ? ["oneRegion", {}] : ["regionCount", { count: found.regions.length }];
    case "segmentation":
      return ["classCount", { count: found.classes.length }];
    default:
      return ["otherAnswer", {}];
  }
}

/** Write a share of one as a percentage. */
export function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

// A model of somebody's own may give our members other contents.
function isList(value, isEntry) {
  return Array.isArray(value) && value.every((entry) => entry && isEntry(entry));
}

function isClass({ label, score }) {
  return typeof label === "string" && Number.isFinite(score);
}

function isRegion({ label, score = 0, box }) {
  return typeof label === "string" && Number.isFinite(score) && isBox(box);
}

function isBox(box) {
  return Array.isArray(box) && box.length === 4 && box.every(Number.isFinite);
}

function isShare({ label, share }) {
  return typeof label === "string" && Number.isFinite(share);
}

function inOrder(regions) {
  return [...regions].sort((a, b) => (a.order ?? 0) - (b.order ?? 0)); // stable: else as answered
}
