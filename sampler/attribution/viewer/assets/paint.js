"use strict";
// Small canvases with one dot for each pixel, enlarged by the style sheet, and frames over them.

/** A canvas of the given size; without a label it is for the eye only. */
function canvasOf(width, height, label = null) {
  const attributes = label === null ? { "aria-hidden": "true" } : { role: "img", "aria-label": label };
  return element("canvas", { width, height, ...attributes });
}

/** Draw levels (channels outermost) as they are. */
function paintLevels(canvas, levels, channels) {
  paintColors(canvas, colorsOf(levels, channels, canvas.width * canvas.height));
}

/** The color at each pixel of a picture of `count` pixels, grey where it has one channel. */
function colorsOf(levels, channels, count) {
  const [green, blue] = channels === 3 ? [count, 2 * count] : [0, 0];
  return (i) => [levels[i], levels[i + green], levels[i + blue]];
}

/** Draw the color that `colorAt` gives to each pixel; null stays empty. */
function paintColors(canvas, colorAt) {
  // kept in memory: dots are set one by one here, and a graphics card would only copy them around
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < canvas.width * canvas.height; i++) {
    const color = colorAt(i);
    if (color === null) continue;
    image.data[4 * i] = color[0];
    image.data[4 * i + 1] = color[1];
    image.data[4 * i + 2] = color[2];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** A whole picture; without a label it is for the eye only. */
function picture(run, levels, label = null) {
  const canvas = canvasOf(run.width, run.height, label);
  paintLevels(canvas, levels, run.channels);
  return canvas;
}

/** A training image, or a placeholder where the file does not hold its picture. */
function trainingPicture(run, image, label = null) {
  const levels = run.picture(image);
  return levels ? picture(run, levels, label) : placeholder(label);
}

function placeholder(label = null) {
  const spoken = label === null
    ? { "aria-hidden": "true" }
    : { role: "img", "aria-label": `${label}: picture not in this file` };
  return element("span", { class: "absent", ...spoken }, "picture not in this file");
}

/** The window of a pixel cut out; cells beyond the border are empty unless it wraps. */
function windowPicture(run, levels, { y, x }, side, label = null) {
  const canvas = canvasOf(side, side, label);
  const colorAt = colorsOf(levels, run.channels, run.numPixels);
  paintColors(canvas, (i) => {
    const row = cellOf(y + Math.floor(i / side) - (side >> 1), run.height, run.wraps);
    const column = cellOf(x + (i % side) - (side >> 1), run.width, run.wraps);
    return row === null || column === null ? null : colorAt(row * run.width + column);
  });
  return framed(canvas, [[side >> 1, side >> 1, 1, 1]], "center");
}

function cellOf(cell, size, wraps) {
  if (wraps) return ((cell % size) + size) % size;
  return cell >= 0 && cell < size ? cell : null;
}

/** The window of a pixel as boxes (left, top, width, height); one that wraps appears on each side. */
function windowBoxes(run, { y, x }, side) {
  const radius = side >> 1;
  if (!run.wraps) {
    const [left, top] = [Math.max(0, x - radius), Math.max(0, y - radius)];
    const [right, bottom] = [Math.min(run.width, x + radius + 1), Math.min(run.height, y + radius + 1)];
    return [[left, top, right - left, bottom - top]];
  }
  const boxes = [];
  for (const down of [-run.height, 0, run.height]) {
    for (const across of [-run.width, 0, run.width]) {
      const [left, top] = [x - radius + across, y - radius + down];
      const meets = left < run.width && left + side > 0 && top < run.height && top + side > 0;
      if (meets) boxes.push([left, top, side, side]);
    }
  }
  return boxes;
}

/** A canvas with boxes drawn over it. */
function framed(canvas, boxes, kind) {
  const overlay = overlayOf(canvas);
  overlay.append(...boxes.flatMap((box) => outline(box, kind)));
  return element("span", { class: "framed" }, canvas, overlay);
}

function overlayOf(canvas) {
  return drawn("svg", {
    viewBox: `0 0 ${canvas.width} ${canvas.height}`, class: "overlay", "aria-hidden": "true",
    preserveAspectRatio: "none",
  });
}

/** A box drawn twice, dark below bright, so that it shows on any picture. */
function outline([x, y, width, height], kind) {
  return ["under", kind].map((name) => drawn("rect", { x, y, width, height, class: name }));
}
