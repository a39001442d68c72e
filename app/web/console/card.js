// One image on the page: the picture with its answer drawn on it, the same in words, the timings.

import { read, summary } from "./answer.js";
import { draw } from "./draw.js";
import { element } from "./element.js";
import { call, say, tell } from "./language.js";
import { rows } from "./rows.js";

const LONGEST = 200; // characters of a text in the JSON that is shown: a mask has thousands
const HOPS = ["decode", "queue", "inference", "whole"];

/** Put a card for a file at the head of the list; return what shows its answer, or why there is none. */
export function addCard(list, file) {
  const title = element("h3", { textContent: file.name });
  const body = element("div", { className: "answer" }, tell(element("p"), "sending"));
  const card = element("li", { className: "card" }, title, body);
  list.prepend(card);
  return {
    async show(reply) {
      const found = read(reply.answer);
      body.replaceChildren(await picture(file, found), words(found, reply));
      return ["answered", { file: file.name, summary: summary(found) }];
    },
    fail(refusal) {
      card.classList.add("failed");
      const reason = reasonOf(refusal);
      const details = [refusal.code, refusal.message, refusal.requestId].filter(Boolean).join(" · ");
      body.replaceChildren(
        tell(element("p", { className: "reason" }), reason),
        element("p", { className: "quiet", textContent: details }),
      );
      return ["failed", { file: file.name, reason: [reason, {}] }];
    },
  };
}

async function picture(file, found) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  call(canvas, bitmap ? "drawnLabel" : "plainLabel", { file: file.name, summary: summary(found) });
  await draw(canvas, bitmap, found);
  bitmap?.close();
  const figure = element("figure", {}, canvas);
  if (!bitmap) figure.append(tell(element("figcaption", { className: "quiet" }), "notShown"));
  return figure;
}

function words(found, reply) {
  const [key, values] = summary(found);
  return element(
    "div",
    {},
    tell(element("p", { className: "summary" }), key, values),
    rows(found),
    timings(reply),
    element(
      "details",
      { open: found.kind === "other" },
      tell(element("summary"), "raw"),
      element("pre", { tabIndex: 0, textContent: JSON.stringify(reply.answer, shortened, 1) }),
    ),
  );
}

function timings({ timings: taken, version, requestId }) {
  const list = call(element("dl", { className: "timings" }), "timings");
  for (const hop of HOPS) {
    if (taken[hop] !== undefined) list.append(entry(hop, `${taken[hop].toFixed(1)} ms`));
  }
  list.append(entry("version", version), entry("request", requestId));
  return list;
}

function entry(key, value) {
  return element("div", {}, tell(element("dt"), key), element("dd", { textContent: value, className: key }));
}

function reasonOf({ code }) {
  try {
    say(`error_${code}`);
    return `error_${code}`;
  } catch {
    return "error_other"; // the server's own sentence follows
  }
}

function shortened(_, value) {
  return typeof value === "string" && value.length > LONGEST ? `${value.slice(0, LONGEST)}…` : value;
}
