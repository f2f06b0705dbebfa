"use strict";
// The maps: what each pixel of an image has that is not its color, and the legend of it.

const MAPS = {
  source: {
    title: "Source image",
    meaning: "Each pixel has the color of the training image of its heaviest source, " +
      "paler where that source weighs less.",
  },
  picture: {
    title: "Source pixel",
    meaning: "Each pixel is the center of its heaviest source patch alone: the mosaic without the averaging.",
  },
  effective_sample_size: {
    title: "Effective sample size",
    meaning: "How many patches share the weight: 1 is a copy of one patch, many is an average of many.",
  },
  unattributed: {
    title: "Share not listed",
    meaning: "The part of a pixel's weight that is spread over patches that are not listed.",
  },
  head_mass: {
    title: "Head mass",
    meaning: "The part of a pixel's weight that was summed patch by patch and not estimated from a sample.",
  },
  standard_error: {
    title: "Standard error",
    meaning: "How far the posterior mean may be from the exact one by sampling, in pixel values.",
  },
};
const LEGEND_IMAGES = 6;
const FAINTEST = 0.25; // a source must still show where it weighs next to nothing
const DIMMED = 0.88;

/** The maps for which the file holds what they need. */
function mapsOf(run) {
  return Object.keys(MAPS).filter((name) => ["source", "picture"].includes(name) || run.has(name));
}

/** Draw the chosen map; where an image is pointed at, what is not from it fades. */
function paintMap(run, canvas, view) {
  const neutral = styleColor("--neutral");
  const colorAt = COLORS_OF[view.map]?.(run, view, neutral) ?? rampOf(run, view);
  paintColors(canvas, (i) => {
    const color = colorAt(i);
    if (view.image === null) return color;
    return blend(color, neutral, DIMMED * (1 - weightOf(run, view, i)));
  });
}

const COLORS_OF = {
  source: (run, view, neutral) => (i) => {
    const first = firstSource(run, view, i);
    if (!first) return neutral;
    return blend(neutral, colorOfImage(first.image), FAINTEST + (1 - FAINTEST) * Math.sqrt(first.weight));
  },
  picture: (run, view, neutral) => (i) => {
    const first = firstSource(run, view, i);
    const levels = first && run.picture(first.image);
    if (!levels) return neutral;
    return colorsOf(levels, run.channels, run.numPixels)(first.y * run.width + first.x);
  },
};

function rampOf(run, view) {
  const levels = run.levels(view.map, view.step, view.sample);
  const [least, most] = levelRange(run, view);
  return (i) => RAMP[Math.round((255 * (levels[i] - least)) / (most - least))];
}

/** The levels at the two ends of the ramp: of this sample and step, or all there can be. */
function levelRange(run, view) {
  if (view.fit) {
    const levels = run.levels(view.map, view.step, view.sample);
    const [least, most] = [levels.reduce((a, b) => Math.min(a, b)), levels.reduce((a, b) => Math.max(a, b))];
    if (most > least) return [least, most];
  }
  if (view.map === "unattributed") return [0, 65535];
  return [view.map === "effective_sample_size" ? 1 : 0, 255];
}

function pixelOf(run, view, i) {
  return { ...view, y: Math.floor(i / run.width), x: i % run.width };
}

function firstSource(run, view, i) {
  return run.sourcesAt(pixelOf(run, view, i))[0];
}

/** The weight of one training image in a pixel, over all its listed patches. */
function weightOf(run, view, i) {
  return run.sourcesAt(pixelOf(run, view, i))
    .reduce((sum, source) => sum + (source.image === view.image ? source.weight : 0), 0);
}

/** How strongly to color a pixel by an image: light weights would show too little in themselves. */
function strengthOf(run, view, i) {
  const weights = run.header.steps.map((_, step) => weightOf(run, { ...view, step }, i));
  return Math.sqrt(Math.max(...weights));
}

/** What the colors of the chosen map mean. */
function legend(run, view) {
  if (view.map === "source") return imageLegend(run, view);
  if (view.map === "picture") {
    return element("p", { class: "note" }, swatch(styleColor("--neutral")),
      " no source listed, or picture not in this file");
  }
  const strip = element("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  paintColors(strip, (i) => RAMP[i]);
  const [least, most] = levelRange(run, view);
  const level = run.levels(view.map, view.step, view.sample)[view.y * run.width + view.x];
  const pointer = element("span", { class: "legend-pointer", "aria-hidden": "true" });
  pointer.style.left = `${(100 * (level - least)) / (most - least)}%`;
  return element("div", { class: "legend" },
    element("div", { class: "legend-strip" }, strip, pointer),
    element("div", { class: "legend-ends" },
      ...[least, (least + most) / 2, most].map((at) => element("span", {}, mapText(view.map, run.valueOf(view.map, at))))),
    element("p", { class: "note" },
      `This pixel: ${mapText(view.map, run.valueAt(view.map, view))}` +
      (view.map in run.header.log_ranges ? " (logarithmic scale)" : "")));
}

/** A value of a map as people read it. */
function mapText(name, value) {
  return ["unattributed", "head_mass"].includes(name) ? percent(value) : number(value);
}

/** The training images that color most pixels. */
function imageLegend(run, view) {
  const counts = new Map();
  let none = 0;
  for (let i = 0; i < run.numPixels; i++) {
    const first = firstSource(run, view, i);
    if (first) counts.set(first.image, (counts.get(first.image) ?? 0) + 1);
    else none++;
  }
  const heaviest = [...counts].sort((a, b) => b[1] - a[1]).slice(0, LEGEND_IMAGES);
  const rows = heaviest.map(([image, count]) => element("li", {}, swatch(colorOfImage(image)),
    element("span", {}, imageName(run, image), " ", fileName(run, image)),
    element("span", { class: "count" }, percent(count / run.numPixels))));
  if (none) {
    rows.push(element("li", {}, swatch(styleColor("--neutral")), element("span", {}, "no source listed"),
      element("span", { class: "count" }, percent(none / run.numPixels))));
  }
  const shown = counts.size > LEGEND_IMAGES ? `The ${LEGEND_IMAGES} largest of ${counts.size} images` : "All images";
  return element("div", {},
    element("p", { class: "note" }, `${shown}, share of pixels:`),
    element("ul", { class: "swatches" }, rows));
}

function swatch(color) {
  const box = element("span", { class: "swatch", "aria-hidden": "true" });
  box.style.background = cssColor(color);
  return box;
}
