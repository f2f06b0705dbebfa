"use strict";
// What a picture copied from one training image: the region, where it was, and how unlikely that is.

const UNCOPIED = 0.2;

/** Fill the list of a picture's near-copies, if any were looked for. */
function showCopies(run, view) {
  const near = run.header.samples[view.sample].near_copies;
  byId("copied").hidden = !near;
  if (!near) return;
  const found = near.copies.slice(0, near.listed); // most evidence first, so least likely first
  byId("copied-note").textContent = copiesNote(near, found.length);
  byId("copies").replaceChildren(...found.map((copy) => copyItem(run, view, near, copy)));
}

function copiesNote(near, count) {
  const against = near.held_out_from === null ? "training images, each asked without itself,"
    : `images of ${near.held_out_from}`;
  const weaker = near.copies.length - count;
  return [
    count ? "Regions that agree with one training image pixel by pixel; plain ground, which any image has, does not count."
      : "No region agrees with one training image more than chance would have it.",
    near.held_out ? `${near.held_out.toLocaleString("en-US")} ${against} say what chance is.` : "",
    weaker ? `${weaker} weaker ${weaker === 1 ? "region" : "regions"}, as held-out images have them, ` +
      `${weaker === 1 ? "is" : "are"} left out.` : "",
    near.novelty === null ? "" : `The picture's windows are farther from their nearest patches than those of ` +
      `${percent(near.novelty)} of these images.`,
    near.mirrored ? "" : "Mirrored copies were not looked for.",
  ].filter(Boolean).join(" ");
}

/** One copy: the region in the picture, the same region in the training image, and its numbers. */
function copyItem(run, view, near, copy) {
  const inRegion = pixelsIn(run, copy.region, ([y, x]) => [y, x]);
  const inImage = pixelsIn(run, copy.region, ([y, x]) => placeInImage(run, copy, y, x));
  const levels = run.picture(copy.image);
  const name = imageName(run, copy.image, copy.label);
  return element("li", {},
    element("div", { class: "copy-pictures" },
      captioned(regionPicture(run, run.finished(view.sample), inRegion, "The copied region in the picture"), "in the picture"),
      captioned(levels ? regionPicture(run, levels, inImage, `The same region in ${name}`) : placeholder(name), "in the training image")),
    element("p", {}, element("strong", {}, name), " ", fileName(run, copy.image)),
    element("p", { class: "note" }, copyWords(run, near, copy)));
}

function copyWords(run, near, copy) {
  const [down, right] = copy.displacement;
  const way = [
    down ? `${Math.abs(down)} ${Math.abs(down) === 1 ? "row" : "rows"} ${down > 0 ? "lower" : "higher"}` : "",
    right ? `${Math.abs(right)} ${Math.abs(right) === 1 ? "column" : "columns"} further ${right > 0 ? "right" : "left"}` : "",
  ].filter(Boolean).join(" and ");
  const like = near.held_out && copy.p_value !== null ? Math.round(copy.p_value * (near.held_out + 1)) - 1 : null;
  return [
    `${copy.pixels.toLocaleString("en-US")} pixels, ${percent(copy.pixels / run.numPixels)} of the picture`,
    copy.mirrored ? "mirrored" : "",
    way ? `in the training image ${way}` : "at the same place",
    `differing by ${number(copy.distance)} (root mean square, from −1 to 1)`,
    Math.abs(copy.offset) >= 0.01 ? `${copy.offset > 0 ? "brighter" : "darker"} by ${number(Math.abs(copy.offset))}` : "",
    like === null ? "" : `${like ? like : "none"} of ${near.held_out.toLocaleString("en-US")} held-out images has such a region ` +
      `(p ${like ? "=" : "≤"} ${number(copy.p_value)})`,
  ].filter(Boolean).join(", ");
}

/** Where a pixel of the picture lies in the training image. */
function placeInImage(run, copy, y, x) {
  const [down, right] = copy.displacement;
  const column = copy.mirrored ? run.width - 1 - x : x;
  const fold = (at, size) => ((at % size) + size) % size;
  return [fold(y + down, run.height), fold(column + right, run.width)];
}

/** The pixels of rows (y, first x, last x), moved. */
function pixelsIn(run, rows, place) {
  const inside = new Set();
  for (const [y, first, last] of rows) {
    for (let x = first; x <= last; x++) {
      const [row, column] = place([y, x]);
      inside.add(row * run.width + column);
    }
  }
  return inside;
}

/** A picture in which all but some pixels are faint. */
function regionPicture(run, levels, inside, label) {
  const canvas = canvasOf(run.width, run.height, label);
  const neutral = styleColor("--neutral");
  const colorAt = colorsOf(levels, run.channels, run.numPixels);
  paintColors(canvas, (i) => (inside.has(i) ? colorAt(i) : blend(neutral, colorAt(i), UNCOPIED)));
  return canvas;
}
