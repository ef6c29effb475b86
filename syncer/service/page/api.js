// What the page asks the service. Nothing here is remembered by the browser's cache.

/** The service's answer was an error; the message is its sentence. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** The service did not answer at all. */
export class Unreachable extends Error {}

async function asked(method, path, body) {
  const options = { method, cache: "no-store", credentials: "same-origin", redirect: "error", headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer, document;
  try {
    answer = await fetch(path, options);
    document = answer.status === 204 ? {} : await answer.json();
  } catch {
    if (!answer || answer.ok) throw new Unreachable("The service does not answer. Is it running?");
    document = {};
  }
  if (answer.ok) return document;
  throw new Refused(answer.status, document.error || `The service answered ${answer.status}.`);
}

const one = encodeURIComponent;
const query = (wanted) => {
  const given = Object.entries(wanted).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

export const syncs = () => asked("GET", "/api/syncs");
export const sync = (name) => asked("GET", `/api/syncs/${one(name)}`);
export const runs = (name, limit) => asked("GET", `/api/syncs/${one(name)}/runs${query({ limit })}`);

export async function plan(name, limit) {
  const { syncs: [found], distributions } = await asked("GET", `/api/syncs/${one(name)}/plan${query({ limit })}`);
  return { ...found, distributions };
}

export const parked = (name, wanted) => asked("GET", `/api/syncs/${one(name)}/parked${query(wanted)}`);
export const journal = (wanted) => asked("GET", `/api/journal${query(wanted)}`);
export const run = (id) => asked("GET", `/api/runs/${one(id)}`);
export const changes = (id, wanted) => asked("GET", `/api/runs/${one(id)}/changes${query(wanted)}`);
export const distribution = (id, field) => asked("GET", `/api/runs/${one(id)}/distribution${query({ field })}`);

export const start = (name, by) => asked("POST", `/api/syncs/${one(name)}/runs`, { by });
export const pause = (name, by, reason) => asked("POST", `/api/syncs/${one(name)}/pause`, { by, reason });
export const resume = (name, by) => asked("POST", `/api/syncs/${one(name)}/resume`, { by });
export const approve = (id, by) => asked("POST", `/api/runs/${one(id)}/approval`, { by });
export const refuse = (id, by, reason) => asked("POST", `/api/runs/${one(id)}/refusal`, { by, reason });
export const retry = (name, keys, by) => asked("POST", `/api/syncs/${one(name)}/parked/retry`, { by, keys });

export const enter = (token) => asked("POST", "/api/session", { token });
export const leave = () => asked("DELETE", "/api/session");
