// The panel: what the server says of itself, asked every two seconds while somebody can see it.

import { Refusal, request } from "./api.js";
import { ErrorWatch } from "./errors.js";
import { parse } from "./metrics.js";
import { showBatches, showMemory, showModel, showWork } from "./readings.js";
import { announce, showState } from "./state.js";

const PERIOD = 2000; // milliseconds
const PATIENCE = 5000;

/** Begin to ask, for the life of the page. */
export async function startPanel() {
  const pause = document.getElementById("pause");
  const paused = () => pause.getAttribute("aria-pressed") === "true";
  pause.addEventListener("click", () => pause.setAttribute("aria-pressed", String(!paused())));
  const errors = new ErrorWatch();
  for (;;) {
    if (!paused() && !document.hidden) await look(errors);
    await new Promise((resolve) => setTimeout(resolve, PERIOD));
  }
}

async function look(errors) {
  try {
    const [ready, scrape] = await Promise.all([ask("ready"), ask("metrics")]);
    const metrics = parse(scrape.ok ? await scrape.text() : "");
    const draining = metrics.one("unbroken_draining") === 1;
    showState(await ready.json(), draining);
    announce(draining ? "draining" : "");
    if (!scrape.ok) return; // the last figures stay
    showModel(metrics);
    showWork(metrics, scrape.headers.get("Date"));
    showBatches(metrics);
    showMemory(metrics);
    errors.show(metrics);
  } catch (error) {
    // A proxy's page in place of JSON says as little as no answer.
    if (!(error instanceof Refusal || error instanceof SyntaxError)) throw error;
    showState(null, false);
    announce("unreachable");
  }
}

function ask(path) {
  return request(path, { signal: AbortSignal.timeout(PATIENCE) });
}
