"use strict";
// Pictures that were attributed: what the page calls things then, and what it says of a whole picture.

const NAMED_IN_SUMMARY = 3;
const LEAST_TOLD = 0.0005; // of a share that is left
const PICTURE_WORDS = {
  "#state-view figcaption": "With noise added",
  "label[for=step]": "Noise level",
  ".panel h4": "Where it comes from at this noise level",
  "#steps-title": "This pixel at each noise level",
  "#makers-title + .note": "A share is similarity, averaged over all pixels and all noise levels, and no proof. Beside each " +
    "training image is the picture, gray but for the pixels for which that image was compared as most alike, in color. Point at " +
    "one, or choose it, to see its pixels in the map under Details.",
  "#facts-title": "About this answer",
};

function isPicture(run) {
  return run.header.kind === "picture";
}

/** "step" of a run, "noise level" of a picture. */
function stepWord(run) {
  return isPicture(run) ? "noise level" : "step";
}

/** The words of the page that speak of a run and its steps, or of pictures; of these the theory is folded. */
function callPictures(run) {
  if (!isPicture(run)) {
    document.querySelector(".lead").replaceChildren(
      "Every pixel of these images is a weighted average of pixels of ", byId("num-training"),
      " training images. Choose a sample and a pixel to see which ones, at every step from noise to image.");
    return;
  }
  byId("theory").open = location.hash.includes("pixel=");
  byId("theory").querySelector("summary").hidden = false;
  for (const [place, words] of Object.entries(PICTURE_WORDS)) document.querySelector(place).textContent = words;
  byId("samples").classList.add("pictures"); // whose names need more room than numbers
  const several = run.numSamples > 1;
  byId("samples-title").textContent = several ? "The pictures" : "The picture";
  byId("fit-choice").lastChild.textContent = " Spread the colors over this noise level";
  document.querySelector(".lead").replaceChildren(
    `Whether ${several ? "these pictures have" : "this picture has"} a region of one of `, byId("num-training"),
    ` training images, and which of these ${several ? "they are" : "it is"} most like, whoever made ${several ? "them" : "it"}.`);
}

/** What is said of a whole picture, above all else. */
function showSummary(run, view) {
  byId("summary").hidden = !isPicture(run);
  if (!isPicture(run)) return;
  const { images, images_to_nine_tenths: count, unattributed, resized_from: size } = run.header.samples[view.sample];
  const largest = images.slice(0, NAMED_IN_SUMMARY)
    .map(({ image, label, share }) => `${fullName(run, image, label)} ${percent(share)}`);
  const noun = count === 1 ? "training image makes" : "training images make";
  const rest = unattributed < LEAST_TOLD ? "" : ` ${percent(unattributed)} lies on images that are not named.`;
  byId("summary-words").replaceChildren(...[
    largest.length
      ? element("p", {}, `The largest shares: ${largest.join("; ")}. ` +
        `${count.toLocaleString("en-US")} ${noun} nine tenths of what is attributed.${rest}`)
      : element("p", {}, "No training image stands out at any noise level."),
    largest.length ? element("p", { class: "note" },
      "Shares say what is most similar, and no more: they sum to 100% for any picture, and one that copies nothing " +
      "has such shares, too.") : null,
    size ? element("p", { class: "note" },
      `The picture was ${size[0]}×${size[1]} pixels and was resized to ${run.height}×${run.width}.`) : null,
  ].filter(Boolean));
}
