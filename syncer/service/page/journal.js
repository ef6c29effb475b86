// Who did what: the last lines of the journal.

import { h } from "./dom.js";
import { ago, several } from "./words.js";

const DID = {
  run: () => ["asked for a run of "],
  pause: () => ["paused "],
  resume: () => ["resumed "],
  approve: ({ run }) => ["released what run ", runLink(run), " held, of "],
  refuse: ({ run }) => ["refused what run ", runLink(run), " held, of "],
  retry: ({ records }) => [`let ${several(records, "parked record")} be tried again, of `],
};

export function journal(acts) {
  return acts.length > 0 && h("section", { "data-key": "journal", "aria-labelledby": "journal" },
    h("h2", { id: "journal" }, "Journal"),
    h("ul", { class: "card journal" }, acts.map((one) => h("li", { "data-key": `act-${one.id}` },
      h("span", {}, h("b", {}, one.by), " ", DID[one.what]?.(one.facts) || `${one.what} `,
        h("a", { href: `#/syncs/${encodeURIComponent(one.sync)}` }, one.sync), reason(one.facts)),
      h("span", { class: "soft" }, ago(one.at))))));
}

const runLink = (run) => h("a", { href: `#/runs/${run}` }, `#${run}`);

const reason = ({ reason: why, refused }) => (why || refused) && h("span", { class: "soft" }, `: ${why || refused}`);
