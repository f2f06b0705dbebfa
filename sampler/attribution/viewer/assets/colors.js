"use strict";
// Colors: a ramp whose lightness grows evenly, one color for each training image, and differences.

// lightness, chroma and hue in OKLCH from least to most; lightness alone already tells them apart,
// also for readers who do not see all hues and on a printer without colors
const RAMP_STOPS = [
  [0.2, 0.06, 295], [0.27, 0.1, 285], [0.34, 0.12, 276], [0.41, 0.12, 265], [0.48, 0.11, 250],
  [0.55, 0.1, 232], [0.62, 0.1, 208], [0.69, 0.11, 180], [0.76, 0.13, 156], [0.83, 0.15, 130],
  [0.9, 0.15, 110], [0.96, 0.09, 102],
];
const RAMP = Array.from({ length: 256 }, (_, level) => rampColor(level / 255));

function rampColor(part) {
  const place = part * (RAMP_STOPS.length - 1);
  const first = Math.min(Math.floor(place), RAMP_STOPS.length - 2);
  const [low, high] = [RAMP_STOPS[first], RAMP_STOPS[first + 1]];
  return fromOklch(...low.map((value, i) => value + (high[i] - value) * (place - first)));
}

/** Red, green and blue (0 to 255) of a color given by lightness, chroma and hue in degrees. */
function fromOklch(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short,
  ].map((linear) => {
    const value = Math.min(1, Math.max(0, linear));
    return Math.round(255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
  });
}

const imageColors = new Map();

/** A color that a training image has everywhere; neighbors in number are far apart in hue. */
function colorOfImage(image) {
  if (!imageColors.has(image)) {
    const turns = (image * 0.6180339887498949) % 1; // the golden ratio spreads any run of numbers
    const mixed = Math.imul(image ^ 0x5bd1, 0x9e3779b1) >>> 28;
    imageColors.set(image, fromOklch(0.58 + 0.06 * (mixed % 4), 0.13, 360 * turns));
  }
  return imageColors.get(image);
}

/** Blue below zero, orange above, neutral at zero; `part` from -1 to 1. */
function differenceColor(part, neutral) {
  const far = part < 0 ? fromOklch(0.55, 0.14, 250) : fromOklch(0.66, 0.17, 52);
  return blend(neutral, far, Math.min(1, Math.abs(part)));
}

/** From the first color (0) to the second (1). */
function blend(first, second, part) {
  return first.map((value, i) => value + (second[i] - value) * part);
}

/** A color that the style sheet names, such as --neutral, as red, green and blue. */
function styleColor(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
}

function cssColor(color) {
  return `rgb(${color.map(Math.round).join(" ")})`;
}
