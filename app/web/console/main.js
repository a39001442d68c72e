// The page: words first, then the panel, then images as they come in.

import { Refusal } from "./api.js";
import { addCard } from "./card.js";
import { takeFiles } from "./files.js";
import { startLanguage, tell } from "./language.js";
import { startPanel } from "./panel.js";
import { predict } from "./predict.js";

const AT_A_TIME = 2; // requests of one page: the server has other clients
const KEPT = 50; // results; older ones give their memory back

const results = document.getElementById("results");

startLanguage();
startPanel();
takeFiles((files) => {
  if (!files.length) tell(document.getElementById("said"), "noImage");
  const waiting = files.map((file) => ({ file, card: addCard(results, file) }));
  for (let lane = 0; lane < AT_A_TIME; lane += 1) answerAll(waiting);
});

async function answerAll(waiting) {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    try {
      say(await next.card.show(await predict(next.file)));
    } catch (error) {
      const refused = error instanceof Refusal;
      // An answer like none that is known: its card says so, and the others go on.
      say(next.card.fail(refused ? error : new Refusal("not_shown", String(error))));
      if (error.code === "unauthorized") {
        for (const { card } of waiting.splice(0)) card.fail(error); // ask once, not for each
      }
    }
    while (results.childElementCount > KEPT) results.lastElementChild.remove();
  }
}

function say([key, values]) {
  tell(document.getElementById("said"), key, values);
}
