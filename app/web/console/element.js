// Building elements, and putting them in place.

/** Return an element with properties and children; a child may be text. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Give an element these children, if they say anything new: a reader's place is not lost. */
export function fill(id, children) {
  const parent = document.getElementById(id);
  const made = element("div", {}, ...children);
  if (made.innerHTML !== parent.innerHTML) parent.replaceChildren(...made.childNodes);
}
