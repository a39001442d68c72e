// Errors that were answered and engines that were replaced: how many, and when this page saw the last.

import { element, fill } from "./element.js";
import { tell } from "./language.js";

const SOURCES = [
  { metric: "unbroken_errors_total", label: "code", word: "errorCount" },
  { metric: "unbroken_engine_restarts_total", label: "cause", word: "restarts" },
];

/** Remembers the counts between two looks: the server's counters say how many, and not when. */
export class ErrorWatch {
  #seen = new Map();
  #first = true;

  /** Show what has been counted; the latest first. */
  show(metrics) {
    const counted = SOURCES.flatMap(({ metric, label, word }) =>
      metrics.all(metric)
        .filter(({ value }) => value > 0)
        .map(({ labels, value }) => this.#note(word, label, labels[label], value)),
    );
    this.#first = false;
    counted.sort((a, b) => (b.at ?? 0) - (a.at ?? 0));
    const rows = counted.map(({ words, at }) => {
      const time = at && new Date(at).toLocaleTimeString([], { hour12: false });
      const [key, values] = at ? ["lastSeen", { what: words, time }] : words;
      return tell(element("li"), key, values);
    });
    fill("errors", rows.length ? rows : [tell(element("li"), "noErrors")]);
  }

  #note(word, label, name, count) {
    const key = `${word} ${name}`;
    const before = this.#seen.get(key) ?? { count: 0, at: null };
    const isNew = count > before.count && !this.#first;
    const now = { count, at: isNew ? Date.now() : before.at, words: [word, { [label]: name, count }] };
    this.#seen.set(key, now);
    return now;
  }
}
