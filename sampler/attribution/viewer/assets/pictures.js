"use strict";
// Pictures that were attributed: what the page calls things then, and what it says of a whole picture.

const NAMED_IN_SUMMARY = 3;
const PICTURE_WORDS = {
  "#state-view figcaption": "With noise added",
  "label[for=step]": "Noise level",
  ".panel h4": "Where it comes from at this noise level",
  "#steps-title": "This pixel at each noise level",
  "#makers-title + .note": "Shares are averaged over all pixels and all noise levels; beside each training " +
    "image are the pixels that it was a source of. Point at one, or choose it, to see its pixels in the map above.",
  "#facts-title": "About this answer",
};

function isPicture(run) {
  return run.header.kind === "picture";
}

/** "step" of a run, "noise level" of a picture. */
function stepWord(run) {
  return isPicture(run) ? "noise level" : "step";
}

/** Change the words of the page that speak of a run and its steps. */
function callPictures(run) {
  if (!isPicture(run)) return;
  for (const [place, words] of Object.entries(PICTURE_WORDS)) document.querySelector(place).textContent = words;
  byId("samples").classList.add("pictures"); // whose names need more room than numbers
  const several = run.numSamples > 1;
  byId("samples-title").textContent = several ? "The pictures" : "The picture";
  byId("fit-choice").lastChild.textContent = " Spread the colors over this noise level";
  document.querySelector(".lead").replaceChildren(
    `Which of `, byId("num-training"), ` training images ${several ? "these pictures come" : "this picture comes"} ` +
    `from, whoever made ${several ? "them" : "it"}: noise was added at several levels, and the window around each pixel was compared ` +
    "with those of the training images. Choose a pixel to see its sources at every noise level.");
}

/** What is said of a whole picture, above all else. */
function showSummary(run, view) {
  byId("summary").hidden = !isPicture(run);
  if (!isPicture(run)) return;
  const { images, images_to_nine_tenths: count, unattributed, resized_from: size } = run.header.samples[view.sample];
  const largest = images.slice(0, NAMED_IN_SUMMARY)
    .map(({ image, label, share }) => `${fullName(run, image, label)} ${percent(share)}`);
  const noun = count === 1 ? "training image makes" : "training images make";
  byId("summary").replaceChildren(...[
    largest.length
      ? element("p", {}, element("strong", {}, `${count.toLocaleString("en-US")} ${noun} nine tenths`),
        ` of what is attributed. The largest shares: ${largest.join("; ")}. `,
        element("strong", {}, `${percent(unattributed)} unattributed`),
        ", mean over all pixels and noise levels.")
      : element("p", {}, "No training image stands out at any noise level."),
    size ? element("p", { class: "note" },
      `The picture was ${size[0]}×${size[1]} pixels and was resized to ${run.height}×${run.width}.`) : null,
  ].filter(Boolean));
}
