"use strict";
// The run that the file carries: its header, its arrays, and what they hold at a step and a pixel.

const KINDS = { Uint8: Uint8Array, Uint16: Uint16Array, Int16: Int16Array, Int32: Int32Array };

/** Everything in the file, decoded once. */
async function readRun() {
  const header = JSON.parse(byId("header").textContent);
  const arrays = {};
  for (const holder of document.querySelectorAll("script[data-array]")) {
    arrays[holder.dataset.array] = await readArray(holder);
    holder.textContent = ""; // the text is larger than what it said
  }
  return new Run(header, arrays);
}

async function readArray(holder) {
  const deflated = bytesOf(holder.textContent);
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const shape = holder.dataset.shape.split(",").map(Number);
  return { shape, values: joined(new Uint8Array(buffer), KINDS[holder.dataset.kind]) };
}

/** Numbers from their bytes, of which the file holds all lowest ones first, then all second ones. */
function joined(planes, Kind) {
  const values = new Kind(planes.length / Kind.BYTES_PER_ELEMENT);
  for (let plane = 0; plane < Kind.BYTES_PER_ELEMENT; plane++) {
    const start = plane * values.length;
    for (let i = 0; i < values.length; i++) values[i] |= planes[start + i] << (8 * plane);
  }
  return values;
}

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Arrays by step, sample, row and column, in the units that people read. */
class Run {
  constructor(header, arrays) {
    this.header = header;
    this.arrays = arrays;
    [this.numSteps, this.numSamples, this.channels, this.height, this.width] = arrays.state.shape;
    this.numSources = arrays.source_image.shape[4];
    this.numPixels = this.height * this.width;
    this.wraps = header.boundary !== "zeros";
    this.rowOfImage = new Map();
    arrays.embedded_number.values.forEach((image, row) => this.rowOfImage.set(image, row));
  }

  has(name) {
    return name in this.arrays;
  }

  /** The levels of all pixels of one step and sample; channels outermost where there are any. */
  levels(name, step, sample) {
    const { shape, values } = this.arrays[name];
    const size = shape.slice(2).reduce((product, side) => product * side, 1);
    const start = (step * this.numSamples + sample) * size;
    return values.subarray(start, start + size);
  }

  /** The finished image of a sample; a picture itself, where pictures were given. */
  finished(sample) {
    const size = this.channels * this.numPixels;
    if (this.has("picture")) return this.arrays.picture.values.subarray(sample * size, (sample + 1) * size);
    return this.levels("mean", this.numSteps - 1, sample);
  }

  /** What a pixel's channels are worth; the state has a range of its own at each step. */
  colorAt(name, { step, sample, y, x }) {
    const [low, high] = name === "state" ? this.header.steps[step].state_range : [-1, 1];
    const levels = this.levels(name, step, sample);
    return Array.from({ length: this.channels }, (_, channel) =>
      low + ((high - low) * levels[channel * this.numPixels + y * this.width + x]) / 255);
  }

  /** The value of a map at a level. */
  valueOf(name, level) {
    const logs = this.header.log_ranges[name];
    if (name === "standard_error" && level === 0) return 0;
    if (logs) return 10 ** (logs[0] + ((logs[1] - logs[0]) * (Math.max(level, 1) - 1)) / 254);
    return level / (name === "unattributed" ? 65535 : 255);
  }

  valueAt(name, { step, sample, y, x }) {
    return this.valueOf(name, this.levels(name, step, sample)[y * this.width + x]);
  }

  /** The listed sources of a pixel, heaviest first. */
  sourcesAt({ step, sample, y, x }) {
    const place = ((step * this.numSamples + sample) * this.numPixels + y * this.width + x);
    const sources = [];
    for (let i = place * this.numSources; i < (place + 1) * this.numSources; i++) {
      const image = this.arrays.source_image.values[i];
      if (image < 0) break;
      const center = this.arrays.source_place.values[i];
      sources.push({
        image,
        y: Math.floor(center / this.width),
        x: center % this.width,
        weight: this.arrays.source_weight.values[i] / 65535,
      });
    }
    return sources;
  }

  /** A training image's levels, or null where the file does not hold its picture. */
  picture(image) {
    const row = this.rowOfImage.get(image);
    if (row === undefined) return null;
    const size = this.channels * this.numPixels;
    return this.arrays.embedded.values.subarray(row * size, (row + 1) * size);
  }

  /** A training image's label, or null where there is none or it is not known. */
  labelOf(image) {
    const row = this.rowOfImage.get(image);
    const label = row === undefined ? -1 : this.arrays.embedded_label.values[row];
    return label < 0 ? null : label;
  }

  /** The file of a training image, or null where images have none of their own. */
  fileOf(image) {
    return this.header.file_names?.[image] ?? null;
  }

  /** What a check holds the twin against, and the twin. */
  pair(row) {
    const size = this.channels * this.numPixels;
    return ["held_against", "left_out"].map((name) =>
      this.arrays[name].values.subarray(row * size, (row + 1) * size));
  }
}
