// A bar for a share of one. It says nothing that the text beside it does not.

import { element } from "./element.js";

/** Return the bar, filled to `part` of its length. */
export function bar(part) {
  const filled = element("span", { className: "filled" });
  filled.style.inlineSize = `${(100 * Math.max(0, Math.min(1, part))).toFixed(1)}%`;
  const track = element("span", { className: "bar" }, filled);
  track.setAttribute("aria-hidden", "true");
  return track;
}
