"use strict";
// Elements of the page in one call each.

// the namespace of drawings, asked of the browser so that the file holds no address at all
const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").body.firstChild.namespaceURI;

/** An element with attributes and children; what is null or undefined is left out. */
function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for a part of a drawing. */
function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

/** A bar that is `share` of its place long; its number stands beside it in words. */
function bar(share, kind = "") {
  const full = element("span", { class: "bar-full" });
  full.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return element("span", { class: `bar ${kind}`, "aria-hidden": "true" }, full);
}

/** Name and value pairs of a definition list. */
function pairs(rows) {
  return rows.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value)));
}
