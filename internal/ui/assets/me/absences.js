// Out of office: absences of whole days, which begin and end by themselves.

import { useState } from "preact/hooks";

import { Alert, Field, html, toast, useAction } from "../components.js";
import { client } from "../session.js";
import texts from "../texts/me.js";
import { dateOf, range, withoutNote } from "./ends.js";
import { Section } from "./section.js";

const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

export function Absences({ explanation }) {
  const planned = explanation.value?.claims.filter((claim) => claim.status === "out_of_office" && !claim.app) ?? [];
  return html`<${Section} id="absence" title=${texts.absence} about=${planned[0] && days(planned[0])}>${() => html`
    <${Planned} list=${planned} onChanged=${explanation.reload} />
    <${Plan} onChanged=${explanation.reload} />
    <p class="quiet">${texts.absenceHint}</p>`}<//>`;
}

// days are the days of a claim in words. An absence ends at the midnight after its last day.
function days({ since, until }) {
  if (!until) return texts.noEnd;
  return texts.days(date.format(new Date(since)), date.format(new Date(until) - 1));
}

function Planned({ list, onChanged }) {
  const act = useAction();
  if (!list.length) return null;
  const end = (claim) => act.run(async () => {
    await client.delete("/v1/users/me/claims/" + encodeURIComponent(claim.id));
    onChanged();
  });
  return html`<h3>${texts.absences}</h3><${Alert} id="absences-problem">${act.problem}<//>
    <ul id="absences" class="rows">${list.map((claim) => html`<li key=${claim.id}><span>${days(claim)} <span class="quiet">${claim.note}</span></span>
      <button type="button" class="small" disabled=${act.busy} aria-label=${texts.endAbsence(days(claim))} onClick=${() => end(claim)}>${texts.end}</button></li>`)}</ul>`;
}

function Plan({ onChanged }) {
  const today = dateOf(new Date());
  const [form, setForm] = useState({ first: today, last: today, note: "" });
  const act = useAction();
  const change = (event) => setForm({ ...form, [event.target.name]: event.target.value });
  const submit = (event) => {
    event.preventDefault();
    act.run(async () => {
      const when = range(form.first, form.last);
      if (!when) throw new Error(texts.badRange);
      await client.put("/v1/users/me/claims/" + claimID(form, when), { status: "out_of_office", source: when.since ? "schedule" : "manual", note: form.note.trim() || undefined, ...when });
      toast(texts.planned(form.first, form.last));
      setForm((now) => withoutNote(now, form.note));
      onChanged();
    });
  };
  return html`<form id="plan" autocomplete="off" onSubmit=${submit}>
    <${Alert} id="plan-problem">${act.problem}<//>
    <div class="fields">
      <${Field} id="first" label=${texts.first}><input id="first" name="first" type="date" required min=${today} value=${form.first} onInput=${change} /><//>
      <${Field} id="last" label=${texts.last}><input id="last" name="last" type="date" required min=${form.first} value=${form.last} onInput=${change} /><//>
      <${Field} id="absence-note" label=${texts.absenceNote}><input id="absence-note" name="note" type="text" maxlength="280" value=${form.note} onInput=${change} /><//>
    </div>
    <button type="submit" class="main" disabled=${act.busy}>${texts.plan}</button>
  </form>`;
}

// An absence from today on is the user's manual claim, so that it comes first at once. A later
// one stands beside what the user chooses until then.
function claimID({ first }, when) {
  return when.since ? "absence-" + first : "manual";
}
