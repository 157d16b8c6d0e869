// The form that sets the user's status, for as long as they choose.

import { useState } from "preact/hooks";

import { Alert, Field, html, Icon, toast, useAction } from "../components.js";
import { word } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/me.js";
import { chosen, tomorrowMorning, withoutNote } from "./ends.js";
import { OwnNote } from "./ownnote.js";

const statuses = ["available", "busy", "do_not_disturb", "away", "out_of_office"];
const LONGEST_QUIET = 24 * 3_600_000; // ms: the server accepts no longer do not disturb

const empty = { note: "", lasts: "", at: "", count: "90", unit: "minutes" };

export function Choice({ own, hint, setHint, explanation }) {
  const [form, setForm] = useState(empty);
  const act = useAction();
  const ownNote = explanation.value?.own_note;
  const change = (event) => setForm({ ...form, [event.target.name]: event.target.value });
  // A disabled button would lose the focus, so the controls stay enabled. The status is often
  // shown before the request is answered: what is chosen meanwhile is done after it.
  const submit = (kind, f) => act.later(kind, async () => {
    setHint("");
    act.setProblem("");
    await f();
    setForm((now) => withoutNote(now, form.note)); // now has what was chosen meanwhile
  });

  const choose = (status, lasts = form.lasts) => submit("status", async () => {
    const shown = await setStatus(status, form.note.trim(), endOf({ ...form, lasts }));
    if (shown.status !== status) setHint(texts.overruled(word(status), word(shown.status)));
    explanation.reload();
  });
  const setNote = (event) => {
    event.preventDefault();
    submit("note", async () => {
      if (!form.note.trim()) throw new Error(texts.noteMissing);
      await confirmed(client.put("/v1/users/me/note", { text: form.note.trim(), ...endOf(form) }));
      toast(texts.noteSet);
      explanation.reload();
    });
  };

  return html`<form id="choice" class="card" autocomplete="off" onSubmit=${setNote}>
    <h2>${texts.choose}</h2>
    <${Alert} id="choice-problem">${act.problem}<//>
    <div id="statuses" role="group" aria-label=${texts.statuses}>${statuses.map((status) => html`<button type="button" data-status=${status}
      aria-pressed=${String(own?.status === status)} onClick=${() => choose(status)}><${Icon} status=${status} />${word(status)}</button>`)}</div>
    <${Quiet} choose=${choose} />
    <div class="fields">
      <${Field} id="lasts" label=${texts.lasts} hint=${form.lasts === "" && texts.defaultEnd}><select id="lasts" name="lasts" value=${form.lasts} onChange=${change}>
        ${texts.ends.map(([value, words]) => html`<option value=${value}>${words}</option>`)}</select><//>
      ${form.lasts === "at" && html`<${Field} id="at" label=${texts.at}><input id="at" name="at" type="datetime-local" required value=${form.at} onInput=${change} /><//>`}
      ${form.lasts === "custom" && html`<${Length} form=${form} change=${change} />`}
      <div><${Field} id="text" label=${texts.note} hint=${texts.noteHint}><input id="text" name="note" type="text" maxlength="280" autocomplete="off" value=${form.note} onInput=${change} /><//>
        <button type="submit" id="note-only" class="small">${texts.noteOnly}</button></div>
    </div>
    ${ownNote && html`<${OwnNote} shown=${own?.note} note=${ownNote} onChanged=${explanation.reload} />`}
    <p id="hint" class="quiet" role="status">${hint}</p>
  </form>`;
}

function Length({ form, change }) {
  return html`<div class="length"><${Field} id="count" label=${texts.count}><input id="count" name="count" type="number" min="1" max="1000" required value=${form.count} onInput=${change} /><//>
    <${Field} id="unit" label=${texts.unit}><select id="unit" name="unit" value=${form.unit} onChange=${change}>${texts.units.map(([value, words]) => html`<option value=${value}>${words}</option>`)}</select><//></div>`;
}

// Quiet are the presets of do not disturb, one click each.
function Quiet({ choose }) {
  const offered = texts.presets.filter(([lasts]) => lasts !== "tomorrow" || tomorrowMorning() - Date.now() <= LONGEST_QUIET);
  return html`<div id="quiet" role="group" aria-label=${texts.quiet} class="row"><span class="quiet">${texts.quiet}</span>
    ${offered.map(([lasts, words]) => html`<button type="button" class="small" data-lasts=${lasts} aria-label=${texts.preset(words)} onClick=${() => choose("do_not_disturb", lasts)}>${words}</button>`)}
  </div>`;
}

// endOf is the end that the form says, which must be complete and in the future.
function endOf(form) {
  const end = chosen(form);
  if (!end) throw new Error(texts.endInFuture);
  return end;
}

// setStatus returns the presence. Manual available is not stored as a claim, so a note with
// it, and the note's end, become the user's own note.
async function setStatus(status, note, end) {
  const claim = { source: "manual", status };
  if (status !== "available") Object.assign(claim, end, note && { note });
  const { presence } = await confirmed(client.put("/v1/users/me/claims/manual", claim));
  if (status === "available" && note) await confirmed(client.put("/v1/users/me/note", { text: note, ...end }));
  return presence;
}

// confirmed says what to do if the server did not answer: it may have done what was asked.
async function confirmed(request) {
  try {
    return await request;
  } catch (err) {
    throw err.status ? err : new Error(texts.unanswered);
  }
}
