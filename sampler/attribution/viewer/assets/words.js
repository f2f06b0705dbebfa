"use strict";
// Numbers and names as people read them.

const FILE_LONGEST = 80; // characters

/** A share as a percentage, without digits that say nothing. */
function percent(share) {
  const value = 100 * share;
  if (value === 0) return "0%";
  if (value < 0.01) return "<0.01%";
  if (value > 99.95 && value < 100) return ">99.9%";
  return `${value >= 100 ? "100" : value.toFixed(value < 10 ? 2 : 1)}%`;
}

/** Three digits that count; powers of ten where zeros would hide them. */
function number(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000 && size < 1e9) return Math.round(Number(value.toPrecision(3))).toLocaleString("en-US");
  if (size >= 0.001 && size < 1000) return String(Number(value.toPrecision(3))).replace("-", "−");
  return value.toExponential(1).replace("e+", "e").replaceAll("-", "−");
}

/** One value for grey, three for red, green and blue. */
function color(values) {
  return values.map((value) => value.toFixed(2).replace("-", "−")).join(", ");
}

function className(run, label) {
  if (label === null || label === undefined) return null;
  return run.header.class_names?.[label] ?? `label ${label}`;
}

/** "image 123, Coat". */
function imageName(run, image, label = run.labelOf(image)) {
  const name = className(run, label);
  return `image ${image}${name ? `, ${name}` : ""}`;
}

/** The same with the image's file: for titles, and for those who listen. */
function fullName(run, image, label = run.labelOf(image)) {
  const file = run.fileOf(image);
  return imageName(run, image, label) + (file === null ? "" : `, ${file}`);
}

/** The image's file, or null where it has none; a very long name is whole in its title alone. */
function fileName(run, image) {
  const file = run.fileOf(image);
  return file === null ? null : element("bdi", { class: "file", title: file }, shortened(file, FILE_LONGEST));
}

/** The text with its middle left out if it has more characters than that: ends tell files apart. */
function shortened(text, longest) {
  const characters = [...text]; // of which some are two units long
  if (characters.length <= longest) return text;
  const half = (longest - 1) >> 1;
  return `${characters.slice(0, half).join("")}…${characters.slice(-half).join("")}`;
}

/** A page may show some of a run's samples only. */
function numberOf(run, sample) {
  return run.header.samples[sample].number ?? sample;
}

/** What stands below a small picture of a sample. */
function captionOf(run, sample) {
  return run.header.samples[sample].name ?? String(numberOf(run, sample));
}

function sampleName(run, sample) {
  if (isPicture(run)) return captionOf(run, sample);
  const name = className(run, run.header.samples[sample].label);
  return `Sample ${numberOf(run, sample)}${name ? `, ${name}` : ""}`;
}

function stepText(run, step) {
  const { t, sigma } = run.header.steps[step];
  const time = t === null ? "" : `t = ${number(t)}, `;
  return `${step + 1} of ${run.numSteps}: ${time}σ = ${number(sigma)}, window ${windowName(run, step)}`;
}

/** Size of what was compared around a pixel at a step. */
function windowName(run, step) {
  if (run.header.whole_images) return "whole image";
  const side = run.header.steps[step].patch_size;
  return `${side}×${side}`;
}

/** What a screen reader says after each choice. */
function announcement(run, view) {
  const [first] = run.sourcesAt(view);
  const name = isPicture(run) ? captionOf(run, view.sample) : `Sample ${numberOf(run, view.sample)}`;
  const where = `${name}, ${stepWord(run)} ${view.step + 1} of ${run.numSteps}, ` +
    `row ${view.y}, column ${view.x}. `;
  if (!first) return `${where}No source stands out.`;
  return `${where}Heaviest source: ${fullName(run, first.image)}, ` +
    `row ${first.y}, column ${first.x}, weight ${percent(first.weight)}.`;
}
