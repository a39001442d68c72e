// Prometheus' text format, as far as this server writes it.

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Parse the text of /metrics. */
export function parse(text) {
  const series = new Map();
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = line.match(LINE) ?? [];
    if (!name || line.startsWith("#")) continue;
    if (!series.has(name)) series.set(name, []);
    series.get(name).push({ labels: labelsOf(labels), value: Number(value) });
  }
  return {
    /** The samples of a metric, each {labels, value}. */
    all: (name) => series.get(name) ?? [],
    /** The value of a metric without labels, or undefined. */
    one: (name) => series.get(name)?.[0].value,
  };
}

function labelsOf(text) {
  const escapes = { n: "\n" };
  return Object.fromEntries(
    [...text.matchAll(LABEL)].map(([, name, value]) => [
      name,
      value.replace(/\\(.)/g, (_, character) => escapes[character] ?? character),
    ]),
  );
}
