// Whether the server can be used: the state in a word, its checks, and the banner across the page.

import { element, fill } from "./element.js";
import { tell } from "./language.js";

/** Show what /ready says; null where there was no answer. */
export function showState(ready, draining) {
  const state = document.getElementById("state");
  const [key, values, look] = inAWord(ready, draining);
  state.className = look;
  if (state.dataset.say !== key || state.dataset.sayWith !== JSON.stringify(values)) {
    tell(state, key, values);
  }
  fill("checks", (ready?.checks ?? []).map(check));
}

function inAWord(ready, draining) {
  if (!ready) return ["silent", {}, "bad"];
  if (draining) return ["leaving", {}, "warning"];
  if (ready.status === "ready") return ["ready", {}, "good"];
  return ["notReady", { stage: ready.stage }, "bad"];
}

function check({ name, status, details }) {
  const key = status === "healthy" ? "healthy" : "unhealthy";
  return tell(element("li", { className: key }), key, { name, details });
}

/** Put a sentence across the page, or take it away; it is read out once, when it comes. */
export function announce(key) {
  const banner = document.getElementById("banner");
  if ((banner.firstElementChild?.dataset.say ?? "") === key) return;
  banner.replaceChildren(...(key ? [tell(element("p"), key)] : []));
}
