// One sync: how its last runs went, what it would send now, and what waits.

import * as api from "./api.js";
import { h } from "./dom.js";
import { journal } from "./journal.js";
import { badges, controls, need, stateOf, times, way } from "./overview.js";
import { button, chooser, crumbs, fields, holds, pages, rangesOf, runTable, sum } from "./parts.js";
import { changesPlot, distributionPlot, durationPlot } from "./plots.js";
import { ago, number, several } from "./words.js";

/** Runs in the plots; the table begins with fewer. */
const RUNS = 30;
const SHOWN = 10;
const PARKED = 20;
const ACTS = 10;
const CHANGES = 20;

/** What was asked for of a sync, kept while the page is open: its plan, and where in the parked records one is. */
export const looked = new Map();

const look = (name) => {
  if (!looked.has(name)) looked.set(name, { plan: null, isAsked: false, error: "", offset: 0, shown: SHOWN, plotted: "" });
  return looked.get(name);
};

export const title = ({ name }) => name;

export async function load({ name }) {
  const [sync, { runs }, parked, { acts }] = await Promise.all([
    api.sync(name), api.runs(name, Math.max(RUNS, look(name).shown + 1)), api.parked(name, { offset: look(name).offset, limit: PARKED }),
    api.journal({ sync: name, limit: ACTS }),
  ]);
  return { sync, runs, parked, acts };
}

/** Ask for the plan as of now. It reads the source, so nobody but a person asks for it. */
export async function lookAtPlan(name) {
  const kept = look(name);
  Object.assign(kept, { isAsked: true, error: "" });
  try {
    kept.plan = await api.plan(name, CHANGES);
    kept.at = new Date().toISOString();
  } catch (error) {
    kept.error = error.message;
  }
  kept.isAsked = false;
}

/** Look at another field of the plan. */
export const plot = ({ name }, field) => Object.assign(look(name), { plotted: field });

/** Show more of its runs. */
export function showMore(name) {
  look(name).shown += RUNS;
}

export function draw({ sync, runs, parked, acts }, { width }) {
  const inside = width - 34;
  const each = width >= 820 ? (width - 24) / 2 - 34 : width - 34;
  const run = sync.last_run;
  return [
    h("div", { "data-key": "crumbs" }, crumbs(["Overview", "#/"], [sync.sync])),
    h("div", { class: "row head top", "data-key": "head" },
      h("h1", { tabindex: -1 }, sync.sync), badges(sync), controls(sync)),
    way(sync),
    h("section", { class: "card", "data-key": "last", "aria-label": "Last run" },
      run ? sum(run) : h("p", { class: "soft" }, "Nothing was sent yet."), times(sync)),
    (sync.holds.length > 0 || stateOf(sync) === "failed") && h("section", { class: "needs", "data-key": "needs", "aria-label": "Needs somebody" }, need([sync], { isHere: true })),
    runs.length > 0 && h("section", { class: "plots", "data-key": "plots", "aria-label": "The last runs" },
      h("div", { class: "card" }, changesPlot(runs.slice(0, RUNS), each)), h("div", { class: "card" }, durationPlot(runs.slice(0, RUNS), each))),
    planned(sync, inside),
    waiting(sync, parked),
    h("section", { "data-key": "runs", "aria-labelledby": "runs" }, h("h2", { id: "runs" }, "Last runs"),
      h("div", { class: "card flush" }, runTable(runs.slice(0, look(sync.sync).shown))),
      runs.length > look(sync.sync).shown && h("p", { class: "row pages" }, button("more-runs", "Older runs", { sync: sync.sync }))),
    journal(acts),
  ].filter(Boolean);
}

function planned(sync, width) {
  const kept = look(sync.sync);
  const plan = kept.plan;
  return h("section", { "data-key": "plan", "aria-labelledby": "plan" },
    h("div", { class: "row head" }, h("h2", { id: "plan" }, "Plan as of now"),
      button("plan", kept.isAsked ? "Looking…" : plan ? "Look again" : "Look", { sync: sync.sync }, { isOff: kept.isAsked })),
    h("div", { class: "card" },
      kept.error && h("p", { class: "error", role: "alert" }, kept.error),
      !plan && !kept.error && h("p", { class: "soft" }, "What the next run would send. Looking reads the source; nothing is sent."),
      plan && thePlan(plan, kept, width, sync.last_run)));
}

function thePlan(plan, kept, width, last) {
  const { new: fresh, changed, removed, rescored } = plan.counts;
  const sendable = fresh + changed + removed + rescored;
  return [
    h("p", { class: "lead" }, sendable
      ? [h("b", {}, several(sendable, "change")), " in ", h("b", {}, several(plan.requests, "request")), ": "] : [h("b", {}, "Nothing to send"), ": "],
      Object.entries(plan.counts).filter(([, count]) => count).map(([name, count]) => `${number(count)} ${name}`).join(", ") || "the source is empty",
      h("span", { class: "soft" }, ", ", ago(kept.at))),
    plan.holds.length > 0 && (last?.result === "held" && last.plan === plan.plan
      ? h("p", {}, "It is exactly the plan that run ", h("a", { href: `#/runs/${last.run}` }, `#${last.run}`), " holds.") : holds(plan.holds)),
    plan.distributions.length > 0 && distributions(plan, kept, width),
    changeList(plan.changes),
    sendable > plan.changes.length && h("p", { class: "soft" }, `and ${several(sendable - plan.changes.length, "change")} that are not shown`),
    plan.invalid.length > 0 && h("details", { class: "invalid" }, h("summary", {}, `${several(plan.counts.invalid, "invalid row")} stay here`),
      h("ul", {}, plan.invalid.map((one) => h("li", {}, h("code", {}, one.key ?? "null"), " ", one.sentence)))),
  ];
}

/** How the values of one field would move. */
function distributions(plan, kept, width) {
  const names = plan.distributions.map((one) => one.field);
  const chosen = plan.distributions.find((one) => one.field === kept.plotted) || plan.distributions[0];
  return [chooser(names, chosen.field, `plan-${plan.sync}`), distributionPlot(chosen, width)];
}

/** Changes without outcomes, a line each. */
function changeList(changes) {
  const ranges = rangesOf(changes);
  return changes.length > 0 && h("ul", { class: "changes" }, changes.map((one) =>
    h("li", {}, h("div", { class: "who" }, h("code", {}, one.key), h("small", { class: `kind ${one.kind}` }, one.kind)), fields(one, "", ranges))));
}

function waiting(sync, { parked, total }) {
  const kept = look(sync.sync);
  return h("section", { "data-key": "parked", "aria-labelledby": "parked" },
    h("div", { class: "row head" }, h("h2", { id: "parked" }, "Parked records"),
      total > 0 && button("retry", total === 1 ? "Retry it" : `Retry all ${number(total)}`, { sync: sync.sync })),
    total === 0 ? h("p", { class: "card soft" }, "None: the destination refuses no record.") : h("div", { class: "card flush" },
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of parked records" }, h("table", { class: "stacked" },
        h("thead", {}, h("tr", {}, ["record", "why the destination refuses it", "attempts", "since", "next try", ""].map((one) => h("th", { scope: "col" }, one)))),
        h("tbody", {}, parked.map((one) => h("tr", { "data-key": `parked-${one.key}` },
          h("td", {}, h("code", {}, one.key)), h("td", { class: "wide" }, h("b", {}, one.code), " ", one.message),
          h("td", { class: "number", "data-word": "attempts" }, number(one.attempts)),
          h("td", { "data-word": "since" }, ago(one.since)), h("td", { "data-word": "next try" }, one.next_try ? ago(one.next_try) : "on request"),
          h("td", {}, button("retry", "Retry", { sync: sync.sync, record: one.key }, { of: one.key }))))))),
      total > PARKED && pages({ offset: kept.offset, limit: PARKED, total, noun: "parked record", does: "parked-page" })));
}
