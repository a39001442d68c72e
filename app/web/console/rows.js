// The answer in words: a row for each class or region, which is also what a screen reader reads.

import { percent } from "./answer.js";
import { bar } from "./bar.js";
import { colourOf, css } from "./colours.js";
import { element } from "./element.js";
import { tell } from "./language.js";
import { bytesOf, paletteOf } from "./png.js";

/** Return a list of what was found; empty where the summary has said it all. */
export function rows(found) {
  const list = element("ol", { className: `rows ${found.kind}` });
  if (found.kind === "classes") list.append(...found.classes.map(likelihood));
  if (found.kind === "regions") list.append(...found.regions.map(region));
  if (found.kind === "segmentation") {
    const palette = paletteOf(bytesOf(found.png));
    list.append(...found.classes.map((entry) => share(entry, palette[entry.class_id])));
  }
  return list.childElementCount ? list : "";
}

function likelihood({ label, score }) {
  return element(
    "li",
    {},
    element("span", { className: "label", textContent: label }),
    element("span", { className: "score", textContent: percent(score) }),
    bar(score),
  );
}

function region({ label, score, box, class_id: id, order, keypoints }) {
  const row = element("li", {}, swatch(colourOf(id)));
  if (order !== undefined) row.append(tell(element("span", { className: "order" }), "order", { order }));
  row.append(
    element("span", { className: "label", textContent: label }),
    element("span", { className: "score", textContent: score === undefined ? "" : percent(score) }),
  );
  const [x1, y1, x2, y2] = box.map(Math.round);
  row.append(tell(element("span", { className: "quiet" }), "box", { x1, y1, x2, y2 }));
  if (keypoints?.length) {
    row.append(tell(element("span", { className: "quiet" }), "keypoints", { count: keypoints.length }));
  }
  return row;
}

function share({ label, share: part }, colour) {
  return element(
    "li",
    {},
    swatch(colour ?? [128, 128, 128]),
    element("span", { className: "label", textContent: label }),
    tell(element("span", { className: "score" }), "share", { share: percent(part) }),
    bar(part),
  );
}

function swatch(colour) {
  const patch = element("span", { className: "swatch" });
  patch.style.backgroundColor = css(colour);
  return patch;
}
