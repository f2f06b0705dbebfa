"use strict";
// What is chosen, and everything that follows from choosing something else.

const STEP_MILLISECONDS = 500;
const SPEECH_DELAY = 250; // milliseconds; a screen reader need not hear each pixel on the way
const ADDRESS_DELAY = 200; // milliseconds
const NUDGES = [["←", "Left", 0, -1], ["↑", "Up", -1, 0], ["↓", "Down", 1, 0], ["→", "Right", 0, 1]];
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

/** The page of a run: one object that knows what is chosen and draws what depends on it. */
class App {
  constructor(run) {
    this.run = run;
    callPictures(run);
    this.timer = null;
    this.chosenImage = null; // pressed in the list, where `view.image` may only be pointed at
    this.choose = (y, x) => this.change({ y: within(y, run.height), x: within(x, run.width) });
    this.view = { sample: 0, step: run.numSteps - 1, y: run.height >> 1, x: run.width >> 1,
      map: "source", fit: true, image: null, ...run.header.start, ...this.fromAddress() };
    this.views = new Views(run, this.choose, () => this.view);
    this.listSamples();
    this.listMaps();
    this.wireSteps();
    this.wireNudges();
    byId("num-training").textContent = run.header.num_training_images.toLocaleString("en-US");
    byId("facts").replaceChildren(...pairs(run.header.facts));
    window.addEventListener("hashchange", () => this.change(this.fromAddress()));
    dark.addEventListener("change", () => this.show(Object.keys(this.view)));
    still.addEventListener("change", () => this.play(false));
    byId("page").hidden = false;
    this.play(false);
    this.show(Object.keys(this.view));
  }

  /** Take over what differs and draw what depends on it. */
  change(next) {
    const changed = Object.keys(next).filter((name) => next[name] !== this.view[name]);
    if (!changed.length) return;
    this.view = { ...this.view, ...next };
    this.show(changed);
  }

  show(changed) {
    const { run, view } = this;
    const any = (...names) => names.some((name) => changed.includes(name));
    if (any("sample")) {
      showMakers(run, view, {
        point: (image) => this.change({ image: image ?? this.chosenImage }),
        choose: (image) => this.chooseImage(image),
      });
      showTwins(run, view);
      showSummary(run, view);
      showCopies(run, view);
      byId("process-title").textContent = `${sampleName(run, view.sample)}: from noise to ${isPicture(run) ? "picture" : "image"}`;
      this.chosenImage = null;
      view.image = null;
      press("#samples button", (button) => Number(button.dataset.sample) === view.sample);
    }
    if (any("sample", "step")) this.views.draw(view);
    if (any("sample", "step", "map", "fit", "image")) this.views.drawMap(view);
    if (any("step", "y", "x")) this.views.mark(view);
    if (any("sample", "step", "y", "x")) showPixel(run, view);
    if (any("sample", "y", "x")) showSteps(run, view, (step) => this.change({ step }));
    if (any("sample", "step", "y", "x", "map", "fit")) this.showMapWords();
    if (any("step")) this.showStep();
    if (any("sample", "step", "y", "x")) this.announce();
    this.keepAddress();
  }

  showMapWords() {
    byId("map-meaning").textContent = MAPS[this.view.map].meaning;
    byId("map-legend").replaceChildren(legend(this.run, this.view));
    byId("fit-choice").hidden = this.view.map in COLORS_OF;
    byId("fit").checked = this.view.fit;
    for (const input of document.getElementsByName("map")) input.checked = input.value === this.view.map;
  }

  showStep() {
    const { run, view } = this;
    const text = stepText(run, view.step);
    byId("step").value = view.step;
    byId("step").setAttribute("aria-valuetext", text);
    byId("step-text").textContent = text;
    markStep(view.step);
  }

  announce() {
    clearTimeout(this.speech);
    if (this.timer !== null) return; // while it plays, speech would never end
    this.speech = setTimeout(() => {
      byId("announcement").textContent = announcement(this.run, this.view);
    }, SPEECH_DELAY);
  }

  chooseImage(image) {
    this.chosenImage = this.chosenImage === image ? null : image;
    markMaker(this.chosenImage);
    this.change({ image: this.chosenImage });
  }

  listSamples() {
    byId("samples").append(...this.run.header.samples.map((_, sample) => element("button", {
      type: "button", "data-sample": sample, "aria-label": sampleName(this.run, sample),
      onclick: () => this.change({ sample }),
    },
      picture(this.run, this.run.finished(sample)),
      element("span", { class: "caption", "aria-hidden": "true" }, captionOf(this.run, sample)))));
  }

  listMaps() {
    byId("map-options").append(...mapsOf(this.run).map((name) => element("label", { class: "choice" },
      element("input", { type: "radio", name: "map", value: name, onchange: () => this.change({ map: name }) }),
      MAPS[name].title)));
    byId("fit").addEventListener("change", () => this.change({ fit: byId("fit").checked }));
  }

  wireSteps() {
    const slider = byId("step");
    slider.max = this.run.numSteps - 1;
    slider.addEventListener("input", () => {
      this.play(false);
      this.change({ step: Number(slider.value) });
    });
    byId("play").addEventListener("click", () => {
      if (still.matches) this.change({ step: (this.view.step + 1) % this.run.numSteps });
      else this.play(this.timer === null);
    });
  }

  /** Fingers are wider than pixels: single steps for those without arrow keys. */
  wireNudges() {
    for (const [sign, name, y, x] of NUDGES) {
      byId("nudge").append(element("button", {
        type: "button", "aria-label": name, onclick: () => this.choose(this.view.y + y, this.view.x + x),
      }, sign));
    }
  }

  /** Start or stop; who asked for less motion goes one step at a time. */
  play(runs) {
    clearInterval(this.timer);
    this.timer = null;
    if (runs) {
      const advance = () => {
        this.change({ step: (this.view.step + 1) % this.run.numSteps });
        if (this.view.step === this.run.numSteps - 1) this.play(false);
      };
      this.timer = setInterval(advance, STEP_MILLISECONDS);
      advance();
    }
    this.announce();
    byId("play").textContent = still.matches ? `Next ${stepWord(this.run)}` : this.timer === null ? "Play" : "Pause";
  }

  /** Browsers refuse an address that changes with every pixel on the way. */
  keepAddress() {
    clearTimeout(this.addressing);
    this.addressing = setTimeout(() => history.replaceState(null, "", this.address()), ADDRESS_DELAY);
  }

  address() {
    const { sample, step, y, x, map } = this.view;
    return `#sample=${sample}&step=${step + 1}&pixel=${y},${x}&map=${map}`;
  }

  /** What the address says, as far as this run has it. */
  fromAddress() {
    const { run } = this;
    const said = new URLSearchParams(location.hash.slice(1));
    const [y, x] = (said.get("pixel") ?? "").split(",");
    const whole = (text, size) => (/^\d+$/.test(text ?? "") && Number(text) < size ? Number(text) : undefined);
    const step = whole(said.get("step"), run.numSteps + 1);
    const found = {
      sample: whole(said.get("sample"), run.numSamples),
      step: step ? step - 1 : undefined,
      y: whole(y, run.height),
      x: whole(x, run.width),
      map: mapsOf(run).includes(said.get("map")) ? said.get("map") : undefined,
    };
    return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
  }
}

function within(value, size) {
  return Math.min(size - 1, Math.max(0, value));
}

/** Press the buttons for which it is true, release the others. */
function press(selector, isChosen) {
  for (const button of document.querySelectorAll(selector)) {
    button.setAttribute("aria-pressed", String(isChosen(button)));
  }
}

readRun().then((run) => new App(run)).catch((error) => {
  byId("trouble").textContent = `This page could not read its data (${error.message}). ` +
    "It needs a browser of 2023 or later.";
  byId("trouble").hidden = false;
  throw error;
});
