"use strict";
// The chosen pixel at every step: a table whose rows lead to their step.

const SOURCES_IN_ROW = 3;

/** Fill the table; `go(step)` is called with the step of a row that is chosen. */
function showSteps(run, view, go) {
  const times = isPicture(run) ? [] : ["t"];
  const heads = [isPicture(run) ? "Level" : "Step", ...times, "σ", "Window", "Effective samples", "Heaviest sources", "Not listed"];
  // without times, a level is known by its noise, which must not be hidden
  const kinds = ["", ...times.map(() => ""), isPicture(run) ? "" : "wide", "", "wide", "", "wide"];
  const table = element("table", {},
    element("caption", { class: "unseen" }, `Heaviest sources of the chosen pixel at each ${stepWord(run)}`),
    element("thead", {}, element("tr", {},
      heads.map((head, i) => element("th", { scope: "col", class: kinds[i] }, head)))),
    element("tbody", {}, run.header.steps.map((_, step) => stepRow(run, { ...view, step }, go))));
  byId("steps").replaceChildren(table);
  markStep(view.step);
}

function stepRow(run, view, go) {
  const { t, sigma, patch_size: side } = run.header.steps[view.step];
  const button = element("button", {
    type: "button", "aria-label": `Go to ${stepWord(run)} ${view.step + 1}, ${t === null ? `σ = ${number(sigma)}` : `t = ${number(t)}`}`,
  }, String(view.step + 1));
  // the whole row may be clicked; the button is what keys and screen readers find
  return element("tr", { "data-step": view.step, onclick: () => go(view.step) },
    element("th", { scope: "row" }, button),
    t === null ? null : element("td", {}, number(t)),
    element("td", { class: t === null ? "" : "wide" }, number(sigma)),
    element("td", {}, windowName(run, view.step)),
    element("td", { class: "wide" }, number(run.valueAt("effective_sample_size", view))),
    element("td", {}, rowSources(run, view, side)),
    element("td", { class: "wide" }, percent(run.valueAt("unattributed", view))));
}

function rowSources(run, view, side) {
  const sources = run.sourcesAt(view).slice(0, SOURCES_IN_ROW);
  if (!sources.length) return element("span", { class: "note" }, "none listed");
  return element("ul", { class: "row-sources" }, sources.map((source) => {
    const patch = sourcePatch(run, source, side) ?? element("span", { class: "absent small" }, "?");
    return element("li", { title: fullName(run, source.image) }, patch,
      element("span", { class: "unseen" }, fullName(run, source.image)),
      element("span", {}, percent(source.weight)));
  }));
}

/** Mark the row of the step that is shown above. */
function markStep(step) {
  for (const row of byId("steps").querySelectorAll("tr[data-step]")) {
    if (Number(row.dataset.step) === step) row.setAttribute("aria-current", "step");
    else row.removeAttribute("aria-current");
  }
}
