// The token: asked for when the server wants it, kept in this variable and nowhere else.

import { tell } from "./language.js";

let token = "";
let asking = null;

/** Return the token that requests are to carry; empty where none has been asked for. */
export function tokenInUse() {
  return token;
}

/** Ask for a token in place of the one refused; resolves with whether there is another to try. */
export function askForToken(refused) {
  if (refused !== token) return Promise.resolve(true); // another request has asked meanwhile
  asking ??= ask(refused).finally(() => {
    asking = null;
  });
  return asking;
}

async function ask(refused) {
  const field = document.getElementById("token-value");
  const wrong = document.getElementById("token-wrong");
  wrong.hidden = !refused;
  tell(wrong, "tokenWrong");
  const given = await open(field, wrong);
  if (given) token = field.value.trim();
  field.value = "";
  return given;
}

function open(field, wrong) {
  const dialog = document.getElementById("token");
  const closed = new AbortController();
  const { signal } = closed;
  return new Promise((resolve) => {
    let given = false;
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      given = /^[\x21-\x7e]+$/.test(field.value.trim()); // what a header can carry
      wrong.hidden = given || !field.value;
      if (given) dialog.close();
    }, { signal });
    document.getElementById("token-cancel").addEventListener("click", () => dialog.close(), { signal });
    dialog.addEventListener("close", () => {
      closed.abort();
      resolve(given);
    }, { signal });
    dialog.showModal();
    field.focus();
  });
}
