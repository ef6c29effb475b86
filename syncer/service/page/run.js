// One run: what it came to, how a field's values moved, and its changes one by one.

import * as api from "./api.js";
import { h } from "./dom.js";
import { need } from "./overview.js";
import { badge, chooser, crumbs, fact, fields, holds, pages, rangesOf, started, sum } from "./parts.js";
import { OUTCOMES, distributionPlot } from "./plots.js";
import { ago, number, seconds, sentence, several, span, when } from "./words.js";

const LIMIT = 50;
const KINDS = ["new", "changed", "removed"];

/** What is being looked for. A key may be somebody's address, so it is in no address of the page. */
export const sought = { run: "", kind: "", outcome: "", field: "", key: "", offset: 0, plotted: "" };

export const title = ({ id }) => `Run ${id}`;

export async function load({ id }) {
  if (sought.run !== id) Object.assign(sought, { run: id, kind: "", outcome: "", field: "", key: "", offset: 0, plotted: "" });
  const run = await api.run(id);
  const { kind, outcome, field, key, offset, plotted } = sought;
  const [changes, { fields, distribution }] = await Promise.all([
    once(run, "changes", { kind, outcome, field, key, offset, limit: LIMIT }, (wanted) => api.changes(id, wanted)),
    once(run, "distribution", { field: plotted }, ({ field }) => api.distribution(id, field)),
  ]);
  return { run, changes, fields, distribution };
}

const found = new Map();

/** What a run did does not change once it has ended, so it is asked for once. */
async function once(run, name, wanted, ask) {
  const question = JSON.stringify([run.run, run.finished, run.accepted, wanted]);
  const last = found.get(name);
  if (run.finished && last?.question === question) return last.answer;
  const answer = await ask(wanted);
  found.set(name, { question, answer });
  return answer;
}

/** Look at another field. */
export const plot = (_, field) => Object.assign(sought, { plotted: field });

export function draw({ run, changes, fields: numeric, distribution }, { width, syncs }) {
  const sync = syncs.find((one) => one.sync === run.sync);
  const isHolding = sync && run.result === "held" && sync.last_run?.run === run.run;
  return [
    h("div", { "data-key": "crumbs" }, crumbs(["Overview", "#/"], [run.sync, `#/syncs/${encodeURIComponent(run.sync)}`], [`Run ${run.run}`])),
    h("div", { class: "row head top", "data-key": "head" }, h("h1", { tabindex: -1 }, `Run ${run.run}`), badge(run.result)),
    h("section", { class: "card", "data-key": "sum", "aria-label": "What it came to" }, sum(run), facts(run),
      run.error && h("p", { class: "why" }, sentence(run.error))),
    isHolding ? h("section", { class: "needs", "data-key": "needs", "aria-label": "Needs somebody" }, need([sync]))
      : (run.holds || []).length > 0 && h("section", { class: "card", "data-key": "held", "aria-label": "What held it" }, holds(run.holds)),
    distribution && h("section", { class: "card", "data-key": "distribution", "aria-label": "Distribution" },
      chooser(numeric, distribution.field, `run-${run.run}`), distributionPlot(distribution, width - 34)),
    listed(run, changes),
  ].filter(Boolean);
}

function facts(run) {
  return h("dl", { class: "facts" },
    fact("Started", h("span", { title: run.started }, when(run.started)), h("small", { class: "line" }, ago(run.started))),
    fact("Took", run.finished ? span(seconds(run)) : "goes on"),
    fact("By", started(run)),
    fact("Requests", number(run.requests)),
    run.released.length > 0 && fact("Passed", run.released.join(", ")),
    run.plan && fact("Plan", h("code", { title: run.plan }, run.plan.slice(0, 19))));
}

function listed(run, changes) {
  const ranges = rangesOf(changes.changes);
  return h("section", { "data-key": "changes", "aria-labelledby": "changes" },
    h("h2", { id: "changes" }, "Changes"),
    seeker(run, changes),
    changes.changes.length ? h("ul", { class: "card flush changes" }, changes.changes.map((one) =>
      h("li", { "data-key": `change-${one.key}` },
        h("div", { class: "who" }, h("code", {}, one.key), h("small", { class: `kind ${one.kind}` }, one.kind),
          one.outcome && h("small", { class: `outcome ${one.outcome}` }, one.outcome)),
        h("div", { class: "what" }, fields(one, sought.field, ranges),
          one.message && h("p", { class: "why" }, one.code && h("b", {}, `${one.code} `), one.message)))))
      : h("p", { class: "card nothing" }, nothing(run)),
    !isSeeking() && changes.total > 0 && changes.total < run.accepted + run.rejected + run.deferred + run.unsent
      && h("p", { class: "soft" }, `${several(run.planned - changes.total, "more change")} of this run are not kept any more: what was deferred or unsent differs still, and is in the next plan.`),
    pages({ offset: sought.offset, limit: LIMIT, total: changes.total, noun: "change", does: "change-page" }));
}

const isSeeking = () => Boolean(sought.kind || sought.outcome || sought.field || sought.key);

function nothing(run) {
  if (isSeeking()) return "No change is like that.";
  if (run.result === "held") return ["Nothing left: the plan was held. ", h("a", { href: `#/syncs/${encodeURIComponent(run.sync)}` }, "Look at the plan as of now"), "."];
  return run.planned ? "The history does not have this run's changes any more." : "This run had no changes.";
}

/** The filters belong to whoever types in them: a redraw leaves them alone. */
function seeker(run, changes) {
  const choice = (name, words, options) => h("label", {}, h("span", {}, words),
    h("select", { "data-seek": name }, h("option", { value: "" }, "all"), options.map((one) => h("option", { value: one, selected: one === sought[name] }, one))));
  return h("form", { class: "seeker", role: "search", "aria-label": "Changes", "data-own": true, "data-key": `seeker-${run.run}` },
    choice("kind", "Kind", KINDS), choice("outcome", "Outcome", OUTCOMES), choice("field", "Field", changes.fields),
    h("label", { class: "grow" }, h("span", {}, "Record"),
      h("input", { type: "search", "data-seek": "key", placeholder: "its whole key", value: sought.key, autocomplete: "off", spellcheck: "false" })));
}
