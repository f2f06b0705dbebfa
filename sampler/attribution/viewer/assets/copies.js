"use strict";
// What a picture copied from one training image: the region, where it was, and how unlikely that is.

const UNCOPIED = 0.2;
const ENOUGH = 99; // held-out pictures, with which p can be 0.01

/** Fill the list of a picture's near-copies, if any were looked for; weaker ones come last, and are called so. */
function showCopies(run, view) {
  const near = run.header.samples[view.sample].near_copies;
  byId("copied").hidden = !near;
  if (!near) return;
  const found = near.copies.filter((copy) => copy.accepted);
  const possible = near.possible.map((place) => near.copies[place]);
  byId("copied-verdict").replaceChildren(element("strong", {}, verdict(run, found)));
  byId("copied-note").textContent = copiesNote(near, found.length + possible.length, possible.length);
  byId("copies").replaceChildren(
    ...found.map((copy) => copyItem(run, view, near, copy)),
    ...possible.map((copy) => copyItem(run, view, near, copy, "Possible, but weaker: ")));
}

/** Whether there are near-copies, how many, and how large they are together. */
function verdict(run, found) {
  if (!found.length) return "No near-copy: no region agrees with one training image more than chance would have it.";
  const images = new Set(found.map((copy) => copy.image)).size;
  const pixels = found.reduce((sum, copy) => sum + copy.pixels, 0);
  const where = images === 1 ? "one training image" : `${images} training images`;
  return `Near-${found.length > 1 ? "copies" : "copy"} of ${where}: ${percent(pixels / run.numPixels)} of the picture` +
    `${found.length > images ? `, in ${found.length} pieces` : ""}.`;
}

function copiesNote(near, shown, possible) {
  const against = near.held_out_from === null ? "training images, each asked without itself,"
    : `images of ${near.held_out_from}`;
  return [
    shown ? "The region is in its colors, gray covers the rest. Plain ground, which any image has, does not count." : "",
    near.held_out ? `${near.held_out.toLocaleString("en-US")} ${against} say what chance is.`
      : "No held-out pictures were compared: nothing says how often such a region is found by chance.",
    near.held_out && near.held_out < ENOUGH ? "That is few: a near-copy is then a region that none of them has." : "",
    possible && near.held_out ? "Weaker regions are shown that few held-out pictures have: one in 20 pictures has such a region without any copy." : "",
    near.novelty === null ? "" : `Details of the picture are farther from the training images than those of ${percent(near.novelty)} of these.`,
    near.mirrored ? "" : "Mirrored copies were not looked for.",
  ].filter(Boolean).join(" ");
}

/** One copy: the region in the picture, the same region in the training image, and its numbers. */
function copyItem(run, view, near, copy, prefix = "") {
  const inRegion = pixelsIn(run, copy.region, ([y, x]) => [y, x]);
  const inImage = pixelsIn(run, copy.region, ([y, x]) => placeInImage(run, copy, y, x));
  const levels = run.picture(copy.image);
  const name = imageName(run, copy.image, copy.label);
  return element("li", {},
    element("div", { class: "copy-pictures" },
      captioned(regionPicture(run, run.finished(view.sample), inRegion, "The copied region in the picture"), "in the picture"),
      captioned(levels ? regionPicture(run, levels, inImage, `The same region in ${name}`) : placeholder(name), "in the training image")),
    element("p", {}, prefix, element("strong", {}, name), " ", fileName(run, copy.image)),
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
    copy.distance === 0 ? "without a difference" : `differing by ${grayLevels(copy.distance)}`,
    Math.abs(copy.offset) >= 0.01 ? `${copy.offset > 0 ? "brighter" : "darker"} by ${grayLevels(Math.abs(copy.offset))}` : "",
    like === null ? "" : `${like ? like : "none"} of ${near.held_out.toLocaleString("en-US")} held-out pictures ${like > 1 ? "have" : "has"} such a region ` +
      `(p ${like ? "=" : "≤"} ${number(copy.p_value)})`,
  ].filter(Boolean).join(", ");
}

/** A difference from −1 to 1 as people know it. */
function grayLevels(difference) {
  return `${number(127.5 * difference)} of 255 gray levels`;
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
