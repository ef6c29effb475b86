// A question before anything happens: what will, to how many records, where; and who says so.

import { h } from "./dom.js";

const WHO = "syncer.who";

/**
 * Ask, and act once it is confirmed. `facts` are pairs of a word and a text; `sentences` say what will happen. `act` is
 * given who confirmed, and why where that is `wanted`, and resolves to the sentence that tells what came of it. An
 * error's sentence stays in the dialog.
 */
export function ask({ title, sentences, facts = [], button, isGrave = false, wanted = null, act, done }) {
  const who = h("input", {
    id: "who", name: "who", required: true, maxlength: 200, autocomplete: "name", spellcheck: "false",
    value: localStorage.getItem(WHO) || "",
  });
  const reason = wanted && h("input", { id: "reason", maxlength: 500, autocomplete: "off", required: wanted.isNeeded });
  const error = h("p", { class: "error", role: "alert" });
  const confirm = h("button", { class: isGrave ? "button grave" : "button main", type: "submit" }, button);
  const cancel = h("button", { class: "button", type: "button" }, "Cancel");
  const form = h("form", { method: "dialog" },
    h("h2", { id: "asked" }, title),
    h("div", { id: "asked-what" },
      sentences.map((one) => h("p", {}, one)),
      facts.length > 0 && h("dl", { class: "facts" }, facts.map(([word, text]) =>
        h("div", {}, h("dt", {}, word), h("dd", {}, text))))),
    wanted && [h("label", { for: "reason" }, wanted.words), reason],
    h("label", { for: "who" }, "Your name, for the journal"), who, error,
    h("div", { class: "row end" }, cancel, confirm));
  const dialog = h("dialog", { "aria-labelledby": "asked", "aria-describedby": "asked-what" }, form);
  const opener = document.activeElement;

  cancel.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener?.isConnected) opener.focus();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = who.value.trim();
    if (!name) {
      error.textContent = "Say who you are: the journal keeps it.";
      who.focus();
      return;
    }
    localStorage.setItem(WHO, name);
    confirm.disabled = true;
    error.textContent = "";
    try {
      const sentence = await act(name, reason ? reason.value.trim() : "");
      dialog.close();
      done(sentence);
    } catch (fault) {
      error.textContent = fault.message;
      confirm.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  (reason || who).focus();
  who.select();
}
