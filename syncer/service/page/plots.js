// Pictures of runs and of values, each with a title, a description and the same as a table.

import { h, svg } from "./dom.js";
import { day, number, seconds, several, short, span } from "./words.js";

export const OUTCOMES = ["accepted", "rejected", "deferred", "unsent"];
const HEIGHT = 190;
const EDGE = { left: 44, right: 6, top: 14, bottom: 30 };
/** A run this many times as large as the rest would flatten them all: its column is cut, and says how long it is. */
const TOWERING = 4;

/** The four outcomes as one bar, each as long as its share. */
export function bar(run) {
  const total = Math.max(1, OUTCOMES.reduce((sum, name) => sum + run[name], 0));
  let x = 0;
  const parts = OUTCOMES.filter((name) => run[name]).map((name) => {
    const width = Math.max(0.8, (run[name] / total) * 100);
    const part = svg("rect", { class: name, x, y: 0, width, height: 8 });
    x += width;
    return part;
  });
  return svg("svg", { class: "bar", viewBox: `0 0 ${Math.max(100, x)} 8`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "empty", x: 0, y: 0, width: Math.max(100, x), height: 8 }), parts);
}

/** The last runs as a row of little columns, the newest on the right, tall by the root of what was planned. */
export function spark(runs) {
  const shown = [...runs].reverse();
  const most = Math.max(1, ...shown.map((run) => run.planned));
  const columns = shown.map((run, place) => {
    const height = 3 + 23 * Math.sqrt(run.planned / most);
    const x = 100 - (shown.length - place) * 10;
    return svg("rect", { class: run.result, x, y: 26 - height, width: 7, height, rx: 1.5 });
  });
  return svg("svg", { class: "spark", viewBox: "0 0 100 26", "aria-hidden": "true" }, columns);
}

/** What was found, beside its limit. */
export function gauge(found, limit) {
  const end = Math.max(found, limit) * 1.08 || 1;
  const x = (value) => Math.round((value / end) * 100);
  return svg("svg", { class: found > limit ? "gauge over" : "gauge", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "empty", x: 0, y: 2, width: 100, height: 6 }), svg("rect", { class: "found", x: 0, y: 2, width: x(found), height: 6 }),
    svg("rect", { class: "limit", x: x(limit) - 0.5, y: 0, width: 1, height: 10 }));
}

/** A number's step from before to after, on a line from the lowest to the highest of its field. */
export function step(before, after, [low, high]) {
  const x = (value) => 5 + (high > low ? (value - low) / (high - low) : 0.5) * 110;
  const has = (value) => typeof value === "number";
  return svg("svg", { class: `step ${has(before) && has(after) && after < before ? "down" : "up"}`, viewBox: "0 0 120 12", width: 120, height: 12, "aria-hidden": "true" },
    svg("line", { class: "track", x1: 5, x2: 115, y1: 6, y2: 6 }),
    has(before) && has(after) && svg("line", { class: "way", x1: x(before), x2: x(after), y1: 6, y2: 6 }),
    has(before) && svg("circle", { class: "from", cx: x(before), cy: 6, r: 3 }), has(after) && svg("circle", { class: "to", cx: x(after), cy: 6, r: 4 }));
}

/** Changes by outcome, a column for each run. `runs` are the newest first. */
export function changesPlot(runs, width) {
  const shown = [...runs].reverse();
  const most = ceiling(shown.map((run) => run.planned));
  const frame = new Frame(width, shown.length, most, short);
  const columns = shown.map((run, place) => {
    const cut = run.planned > most;
    const shrink = cut ? most / run.planned : 1;
    let top = frame.y(0);
    const parts = OUTCOMES.filter((name) => run[name]).map((name) => {
      const height = frame.height(run[name] * shrink);
      top -= height;
      return svg("rect", { class: name, x: frame.x(place), y: top, width: frame.column, height: Math.max(0.5, height - 0.5) });
    });
    return frame.link(run, place, `${headline(run)}: ${counts(run)}`, parts,
      cut && [
        svg("path", { class: "cut", d: `M${frame.x(place) - 2} ${frame.y(most) + 12} l${frame.column + 4} -6` }),
        svg("text", { class: "strong", x: frame.middle(place), y: EDGE.top - 4, "text-anchor": frame.anchor(place) }, short(run.planned)),
      ],
      mark(run, frame, place));
  });
  const total = (name) => shown.reduce((sum, run) => sum + run[name], 0);
  return figure("Changes by outcome", `The last ${several(shown.length, "run")}, the newest on the right: `
    + `${several(shown.reduce((sum, run) => sum + run.planned, 0), "change")} planned, `
    + `${OUTCOMES.map((name) => `${number(total(name))} ${name}`).join(", ")}.`,
    frame.picture(shown, columns),
    h("p", { class: "legend" }, OUTCOMES.map((name) => h("span", { class: total(name) ? "" : "soft" },
      h("i", { class: name }), `${name} `, h("b", {}, number(total(name)))))),
    ["run", "started", "result", "planned", ...OUTCOMES],
    runs.map((run) => [runLink(run), day(run.started), run.result, number(run.planned), ...OUTCOMES.map((name) => number(run[name]))]));
}

/** How long each run took. `runs` are the newest first. */
export function durationPlot(runs, width) {
  const shown = [...runs].reverse();
  const taken = shown.map(seconds);
  const most = ceiling(taken, { least: 0 });
  const frame = new Frame(width, shown.length, most, span, { least: 0 });
  const y = (place) => frame.y(Math.min(taken[place], most));
  const line = taken.map((_, place) => `${place ? "L" : "M"}${frame.middle(place)} ${y(place)}`).join(" ");
  const area = taken.length > 1
    && svg("path", { class: "area", d: `${line} L${frame.middle(taken.length - 1)} ${frame.y(0)} L${frame.middle(0)} ${frame.y(0)} Z` });
  const dots = shown.map((run, place) => frame.link(run, place, `${headline(run)}: ${span(taken[place])}`,
    svg("circle", { class: `dot ${run.result}`, cx: frame.middle(place), cy: y(place), r: 3.5 }),
    taken[place] > most && svg("text", { class: "strong", x: frame.middle(place), y: EDGE.top - 4, "text-anchor": frame.anchor(place) }, span(taken[place]))));
  const typical = [...taken].sort((one, other) => one - other)[Math.floor(taken.length / 2)];
  return figure("Duration", `How long each of the last ${several(shown.length, "run")} took; half of them at most ${span(typical)}.`,
    frame.picture(shown, [area, svg("path", { class: "line", d: line }), dots]),
    h("p", { class: "legend" }, h("span", {}, "half of them at most ", h("b", {}, span(typical))),
      h("span", {}, "longest ", h("b", {}, span(Math.max(...taken))))),
    ["run", "started", "result", "took"],
    runs.map((run) => [runLink(run), day(run.started), run.result, span(seconds(run))]));
}

/**
 * How a field's values lie before and after: `edges` of n + 1 numbers, `before` and `after` of n counts, and the means.
 */
export function distributionPlot(found, width) {
  const { field, edges, before, after } = found;
  const most = ceiling([...before.counts, ...after.counts], { towering: Infinity });
  const frame = new Frame(width, before.counts.length, most, short, { gap: 0 });
  const x = (value) => EDGE.left + ((value - edges[0]) / (edges[edges.length - 1] - edges[0])) * frame.inner;
  const steps = (counts) => counts.map((count, place) =>
    `${place ? "L" : "M"}${x(edges[place])} ${frame.y(count)} L${x(edges[place + 1])} ${frame.y(count)}`).join(" ");
  const closed = (counts) => `${steps(counts)} L${x(edges[counts.length])} ${frame.y(0)} L${x(edges[0])} ${frame.y(0)} Z`;
  const mean = (name, value) => value !== null
    && svg("line", { class: `mean ${name}`, x1: x(value), x2: x(value), y1: EDGE.top, y2: frame.y(0) });
  const ticks = nice(edges[0], edges[edges.length - 1], 5).filter((tick) => tick >= edges[0] && tick <= edges[edges.length - 1]);
  const slots = edges.slice(1).map((edge, place) => svg("g", {},
    svg("title", {}, `${number(edges[place])} to ${number(edge)}: ${number(before.counts[place])} before, ${number(after.counts[place])} after`),
    svg("rect", { class: "hit", x: x(edges[place]), y: EDGE.top, width: x(edge) - x(edges[place]), height: frame.y(0) - EDGE.top })));
  const told = (one) => (one.mean === null ? "no values" : `mean ${number(Math.round(one.mean * 100) / 100)}`);
  return figure(`Distribution of ${field}`,
    `Values of ${field} before (${several(before.values, "value")}, ${told(before)}) and after (${several(after.values, "value")}, ${told(after)}).`,
    svg("svg", { class: "plot", viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img" },
      frame.grid(),
      svg("path", { class: "before", d: closed(before.counts) }),
      svg("path", { class: "after", d: closed(after.counts) }), svg("path", { class: "after-line", d: steps(after.counts) }),
      mean("before", before.mean), mean("after", after.mean),
      ticks.map((tick) => svg("text", { x: x(tick), y: HEIGHT - 10, "text-anchor": "middle" }, short(tick))), slots),
    h("p", { class: "legend" },
      h("span", {}, h("i", { class: "before" }), "before ", h("b", {}, told(before))),
      h("span", {}, h("i", { class: "after" }), "after ", h("b", {}, told(after))),
      before.mean !== null && after.mean !== null && h("span", {}, "shift ", h("b", {}, signed(after.mean - before.mean)))),
    ["from", "to", "before", "after"],
    before.counts.map((count, place) => [number(edges[place]), number(edges[place + 1]), number(count), number(after.counts[place])]), "of the records that change");
}

/** The frame of a plot: columns side by side, and a scale from 0 to `most`. */
class Frame {
  /** `least` is the smallest step that the scale may have: 1 where things are counted, and then steps are whole. */
  constructor(width, columns, most, words, { gap = 0.24, least = 1 } = {}) {
    this.width = width;
    this.most = most;
    this.words = words;
    this.least = least;
    this.inner = width - EDGE.left - EDGE.right;
    this.step = Math.min(this.inner / Math.max(1, columns), 40);
    this.column = this.step * (1 - gap);
    this.start = EDGE.left + this.inner - this.step * columns;
    this.columns = columns;
  }

  x(place) {
    return this.start + place * this.step + (this.step - this.column) / 2;
  }

  middle(place) {
    return this.start + (place + 0.5) * this.step;
  }

  anchor(place) {
    if (this.columns < 3) return "middle";
    return { 0: "start", [this.columns - 1]: "end" }[place] || "middle";
  }

  y(value) {
    return HEIGHT - EDGE.bottom - this.height(value);
  }

  height(value) {
    return (value / this.most) * (HEIGHT - EDGE.top - EDGE.bottom);
  }

  grid() {
    return nice(0, this.most, 4, this.least).filter((tick) => tick <= this.most).map((tick) => svg("g", { class: "grid" },
      svg("line", { x1: EDGE.left, x2: this.width - EDGE.right, y1: this.y(tick), y2: this.y(tick) }),
      svg("text", { x: EDGE.left - 8, y: this.y(tick) + 4, "text-anchor": "end" }, this.words(tick))));
  }

  /** A run's column: the whole height leads to it, and says what it is. */
  link(run, place, words, ...drawn) {
    return svg("g", { "data-go": `#/runs/${run.run}`, class: "column" }, svg("title", {}, words),
      svg("rect", { class: "hit", x: this.start + place * this.step, y: EDGE.top, width: this.step, height: HEIGHT - EDGE.top - EDGE.bottom + 6 }),
      drawn.flat().filter(Boolean));
  }

  picture(shown, drawn) {
    const last = shown.length - 1;
    return svg("svg", { class: "plot", viewBox: `0 0 ${this.width} ${HEIGHT}`, width: this.width, height: HEIGHT, role: "img" },
      this.grid(), drawn,
      last > 0 && this.width - this.start > 200 && svg("text", { x: Math.max(this.x(0), EDGE.left), y: HEIGHT - 6 }, day(shown[0].started)),
      last >= 0 && svg("text", { x: this.width - EDGE.right, y: HEIGHT - 6, "text-anchor": "end" }, day(shown[last].started)));
  }
}

function figure(title, description, picture, legend, head, rows, remark = "") {
  picture.setAttribute("aria-label", `${title}. ${description}`);
  picture.prepend(svg("title", {}, title), svg("desc", {}, description));
  return h("figure", { "data-key": title }, h("figcaption", {}, title, remark && h("small", {}, remark)), picture, legend,
    h("details", {}, h("summary", {}, "As a table"), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title}, as a table` },
      h("table", {}, h("caption", { class: "hidden" }, description),
        h("thead", {}, h("tr", {}, head.map((one) => h("th", { scope: "col" }, one)))),
        h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one) => h("td", {}, one)))))))));
}

const runLink = (run) => h("a", { href: `#/runs/${run.run}` }, `#${run.run}`);

const headline = (run) => `Run ${run.run}, ${day(run.started)}, ${run.result}`;

export const counts = (run) => `${number(run.planned)} planned = `
  + OUTCOMES.map((name) => `${number(run[name])} ${name}`).join(" + ");

const signed = (value) => `${value < 0 ? "−" : "+"}${number(Math.round(Math.abs(value) * 100) / 100)}`;

/** A failed or held run has a sign under its column: its height alone would not tell. */
function mark(run, frame, place) {
  const sign = { failed: "✕", held: "!" }[run.result];
  return sign && svg("text", { class: `sign ${run.result}`, x: frame.middle(place), y: HEIGHT - EDGE.bottom + 13, "text-anchor": "middle" }, sign);
}

/** Where the scale ends: at the largest value, unless it towers over all others. */
function ceiling(values, { towering = TOWERING, least = 1 } = {}) {
  const sorted = values.filter((one) => one > 0).sort((one, other) => one - other);
  if (!sorted.length) return 1;
  const most = sorted[sorted.length - 1];
  const usual = sorted[Math.floor((sorted.length - 1) * 0.75)];
  const end = sorted.length >= 3 && most > towering * usual
    ? Math.max(...sorted.filter((one) => one <= towering * usual)) * 1.15 : most;
  const ticks = nice(0, end, 4, least);
  return ticks[ticks.length - 1];
}

/** Round numbers from `low` to at least `high`, about `count` of them; whole ones if `least` is 1. */
function nice(low, high, count, least = 0) {
  if (!(high > low)) return [low];
  const rough = Math.max((high - low) / count, least);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999 && (!least || Number.isInteger(one)));
  const first = Math.floor(low / step), last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, place) => Number(((first + place) * step).toPrecision(12)));
}
