// Where every sync stands.

import * as api from "./api.js";
import { h } from "./dom.js";
import { journal } from "./journal.js";
import { badge, button, fact, holds, sum } from "./parts.js";
import { gauge, spark } from "./plots.js";
import { ago, number, seconds, sentence, several, span } from "./words.js";

const ACTS = 8;

export const title = () => "Overview";

export const load = () => api.journal({ limit: ACTS });

export function draw({ acts }, { syncs }) {
  return [
    h("h1", { tabindex: -1, "data-key": "title" }, "Overview"),
    tiles(syncs),
    needs(syncs),
    syncs.length === 0 && h("p", { class: "nothing card", "data-key": "none" }, "No sync is configured yet. Write a mapping file, and it appears here."),
    h("section", { class: "cards", "data-key": "syncs", "aria-label": "Syncs" }, syncs.map(card)),
    journal(acts),
  ].filter(Boolean);
}

function tiles(syncs) {
  const count = (state) => syncs.filter((sync) => stateOf(sync) === state).length;
  const parked = syncs.reduce((total, sync) => total + sync.parked, 0);
  const tile = (words, figure, tone) => h("li", { class: figure ? tone : "none" }, h("b", {}, number(figure)), " ", h("span", {}, words));
  return h("ul", { class: "tiles", "data-key": "tiles", "aria-label": "All syncs" },
    tile(syncs.length === 1 ? "sync" : "syncs", syncs.length, ""), tile("running", count("running"), "running"),
    tile("held", count("held"), "held"), tile("failed", count("failed"), "failed"),
    tile("paused", syncs.filter((sync) => sync.paused).length, "paused"), tile("parked", parked, "parked"));
}

/** What a sync is doing or came to, in one word. */
export function stateOf(sync) {
  return sync.running ? "running" : sync.state;
}

function needs(syncs) {
  const held = syncs.filter((sync) => sync.state === "held");
  const failed = new Map();
  for (const sync of syncs.filter((one) => stateOf(one) === "failed")) {
    // One refused login is one thing to mend, however many syncs it ends.
    const cause = JSON.stringify([sync.destination, whyOf(sync)]);
    failed.set(cause, [...(failed.get(cause) || []), sync]);
  }
  if (!held.length && !failed.size) return null;
  return h("section", { class: "needs", "data-key": "needs", "aria-labelledby": "needs" },
    h("h2", { id: "needs" }, "Needs somebody"), held.map((sync) => need([sync])), [...failed.values()].map((group) => need(group)));
}

const whyOf = (sync) => sync.error || sync.last_run?.error || "The run failed.";

/**
 * A held plan with its sentences and the ways out; or why the last runs of some syncs failed. `isHere`: on the page of
 * the sync itself.
 */
export function need(syncs, { isHere = false } = {}) {
  const [sync] = syncs;
  const isHeld = sync.state === "held";
  return h("article", { class: `need ${sync.state}`, "data-key": `need-${sync.sync}` },
    h("div", { class: "row head" }, badge(sync.state), syncs.map((one) => h("span", {},
      !isHere && [h("a", { class: "name", href: linkTo(one) }, one.sync), " "],
      one.last_run && h("span", { class: "soft" }, "run ", h("a", { href: `#/runs/${one.last_run.run}` }, `#${one.last_run.run}`), ", ", ago(one.last_run.started))))),
    isHeld ? holds(sync.holds) : h("p", { class: "why" }, sentence(whyOf(sync))),
    sync.refused && h("p", {}, "Refused by ", h("b", {}, sync.refused.by), ", ", ago(sync.refused.at), sync.refused.reason && `: ${sync.refused.reason}`),
    isHeld && waysOut(sync, isHere));
}

function waysOut(sync, isHere) {
  const run = sync.last_run;
  const held = { sync: sync.sync, run: run.run };
  return h("div", { class: "row" },
    button("release", `Release ${several(run.planned, "change")}`, held, { of: sync.sync, tone: "main" }),
    !sync.refused && button("refuse", "Refuse", held, { of: sync.sync }),
    isHere ? button("plan", "Look at the plan", { sync: sync.sync }) : h("a", { class: "button", href: linkTo(sync) }, "Look at it"));
}

const linkTo = (sync) => `#/syncs/${encodeURIComponent(sync.sync)}`;

/** What it is doing or came to, whether it waits for its turn, and whether it is paused. */
export function badges(sync) {
  return [badge(stateOf(sync)), sync.queued > 0 && badge("queued"), sync.paused && badge("paused")];
}

/** The buttons of one sync. */
export function controls(sync) {
  return h("div", { class: "row controls" },
    button("run", sync.queued ? "Will run" : "Run now", { sync: sync.sync }, { of: sync.sync, isOff: Boolean(sync.queued || sync.paused) }),
    sync.paused ? button("resume", "Resume", { sync: sync.sync }, { of: sync.sync }) : button("pause", "Pause", { sync: sync.sync }, { of: sync.sync }));
}

function card(sync) {
  const run = sync.last_run;
  return h("article", { class: `card sync ${stateOf(sync).replace(" ", "-")}`, "data-key": sync.sync, "aria-label": sync.sync },
    h("div", { class: "row head" },
      h("h2", {}, h("a", { class: "name", href: linkTo(sync) }, sync.sync)),
      badges(sync),
      run && h("a", { class: "sparks", href: linkTo(sync), tabindex: -1, "aria-hidden": "true" }, spark(sync.runs))),
    way(sync),
    run ? sum(run) : h("p", { class: "soft" }, "Nothing was sent yet."),
    times(sync),
    controls(sync));
}

/** From where to where. */
export function way(sync) {
  return h("p", { class: "soft way", "data-key": "way" }, sync.source ? `${sync.source} → ${sync.object}` : sync.object,
    sync.destination_title && ` in ${sync.destination_title}`);
}

/** How old the source is, also as a share of the age from which on it is stale. */
function freshness({ source_modified: modified, source_max_age_seconds: limit }) {
  if (!modified || !limit) return [ago(modified)];
  const age = (Date.now() - new Date(modified)) / 1000;
  return [h("span", { class: age > limit ? "stale" : "" }, ago(modified), age > limit && " (stale)"),
    h("span", { class: "line", title: `stale from ${span(limit)} on` }, gauge(Math.max(0, age), limit))];
}

/** When it ran, when it runs, how fresh its source is, and what waits. */
export function times(sync) {
  const run = sync.last_run;
  return h("dl", { class: "facts" },
    fact("Last run", run ? [h("a", { href: `#/runs/${run.run}` }, ago(run.started)), h("small", { class: "line" }, run.finished ? `took ${span(seconds(run))}` : "goes on")] : "–"),
    fact("Next run", sync.paused ? "paused" : ago(sync.next_run)),
    fact("Source changed", ...freshness(sync)),
    fact("Known", number(sync.known)),
    fact("Parked", sync.parked ? h("a", { class: "rejected", href: linkTo(sync) }, number(sync.parked)) : "0"));
}
