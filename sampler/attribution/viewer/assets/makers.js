"use strict";
// The training images that made a sample, and the sample that the same noise gives without them.

const FAINT = 0.35;

/** Fill the list; `point(image)` while one is pointed at (null: no longer), `choose(image)` for good. */
function showMakers(run, view, { point, choose }) {
  const { images, others, unattributed, complete, sentence } = run.header.samples[view.sample];
  const largest = images[0]?.share ?? 1;
  const rest = styleColor("--rest");
  byId("makers-title").textContent = isPicture(run)
    ? `Training images with the largest shares in ${captionOf(run, view.sample)}`
    : `Training images that made sample ${numberOf(run, view.sample)}`;
  byId("makers").replaceChildren(
    element("div", { class: "whole", "aria-hidden": "true" },
      images.map((maker) => part(colorOfImage(maker.image), maker.share)), part(rest, others)),
    element("ul", { class: "remainders" },
      remainder(null, images.reduce((sum, maker) => sum + maker.share, 0), "the images below"),
      remainder(rest, others, "other training images"),
      complete || (isPicture(run) && unattributed < LEAST_TOLD) ? null
        : remainder("nothing", unattributed, isPicture(run) ? "images that are not named" : "unattributed")),
    element("p", { class: "note" }, isPicture(run) ? "" : sentence ?? ""),
    element("ul", { class: "makers" }, images.map((maker) =>
      element("li", {}, makerButton(run, view, maker, largest, { point, choose })))));
}

/** A piece of the bar that stands for the whole image. */
function part(color, share) {
  const piece = element("span");
  piece.style.width = `${100 * share}%`;
  piece.style.background = cssColor(color);
  return piece;
}

function makerButton(run, view, maker, largest, { point, choose }) {
  return element("button", {
    type: "button", class: "maker", "aria-pressed": "false", "data-image": maker.image,
    onclick: () => choose(maker.image),
    onpointerenter: (event) => event.pointerType === "mouse" && point(maker.image),
    onpointerleave: () => point(null),
    onfocus: () => point(maker.image),
    onblur: () => point(null),
  },
    trainingPicture(run, maker.image),
    placesOf(run, { ...view, image: maker.image }),
    element("span", { class: "maker-words" },
      element("span", {}, swatch(colorOfImage(maker.image)), ` ${imageName(run, maker.image, maker.label)}`),
      fileName(run, maker.image),
      element("span", { class: "weight" }, bar(maker.share / largest, "source"),
        element("span", {}, percent(maker.share))),
      timesAverage(run, view, maker.share)));
}

/** How many times the share of an average image, to compare with; nothing in older runs. */
function timesAverage(run, view, share) {
  const average = run.header.samples[view.sample].rest?.average_share;
  const least = run.header.samples[view.sample].complete ? "" : "at least ";
  return average ? element("span", { class: "note" }, `${least}${number(share / average)}× an average image`) : null;
}

/** The finished sample, faint, and the color of the image wherever it was a source at some step. */
function placesOf(run, view) {
  const canvas = canvasOf(run.width, run.height);
  const neutral = styleColor("--neutral");
  const strong = colorOfImage(view.image);
  const colorAt = colorsOf(run.finished(view.sample), run.channels, run.numPixels);
  paintColors(canvas, (i) => blend(blend(neutral, colorAt(i), FAINT), strong, strengthOf(run, view, i)));
  return canvas;
}

function remainder(color, share, words) {
  const key = color === null ? "several" : color === "nothing" ? "nothing" : "";
  const box = element("span", { class: `swatch ${key}`, "aria-hidden": "true" });
  if (!key) box.style.background = cssColor(color);
  return element("li", {}, box, element("span", {}, element("strong", {}, percent(share)), ` ${words}`));
}

/** Show which image is chosen for good. */
function markMaker(image) {
  for (const button of byId("makers").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.image) === image));
  }
}

/** The sample, its twins without some training images, and how they differ. */
function showTwins(run, view) {
  const checks = (run.header.leave_out ?? [])
    .map((check, row) => ({ ...check, row }))
    .filter((check) => check.sample === view.sample);
  byId("left-out").hidden = checks.length === 0;
  byId("twins").replaceChildren(...checks.map((check) => twins(run, check)));
}

function twins(run, check) {
  const [sample, twin] = run.pair(check.row);
  const without = check.removed.length === 1
    ? `training image ${check.removed[0]}`
    : `training images ${check.removed.join(", ")}`;
  return element("div", { class: "twins" },
    element("p", {}, `The same noise was denoised again without ${without}. ` +
      `That moved the pixels by ${number(check.distance)} (root mean square, from −1 to 1); leaving out ` +
      `as many other images moved them by ${number(check.control_distance)}.`),
    leftOutFiles(run, check),
    element("div", { class: "twin-pictures" },
      captioned(picture(run, sample, `Sample ${numberOf(run, check.sample)}`), "the sample"),
      captioned(picture(run, twin, `The same noise without ${without}`), "without them"),
      differencePicture(run, sample, twin)));
}

/** The files of the images that were left out; nothing where they have none. */
function leftOutFiles(run, check) {
  const named = check.removed.filter((image) => run.fileOf(image) !== null);
  return named.length === 0 ? null : element("ul", { class: "left-out-files" }, named.map((image) =>
    element("li", {}, `${imageName(run, image)}: `, fileName(run, image))));
}

function captioned(canvas, words) {
  return element("figure", {}, canvas, element("figcaption", {}, words));
}

/** Where the twin is darker or lighter, over all channels; the strongest color is the largest. */
function differencePicture(run, sample, twin) {
  const canvas = canvasOf(run.width, run.height, "Difference between the two");
  const neutral = styleColor("--neutral");
  const parts = Array.from({ length: run.numPixels }, (_, i) => difference(run, sample, twin, i));
  const largest = parts.reduce((most, part) => Math.max(most, Math.abs(part)), 0);
  paintColors(canvas, (i) => differenceColor(largest ? parts[i] / largest : 0, neutral));
  const strip = element("canvas", { width: 255, height: 1, "aria-hidden": "true" });
  paintColors(strip, (i) => differenceColor((i - 127) / 127, neutral));
  return element("figure", {}, canvas,
    element("div", { class: "legend-strip" }, strip),
    element("div", { class: "legend-ends" },
      ...[-largest, 0, largest].map((at) => element("span", {}, number(at)))),
    element("figcaption", {}, "the difference, from −1 to 1: blue is darker without them, orange lighter, " +
      `by up to ${number(largest)}`));
}

/** Of one pixel, in values from -1 to 1. */
function difference(run, sample, twin, i) {
  let sum = 0;
  for (let at = i; at < sample.length; at += run.numPixels) sum += twin[at] - sample[at];
  return (2 * sum) / (255 * run.channels);
}
