"use strict";
// The chosen pixel: its window, its numbers, and the patches of training images it is made of.

/** Fill the panel of the pixel. */
function showPixel(run, view) {
  const side = run.header.steps[view.step].patch_size;
  byId("pixel-title").textContent = `Pixel at row ${view.y}, column ${view.x}`;
  byId("pixel-window").replaceChildren(element("figure", {},
    windowPicture(run, run.levels("state", view.step, view.sample), view, side,
      run.header.whole_images ? "The noisy state, centered at the pixel"
        : `Window of ${side} by ${side} pixels around the pixel in the noisy state`),
    element("figcaption", {}, run.header.whole_images ? "the whole image, which was compared"
      : `its ${windowName(run, view.step)} window`)));
  byId("pixel-values").replaceChildren(...pairs(valuesOf(run, view)));
  byId("sources").replaceChildren(...sourceList(run, view, side));
}

function valuesOf(run, view) {
  const rows = [
    ["State", color(run.colorAt("state", view))],
    ["Posterior mean", color(run.colorAt("mean", view))],
  ];
  for (const name of ["effective_sample_size", "head_mass", "standard_error"]) {
    if (run.has(name)) rows.push([MAPS[name].title, mapText(name, run.valueAt(name, view))]);
  }
  return rows;
}

function sourceList(run, view, side) {
  const sources = run.sourcesAt(view);
  const list = sources.length
    ? element("ol", { class: "sources" }, sources.map((source) => sourceItem(run, source, side)))
    : element("p", { class: "none" }, whyNone(run, view));
  return [list, unattributedBar(run.valueAt("unattributed", view))];
}

/** One source: its training image with the window in it, the window alone, and its numbers. */
function sourceItem(run, source, side) {
  const name = `image ${source.image}`;
  const kind = className(run, run.labelOf(source.image));
  return element("li", {
    "data-image": source.image, "data-y": source.y, "data-x": source.x, "data-weight": source.weight,
  },
    sourceWhole(run, source, side, `Training ${fullName(run, source.image)}`),
    sourcePatch(run, source, side),
    element("div", { class: "source-words" },
      element("p", {}, element("strong", {}, name), kind ? `, ${kind}` : ""),
      fileName(run, source.image),
      element("p", { class: "note" }, `row ${source.y}, column ${source.x}`),
      element("p", { class: "weight" }, bar(source.weight, "source"), element("span", {}, percent(source.weight)))));
}

function sourceWhole(run, source, side, label) {
  const whole = trainingPicture(run, source.image, label);
  return whole.tagName === "CANVAS" ? framed(whole, windowBoxes(run, source, side), "from") : whole;
}

/** The window of a source alone, or nothing where the file does not hold its picture. */
function sourcePatch(run, source, side) {
  const levels = run.picture(source.image);
  return levels ? windowPicture(run, levels, source, side) : null;
}

function unattributedBar(share) {
  return element("p", { class: "weight rest" },
    bar(share, "rest"),
    element("span", {}, element("strong", {}, `${percent(share)} not listed`),
      share > 0 ? ": spread over patches that have little each." : ": every patch that has weight is listed."));
}

function whyNone(run, view) {
  const size = number(run.valueAt("effective_sample_size", view));
  return `No source stands out: at this noise the weight is spread over very many patches ` +
    `(about ${size} share it), none of which has ${percent(run.header.least_share)} of it.`;
}
