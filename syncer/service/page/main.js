// The page: which view the address names, asking the service again and again, and what was clicked.

import { ACTIONS } from "./actions.js";
import * as api from "./api.js";
import { h, morph } from "./dom.js";
import * as overview from "./overview.js";
import * as run from "./run.js";
import * as sync from "./sync.js";
import { sentence } from "./words.js";

const POLL_MS = 2_000;
/** While something runs or waits for its turn. */
const BUSY_MS = 500;
const SEEK_MS = 200;
const at = (id) => document.getElementById(id);

const state = {
  view: overview, wanted: {}, syncs: [], seen: new Map(), asked: 0, timer: 0, isFirst: true, isNew: false, needsToken: false,
};

function routeOf(hash) {
  const found = /^#\/(syncs|runs)\/([^/]+)$/.exec(hash);
  if (!found) return [overview, {}];
  let named = found[2];
  try {
    named = decodeURIComponent(named);
  } catch {
    // Half of a character is a name that no sync has, and the service says so.
  }
  return found[1] === "syncs" ? [sync, { name: named }] : [run, { id: named }];
}

async function refresh() {
  clearTimeout(state.timer);
  const mine = ++state.asked;
  const { view, wanted } = state;
  try {
    const [all, found] = await Promise.all([api.syncs(), view.load(wanted)]);
    if (mine !== state.asked) return;
    state.syncs = all.syncs;
    warn(all);
    announce(all.syncs);
    const width = at("view").clientWidth;
    morph(at("view"), view.draw(found, { syncs: all.syncs, width }));
    pulse(true);
  } catch (error) {
    if (mine !== state.asked) return;
    if (error instanceof api.Refused && error.status === 401) return login();
    if (error instanceof api.Unreachable) pulse(false);
    else if (error instanceof api.Refused) morph(at("view"), trouble(error.message));
    else throw error;
  } finally {
    if (mine === state.asked && !state.needsToken && !document.hidden) state.timer = setTimeout(refresh, isBusy() ? BUSY_MS : POLL_MS);
  }
  if (mine === state.asked && state.isNew) settle();
}

const isBusy = () => state.syncs.some((one) => one.running || one.queued);

function trouble(sentence) {
  return [h("h1", { tabindex: -1, "data-key": "title" }, "Not to be shown"),
    h("p", { class: "card error", role: "alert", "data-key": "trouble" }, sentence),
    h("p", { "data-key": "back" }, h("a", { href: "#/" }, "Back to the overview"))];
}

/** A new view begins at its heading, for eyes and for screen readers alike; the first one where browsers begin. */
function settle() {
  state.isNew = false;
  document.title = `${state.view.title(state.wanted)} · Syncer`;
  if (state.isFirst) {
    state.isFirst = false;
    return;
  }
  scrollTo(0, 0);
  at("view").querySelector("h1")?.focus({ preventScroll: true });
}

function route() {
  [state.view, state.wanted] = routeOf(location.hash);
  state.isNew = true;
  refresh();
}

/** A config that is broken on disk runs on as it was; that is said above every view. */
function warn({ config }) {
  morph(at("warning"), [
    config.error && h("div", { class: "warning", "data-key": "broken" },
      h("b", {}, "The edited config is broken; the one before it goes on running."),
      h("ul", {}, config.error.split("\n").map((one) => h("li", {}, sentence(one))))),
    config.restart.length > 0 && h("div", { class: "warning mild", "data-key": "restart" },
      `Changed, and counts from the next start of the service on: ${config.restart.join(", ")}.`),
  ].filter(Boolean));
}

/** What has changed since the last look is said once, for who cannot see it. */
function announce(syncs) {
  for (const one of syncs) {
    const now = one.paused ? "paused" : overview.stateOf(one);
    const before = state.seen.get(one.sync);
    if (before && before !== now) say(`${one.sync}: ${now === "ok" ? "done" : now}`, "told");
    state.seen.set(one.sync, now);
  }
}

/** `said` is what somebody's own click came to, and shown; `told` is for screen readers: everybody else sees it. */
function say(sentence, place = "said") {
  const line = h("p", {}, sentence);
  at(place).append(line);
  setTimeout(() => line.remove(), 6_000);
}

function pulse(isLive) {
  const words = isLive ? "live" : "no answer, asking again";
  if (at("pulse").textContent === words) return;
  at("pulse").textContent = words;
  at("pulse").className = isLive ? "live" : "lost";
}

// --- with a token ----------------------------------------------------------------------------------------------------

function login() {
  state.needsToken = true;
  at("leave").hidden = true;
  pulse(true);
  if (at("token")) return;
  const token = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
  const error = h("p", { class: "error", role: "alert" });
  const form = h("form", { class: "card login", "data-key": "login" }, h("h1", { tabindex: -1 }, "Syncer"),
    h("p", { class: "soft" }, "This service is open to who has its token. It is the one that `service.token` in the config refers to."),
    h("label", { for: "token" }, "Token"), token, error, h("div", { class: "row end" }, h("button", { class: "button main", type: "submit" }, "Enter")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await api.enter(token.value);
      state.needsToken = false;
      at("leave").hidden = false;
      sessionStorage.setItem("syncer.session", "1");
      route();
    } catch (fault) {
      error.textContent = fault.message;
      token.select();
    }
  });
  at("view").replaceChildren(form);
  token.focus();
}

at("leave").addEventListener("click", async () => {
  await api.leave();
  sessionStorage.removeItem("syncer.session");
  route();
});
at("leave").hidden = !sessionStorage.getItem("syncer.session");

// --- what is clicked and typed ---------------------------------------------------------------------------------------

const done = (sentence) => {
  if (sentence) say(sentence);
  refresh();
};

document.addEventListener("click", (event) => {
  const clicked = event.target.closest("[data-do]");
  if (clicked && clicked.getAttribute("aria-disabled") !== "true") ACTIONS[clicked.dataset.do](clicked.dataset, state.syncs, done, state.wanted.name);
});

// A column of a plot leads to its run; for the keyboard, the table beside it does.
document.addEventListener("click", (event) => {
  const column = event.target.closest("[data-go]");
  if (column) location.hash = column.dataset.go;
});

let seeking = 0;
document.addEventListener("input", (event) => {
  const name = event.target.dataset?.seek;
  if (!name) return;
  if (name === "plotted") state.view.plot(state.wanted, event.target.value);
  else Object.assign(run.sought, { [name]: event.target.value.trim(), offset: 0 });
  clearTimeout(seeking);
  seeking = setTimeout(refresh, event.target.type === "search" ? SEEK_MS : 0);
});
// The address of this link would be taken for a view.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("view").focus();
});
document.addEventListener("submit", (event) => event.preventDefault());

document.addEventListener("visibilitychange", () => !document.hidden && !state.needsToken && refresh());
addEventListener("resize", () => !state.needsToken && refresh());
addEventListener("hashchange", route);
route();
