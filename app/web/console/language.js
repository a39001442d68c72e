// Which language the page speaks. An element says a word by its key, kept in data-say, so that the
// whole page can be said again in the other language.

import { WORDS } from "./words.js";

const KEPT = "unbroken-language";
let current = "en";

/** Return the word for a key, its {names} filled in; a value may be a [key, values] of its own. */
export function say(key, values = {}) {
  return WORDS[current][key].replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return Array.isArray(value) ? say(...value) : String(value);
  });
}

/** Have an element say a key, now and after a change of the language. */
export function tell(element, key, values = {}) {
  element.dataset.say = key;
  element.dataset.sayWith = JSON.stringify(values);
  element.textContent = say(key, values);
  return element;
}

/** Have an element be called by a key, for those who do not see it. */
export function call(element, key, values = {}) {
  element.dataset.sayLabel = key;
  element.dataset.sayLabelWith = JSON.stringify(values);
  element.setAttribute("aria-label", say(key, values));
  return element;
}

/** Speak the kept language or the browser's, and let the buttons change it. */
export function startLanguage() {
  const wanted = kept() ?? navigator.language;
  speak(wanted.toLowerCase().startsWith("zh") ? "zh" : "en");
  for (const button of buttons()) {
    button.addEventListener("click", () => {
      speak(button.dataset.language);
      keep(current);
    });
  }
}

function speak(language) {
  current = language;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const button of buttons()) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
  for (const element of document.querySelectorAll("[data-say]")) {
    tell(element, element.dataset.say, JSON.parse(element.dataset.sayWith ?? "{}"));
  }
  for (const element of document.querySelectorAll("[data-say-label]")) {
    call(element, element.dataset.sayLabel, JSON.parse(element.dataset.sayLabelWith ?? "{}"));
  }
}

function buttons() {
  return document.querySelectorAll("[data-language]");
}

// Where the browser forbids storage, the choice lasts as long as the page.
function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function keep(language) {
  try {
    localStorage.setItem(KEPT, language);
  } catch {
    // Said above.
  }
}
