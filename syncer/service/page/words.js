// Numbers, times and values as people read them.

import { h } from "./dom.js";

const NUMBERS = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

export const number = (value) => NUMBERS.format(value);
export const short = (value) => (Math.abs(value) < 10_000 ? NUMBERS.format(value) : SHORT.format(value));
export const when = (text) => WHEN.format(new Date(text));
export const day = (text) => DAY.format(new Date(text));

/** `1 record`, `2 records`. */
export const several = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

/** Seconds in the largest unit that fits: `0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`. */
export function span(seconds) {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** `3 min ago` or `in 12 min`, as an element that also knows the exact time; a dash where there is none. */
export function ago(text) {
  if (!text) return h("span", { class: "soft" }, "–");
  const seconds = (Date.now() - new Date(text)) / 1000;
  const about = span(Math.max(10, Math.abs(seconds)));
  const words = Math.abs(seconds) < 10 ? "now" : seconds > 0 ? `${about} ago` : `in ${about}`;
  return h("time", { datetime: text, title: when(text) }, words);
}

/** How long a run took, in seconds; of one that goes on, until now. */
export function seconds(run) {
  return run.seconds ?? Math.max(0, Date.now() - new Date(run.started)) / 1000;
}

/** A value as the destination has it. Texts are in quotes, so that "7" is no 7. */
export function value(one) {
  if (one === null || one === undefined) return "null";
  if (typeof one === "string") return one === "•••" || isTime(one) ? one : `“${one}”`;
  if (typeof one === "number") return NUMBERS.format(one);
  return typeof one === "object" ? JSON.stringify(one) : String(one);
}

/** A sentence in which what stands between backticks is code. */
export const sentence = (text) => text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));

const isTime = (text) => /^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(text);
