"use strict";
// The three large pictures: what they show, the chosen pixel in them, and choosing another one.

const TICK_STEPS = [1, 2, 4, 8, 16, 32, 64, 128];
const MOST_TICKS = 5;
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** One large picture in its figure; `choose(y, x)` is called with each pixel that is chosen. */
class PixelView {
  constructor(run, figure, { name, choose, where }) {
    this.run = run;
    this.canvas = element("canvas", {
      width: run.width, height: run.height, tabindex: 0, role: "application",
      "aria-label": name, "aria-roledescription": "picture to choose a pixel in", "aria-describedby": "keys",
    });
    this.overlay = overlayOf(this.canvas);
    figure.append(element("span", { class: "plot" },
      axis("rows", "row", run.height),
      element("span", { class: "framed large" }, this.canvas, this.overlay),
      axis("columns", "column", run.width)));
    this.canvas.addEventListener("click", (event) => choose(...this.pixelUnder(event)));
    this.canvas.addEventListener("pointermove", (event) => {
      // a finger that moves scrolls the page; only a mouse or a pen draws along
      if (event.buttons === 1 && event.pointerType !== "touch") choose(...this.pixelUnder(event));
    });
    this.canvas.addEventListener("keydown", (event) => {
      const way = ARROWS[event.key];
      if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault(); // or the page would scroll
      const { y, x } = where();
      choose(y + way[0], x + way[1]);
    });
  }

  pixelUnder(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.run.height);
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.run.width);
    return [row, column];
  }

  /** Mark the chosen pixel: its window where `side` says, lines from there to the borders. */
  mark(view, side) {
    const boxes = side ? windowBoxes(this.run, view, side) : [];
    const clear = side ? side / 2 : 0.5;
    const [row, column] = [view.y + 0.5, view.x + 0.5];
    const lines = [
      [column, 0, column, row - clear], [column, row + clear, column, this.run.height],
      [0, row, column - clear, row], [column + clear, row, this.run.width, row],
    ].filter(([x1, y1, x2, y2]) => x2 > x1 || y2 > y1);
    this.overlay.replaceChildren(
      ...lines.flatMap(([x1, y1, x2, y2]) => ["under", "hair"].map((kind) =>
        drawn("line", { x1, y1, x2, y2, class: kind }))),
      ...boxes.flatMap((box) => outline(box, "window")),
      ...outline([view.x, view.y, 1, 1], "pixel"));
  }
}

/** Numbers along a side of a picture; the chosen pixel is told in words, so that they are for the eye. */
function axis(kind, name, size) {
  const step = TICK_STEPS.find((each) => size / each <= MOST_TICKS) ?? size;
  const numbers = Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step);
  return element("span", { class: `axis ${kind}`, "aria-hidden": "true" }, element("span", { class: "axis-name" }, name),
    numbers.map((at) => {
      const tick = element("span", { class: "tick" }, String(at));
      tick.style[kind === "rows" ? "top" : "left"] = `${(100 * (at + 0.5)) / size}%`;
      return tick;
    }));
}

/** The state, the posterior mean and a map, beside each other. */
class Views {
  constructor(run, choose, where) {
    this.run = run;
    const make = (id, name) => new PixelView(run, byId(id), { name, choose, where });
    this.state = make("state-view", "Noisy state");
    this.mean = make("mean-view", "Posterior mean");
    this.map = make("map-view", "Map");
  }

  draw(view) {
    for (const name of ["state", "mean"]) {
      paintLevels(this[name].canvas, this.run.levels(name, view.step, view.sample), this.run.channels);
    }
  }

  drawMap(view) {
    const map = MAPS[view.map];
    this.map.canvas.setAttribute("aria-label", `Map: ${map.title}`);
    byId("map-name").textContent = map.title;
    paintMap(this.run, this.map.canvas, view);
  }

  mark(view) {
    const side = this.run.header.steps[view.step].patch_size;
    this.state.mark(view, side);
    this.mean.mark(view, side);
    this.map.mark(view, null);
  }
}
