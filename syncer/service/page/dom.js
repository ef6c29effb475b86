// Elements are made of names, attributes and texts; nothing is ever parsed as HTML, whatever a value looks like.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children. Texts become text nodes; null, undefined and false are left out. */
export function h(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for a picture's elements. */
export function svg(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false) element.append(String(child));
  }
}

/**
 * Make what is inside `place` equal to `fresh`, touching only what differs: focus, scrolling, selected text and opened
 * details stay as they are. Children with a `data-key` are known again by it. What is inside `data-own` belongs to
 * whoever made it first and is left alone as long as the key is the same.
 */
export function morph(place, fresh) {
  const keyed = new Map([...place.children].filter((one) => one.dataset.key).map((one) => [one.dataset.key, one]));
  let at = place.firstChild;
  for (const wanted of fresh) {
    const key = wanted.dataset?.key;
    const found = key ? keyed.get(key) : at && !at.dataset?.key && isAlike(at, wanted) ? at : null;
    if (!found || !isAlike(found, wanted)) {
      place.insertBefore(wanted, at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else place.insertBefore(found, at);
    update(found, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function isAlike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName;
}

function update(old, wanted) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  if (old.hasAttribute("data-own")) return;
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of [...wanted.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, [...wanted.childNodes]);
}
