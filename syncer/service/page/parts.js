// Pieces that several views show.

import { h } from "./dom.js";
import { OUTCOMES, bar, counts, gauge, step } from "./plots.js";
import { ago, number, sentence, several, value } from "./words.js";

const SIGNS = { done: "✓", ok: "✓", failed: "✕", held: "!", running: "", queued: "…", paused: "‖", "never run": "–" };
const WORDS = { ok: "done" };

/** A state in a word, a colour and a sign. */
export function badge(state) {
  return h("span", { class: `badge ${state.replace(" ", "-")}` }, h("i", { "aria-hidden": "true" }, SIGNS[state] ?? "?"), WORDS[state] || state);
}

/** planned = accepted + rejected + deferred + unsent, so that one sees that it adds up; and the same as a bar. */
export function sum(run) {
  const term = (name, sign) => h("span", { class: `term ${name}${run[name] ? "" : " none"}` },
    sign && h("span", { class: "sign" }, sign), h("b", {}, number(run[name])), h("small", {}, name));
  return h("div", { class: "sum" },
    h("p", { class: "equation", role: "img", "aria-label": counts(run) },
      term("planned"), OUTCOMES.map((name, place) => term(name, place ? "+" : "="))),
    bar(run));
}

/** What holds a run: each brake's sentence, with what was found and what the limit is. */
export function holds(list) {
  return h("ul", { class: "holds" }, list.map((one) => h("li", {},
    h("div", { class: "row" }, h("b", {}, one.brake), measured(one) && [gauge(one.found, one.limit),
      h("span", { class: "soft" }, brakeNumber(one, one.found), " where ", brakeNumber(one, one.limit), " is the limit")]),
    h("p", {}, sentence(one.sentence)))));
}

const measured = ({ found, limit }) => typeof found === "number" && typeof limit === "number";

/** Most brakes measure shares of 1; those on shifts measure in spreads. */
function brakeNumber({ brake, limit }, one) {
  return brake.includes("shift") || limit > 1 ? number(Math.round(one * 100) / 100) : `${number(Math.round(one * 1000) / 10)} %`;
}

/** A fact with its word above it. */
export function fact(word, ...told) {
  return h("div", {}, h("dt", {}, word), h("dd", {}, told));
}

/**
 * A button that `actions.js` knows by its `data-do`. Where several say the same, `of` tells them apart. One that can do
 * nothing now still takes the focus, so that whoever has just pressed it stays where they are.
 */
export function button(does, words, data, { of = "", tone = "", isOff = false } = {}) {
  const named = Object.fromEntries(Object.entries(data).map(([name, one]) => [`data-${name}`, one]));
  const label = of ? `${words}: ${of}` : null;
  return h("button", { type: "button", class: `button ${tone}`.trim(), "data-do": does, "aria-disabled": isOff && "true", "aria-label": label, ...named }, words);
}

/** A change's fields, old → new; numbers also as a step within the `ranges` of their fields. */
export function fields(change, chosen, ranges) {
  const listed = Object.entries(change.fields).filter(([name]) => !chosen || name === chosen);
  if (!listed.length) return h("p", { class: "soft" }, change.kind === "removed" ? "the record goes" : "no field");
  return h("dl", { class: "fields" }, listed.map(([name, { before, after, known }]) => h("div", {},
    h("dt", {}, name),
    h("dd", {},
      change.kind !== "new" && [h("span", { class: "old" }, known === false ? "not known" : value(before)), h("span", { class: "arrow" }, " → ")],
      h("span", { class: "fresh" }, value(after))),
    ranges[name] && step(before, after, ranges[name]))));
}

/** Field → its lowest and highest number among these changes, of fields that hold numbers. */
export function rangesOf(changes) {
  const ranges = {};
  for (const change of changes) {
    for (const [name, { before, after }] of Object.entries(change.fields)) {
      for (const one of [before, after].filter((some) => typeof some === "number")) {
        const [low, high] = ranges[name] || [one, one];
        ranges[name] = [Math.min(low, one), Math.max(high, one)];
      }
    }
  }
  return ranges;
}

/** Which field is plotted; nothing to choose where there is one. */
export function chooser(names, chosen, key) {
  return names.length > 1 && h("p", { class: "row chooser", "data-own": true, "data-key": `${key} ${names}` }, h("label", { for: key }, "Field"),
    h("select", { id: key, "data-seek": "plotted" }, names.map((one) => h("option", { value: one, selected: one === chosen }, one))));
}

/** Forward and back through a long list. */
export function pages({ offset, limit, total, noun, does }) {
  const last = Math.min(offset + limit, total);
  return h("nav", { class: "row pages", "aria-label": `Pages of ${noun}s` },
    h("span", { class: "soft", role: "status" }, total ? `${number(offset + 1)} to ${number(last)} of ${several(total, noun)}` : `no ${noun}`),
    total > limit && h("span", { class: "row" },
      button(does, "Back", { offset: Math.max(0, offset - limit) }, { isOff: offset === 0 }),
      button(does, "Next", { offset: offset + limit }, { isOff: last >= total })));
}

/** Where one is, and the way up. */
export function crumbs(...steps) {
  return h("nav", { class: "crumbs", "aria-label": "Where you are" }, steps.map(([words, href], place) =>
    [place > 0 && h("span", { "aria-hidden": "true" }, " / "), href ? h("a", { href }, words) : h("span", { "aria-current": "page" }, words)]));
}

/** What or who began a run. */
export const started = (run) => [run.trigger, run.by].filter(Boolean).join(", ") || "–";

/** The runs of a sync, a line each. */
export function runTable(runs) {
  if (!runs.length) return h("p", { class: "nothing" }, "No run yet.");
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of runs" }, h("table", { class: "runs" },
    h("thead", {}, h("tr", {}, ["run", "result", "started", "by", "planned", ...OUTCOMES, "requests"].map((one, place) =>
      h("th", { scope: "col", class: place > 3 ? "number" : "" }, one)))),
    h("tbody", {}, runs.map((run) => h("tr", { "data-key": `run-${run.run}` },
      h("td", {}, h("a", { href: `#/runs/${run.run}` }, `#${run.run}`)), h("td", {}, badge(run.result)), h("td", {}, ago(run.started)),
      h("td", {}, started(run)),
      ["planned", ...OUTCOMES, "requests"].map((name) => h("td", { class: `number ${run[name] ? name : "none"}` }, number(run[name]))))))));
}
