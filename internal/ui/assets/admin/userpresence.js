// What is shown of a user now, why, and what follows: the presence, the claims and the
// sessions. They are read again whenever the server reports a change.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { Alert, Dialog, Empty, Field, html, Status, useAction } from "../components.js";
import { clock, localTimes, times, word } from "../look.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/users.js";
import { nameOf } from "./usermarks.js";

// useExplanation follows the presence of a user: { explanation, problem, read }. The answer to
// an earlier read than the last one is not shown: it may be of before the change.
export function useExplanation(id) {
  const [state, setState] = useState({ explanation: null, problem: "" });
  const round = useRef(0);
  const read = useCallback(async () => {
    const mine = ++round.current;
    try {
      const explanation = await client.get(`/v1/users/${id}/presence/explain`);
      if (mine === round.current) setState({ explanation, problem: "" });
    } catch (err) {
      if (mine === round.current) setState((s) => ({ ...s, problem: err.message }));
    }
  }, [id]);
  useEffect(() => {
    const stream = client.stream({
      frame: (f) => ["snapshot", "presence", "gone"].includes(f.type) && read(),
      state() {},
      open() {},
      lost() {},
      ended: read, // there are no further frames, so show what there is now
    }, { users: id });
    stream.start();
    return () => stream.stop();
  }, [id, read]);
  return { ...state, read };
}

export function Presence({ user, explanation, problem, read }) {
  const [setting, setSetting] = useState(false);
  return html`<section class="card" id="presence" aria-labelledby="presence-title">
    <div class="spread"><h2 id="presence-title">${texts.now}</h2>
      ${user.active && html`<button type="button" id="set-status" class="small" onClick=${() => setSetting(true)}>${texts.setStatus}</button>`}</div>
    <${Alert} id="presence-problem">${problem}<//>
    ${!user.active && html`<p class="quiet">${texts.hidden}</p>`}
    ${explanation && html`<p class="now"><${Status} status=${explanation.status} /> ${explanation.note && html`<q>${explanation.note}</q>`} <span class="quiet">${times(explanation)}</span></p>
      <h3>${texts.why}</h3><p id="because">${localTimes(explanation.because)}</p>
      ${explanation.next.length > 0 && html`<h3>${texts.follows}</h3><ol class="rows">${explanation.next.map((n) => html`<li>
        <div><${Status} status=${n.status} /><div class="quiet">${localTimes(n.why)}</div></div><time datetime=${n.at}>${clock(n.at)}</time></li>`)}</ol>`}`}
    ${setting && html`<${SetStatus} user=${user} onClose=${() => setSetting(false)} onDone=${read} />`}
  </section>`;
}

const settable = ["available", "away", "busy", "do_not_disturb", "in_calendar_event", "in_meeting", "presenting", "on_call", "out_of_office"];

function SetStatus({ user, onClose, onDone }) {
  const act = useAction();
  const submit = async (event) => {
    event.preventDefault();
    const { status, note, ends } = event.target.elements;
    const claim = { source: "manual", status: status.value, note: note.value.trim(), ...(ends.value && { duration_seconds: Number(ends.value) }) };
    if (!(await act.run(() => client.put(`/v1/users/${user.id}/claims/manual`, claim)))) return;
    onDone();
    onClose();
  };
  return html`<${Dialog} title=${texts.setStatusTitle(nameOf(user))} onClose=${onClose}>
    <form id="status-form" onSubmit=${submit}>
      <p class="quiet">${texts.setStatusHint}</p>
      <div class="fields">
        <${Field} id="status" label=${texts.status}><select id="status" name="status">${settable.map((s) => html`<option value=${s}>${word(s)}</option>`)}</select><//>
        <${Field} id="ends" label=${texts.ends}><select id="ends" name="ends">${texts.endings.map(([value, label]) => html`<option value=${value}>${label}</option>`)}</select><//>
      </div>
      <${Field} id="note" label=${texts.note}><input id="note" name="note" maxlength="280" autocomplete="off" /><//>
      <${Alert} id="status-problem">${act.problem}<//>
      <footer><button type="button" onClick=${onClose}>${common.cancel}</button><button type="submit" class="main" disabled=${act.busy}>${texts.set}</button></footer>
    </form>
  <//>`;
}

export function Claims({ user, explanation, read }) {
  const act = useAction();
  const withdraw = (claim) => act.run(async () => {
    await client.delete(`/v1/users/${user.id}/claims/${encodeURIComponent(claim.id)}`);
    await read();
  });
  const claims = explanation?.claims ?? [];
  return html`<section class="card" id="claims" aria-labelledby="claims-title"><h2 id="claims-title">${texts.claims}</h2>
    <${Alert} id="claims-problem">${act.problem}<//>
    ${explanation && !claims.length && html`<${Empty}>${texts.noClaims}<//>`}
    <ul class="rows">${claims.map((c) => html`<li key=${c.id} data-claim=${c.id} class=${c.counts ? "" : "faint"}>
      <div><div class="row"><${Status} status=${c.status} /> <span class="tag">${texts.bySource[c.source] ?? c.source}</span> ${c.decides && html`<span class="tag good">✓ ${texts.decides}</span>`}</div>
        <div class="quiet">${[c.note, times(c)].filter(Boolean).join(" · ")}</div>
        <div class="quiet">${texts.rule(c.row)}: ${localTimes(c.why)}</div></div>
      <button type="button" class="small" disabled=${act.busy} aria-label=${texts.withdrawOf(c.id)} onClick=${() => withdraw(c)}>${texts.withdraw}</button></li>`)}</ul>
  </section>`;
}

export function Sessions({ explanation, read }) {
  const act = useAction();
  const end = (session) => act.run(async () => {
    await client.delete("/v1/sessions/" + encodeURIComponent(session.id));
    await read();
  });
  const sessions = explanation?.sessions ?? [];
  return html`<section class="card" id="sessions" aria-labelledby="sessions-title"><h2 id="sessions-title">${texts.sessions}</h2>
    <${Alert} id="sessions-problem">${act.problem}<//>
    ${explanation && !sessions.length && html`<${Empty}>${texts.noSessions}<//>`}
    <ul class="rows">${sessions.map((s) => html`<li key=${s.id}>
      <div><div class="row"><span class="name">${texts.client(s.client_type, s.client_version)}</span> <span class="tag">${s.active ? `● ${texts.sessionActive}` : `◌ ${texts.sessionIdle}`}</span></div>
        <div class="quiet">${s.ends_at ? texts.sessionTimes(clock(s.since), clock(s.ends_at)) : texts.sessionConnected(clock(s.since))}</div></div>
      <button type="button" class="small" disabled=${act.busy} aria-label=${texts.endSessionOf(texts.client(s.client_type, s.client_version))} onClick=${() => end(s)}>${texts.endSession}</button></li>`)}</ul>
  </section>`;
}
