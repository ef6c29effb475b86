// What the buttons do. Each asks first, says what will happen, and the journal keeps who confirmed it.

import * as api from "./api.js";
import { ask } from "./ask.js";
import { looked, lookAtPlan, showMore } from "./sync.js";
import { sought } from "./run.js";
import { number, several, when } from "./words.js";

/** `data-do` → what is done. Each is given the button's data, all syncs, and what to do when something has happened. */
export const ACTIONS = {
  run: ({ sync: name }, syncs, done) => {
    const sync = find(syncs, name);
    ask({
      title: `Run ${name} now?`, button: "Run", done,
      sentences: [
        `The source is read and compared with what ${place(sync)} last accepted. Only what differs is sent; `
        + "the brakes hold the run where too much would.",
        sync.running ? "It is running: this run comes right after it." : "",
      ].filter(Boolean),
      facts: [["Destination", place(sync)], ["Object", sync.object], ["Records", `${number(sync.known)} known`],
        ...(sync.last_run ? [["Last run", `${several(sync.last_run.planned, "change")}, ${when(sync.last_run.started)}`]] : [])],
      act: async (by) => {
        await api.start(name, by);
        return `${name} was asked to run.`;
      },
    });
  },

  pause: ({ sync: name }, syncs, done) => ask({
    title: `Pause ${name}?`, button: "Pause", wanted: { words: "Why (may be left out)", isNeeded: false }, done,
    sentences: [
      `Neither its schedule nor a trigger runs it until somebody resumes it, also after a restart. ${place(find(syncs, name))} keeps what it has.`,
      "A run under way goes on.",
    ],
    facts: [["Destination", place(find(syncs, name))]],
    act: async (by, reason) => {
      await api.pause(name, by, reason);
      return `${name} is paused.`;
    },
  }),

  resume: ({ sync: name }, syncs, done) => ask({
    title: `Resume ${name}?`, button: "Resume", done,
    sentences: ["What was asked for before the pause, and what is due, runs at once. What has changed meanwhile is sent, within the brakes."],
    facts: [["Destination", place(find(syncs, name))]],
    act: async (by) => {
      await api.resume(name, by);
      return `${name} goes on.`;
    },
  }),

  release: ({ sync: name, run }, syncs, done) => {
    const sync = find(syncs, name);
    const held = sync.last_run;
    ask({
      title: `Release what run ${run} holds?`, button: `Release ${several(held.planned, "change")}`, isGrave: true, done,
      sentences: [
        `${several(held.planned, "change")} will be sent to ${place(sync)}, over ${sync.holds.map((one) => one.brake).join(", ")}.`,
        "It is for exactly this plan, once: if the source or the mapping has moved since, the run is held again.",
      ],
      facts: [["Destination", place(sync)], ["Object", sync.object], ["Changes", number(held.planned)]],
      act: async (by) => {
        const { request } = await api.approve(run, by);
        return `What run ${run} held is released by ${by}, ${request ? "and is sent now" : "and is sent once the sync is resumed"}.`;
      },
    });
  },

  refuse: ({ sync: name, run }, syncs, done) => {
    const sync = find(syncs, name);
    ask({
      title: `Refuse what run ${run} holds?`, button: "Refuse", wanted: { words: "Why not", isNeeded: true }, done,
      sentences: [
        `None of the ${several(sync.last_run.planned, "change")} is sent to ${place(sync)}. The journal keeps that you looked and said no.`,
        "The same plan stays held, with your name and reason; another one is judged anew.",
      ],
      facts: [["Destination", place(sync)], ["Changes", number(sync.last_run.planned)]],
      act: async (by, reason) => {
        await api.refuse(run, by, reason);
        return `What run ${run} held is refused by ${by}.`;
      },
    });
  },

  retry: ({ sync: name, record }, syncs, done) => {
    const sync = find(syncs, name);
    const count = record === undefined ? sync.parked : 1;
    ask({
      title: record === undefined ? `Retry ${several(count, "parked record")}?` : `Retry ${record}?`, button: "Retry", done,
      sentences: [`${several(count, "record")} will go to ${place(sync)} again with the next run of ${name}, `
        + "although nothing about them has changed since they were refused."],
      facts: [["Destination", place(sync)], ["Records", number(count)]],
      act: async (by) => {
        const { retried } = await api.retry(name, record === undefined ? null : [record], by);
        return `${several(retried, "record")} will go with the next run.`;
      },
    });
  },

  plan: async ({ sync: name }, _, done) => {
    const asked = lookAtPlan(name);
    done();
    await asked;
    done(looked.get(name).error ? undefined : `The plan of ${name} is there.`);
  },

  "more-runs": ({ sync: name }, _, done) => {
    showMore(name);
    done();
  },

  "parked-page": ({ offset }, _, done, name) => {
    looked.get(name).offset = Number(offset);
    done();
  },

  "change-page": ({ offset }, _, done) => {
    sought.offset = Number(offset);
    done();
  },
};

const find = (syncs, name) => syncs.find((one) => one.sync === name);
const place = (sync) => sync.destination_title || sync.sync.split(".")[0];
