// One event of the audit log: a row, and below it what changed.

import { html } from "../components.js";
import { exact } from "../look.js";
import texts from "../texts/audit.js";
import { AppName, UserName } from "./names.js";

// brokenAt is the number of the first event whose hash does not continue the one before it in
// a list, newest first; 0: there is none. Whole logs are verified by the command line.
export function brokenAt(events) {
  const at = events.findIndex((e, i) => events[i + 1]?.sequence === e.sequence - 1 && events[i + 1].hash !== e.previous);
  return at < 0 ? 0 : events[at].sequence;
}

const word = (action) => texts.actions[action] ?? action;

export function AuditEvent({ event: e, open, toggle }) {
  return html`<tr data-action=${e.action} data-sequence=${e.sequence}>
      <td data-title=${texts.time}>${exact(e.time)}</td>
      <td data-title=${texts.who}><${Who} event=${e} /></td>
      <td data-title=${texts.what}><span>${word(e.action)} ${e.count > 1 && html`<span class="tag">${texts.times(e.count)}</span>`}</span></td>
      <td data-title=${texts.target}><${Target} target=${e.target} /></td>
      <td data-title=${texts.result}>${e.denied ? html`<span class="tag bad">✕ ${texts.refused}</span>` : html`<span class="tag good">✓ ${texts.allowed}</span>`}</td>
      <td data-title=""><button type="button" class="small" aria-expanded=${open} aria-label=${(open ? texts.hideOf : texts.showOf)(word(e.action), exact(e.time))} onClick=${toggle}>${open ? texts.hide : texts.show}</button></td>
    </tr>
    ${open && html`<tr class="more-of-row"><td colspan="6"><div class="stack"><${Change} event=${e} /><${Origin} event=${e} /></div></td></tr>`}`;
}

function Who({ event: e }) {
  if (e.user) return html`<a href=${"/admin/users/" + e.user}><${UserName} id=${e.user} /></a>`;
  return e.app ? html`<${AppName} id=${e.app} />` : e.address ? texts.unknown : texts.server;
}

function Target({ target = "" }) {
  const [kind, ...rest] = target.split("/");
  const id = rest.join("/");
  if (!id) return target || texts.empty;
  if (kind === "user") return html`<a href=${"/admin/users/" + id}><${UserName} id=${id} /></a>`;
  if (kind === "app") return html`<a href=${"/admin/apps/" + encodeURIComponent(id)}><${AppName} id=${id} /></a>`;
  if (kind === "subscription") return html`<a href=${"/admin/subscriptions/" + id}>${texts.kinds.subscription} ${id}</a>`;
  return html`<span>${texts.kinds[kind] ?? kind} <code>${id}</code></span>`;
}

// Change shows the values of the fields before and after, side by side.
function Change({ event: e }) {
  const names = [...new Set([...Object.keys(e.before ?? {}), ...Object.keys(e.after ?? {})])].filter((name) => !isEmpty(e.before?.[name]) || !isEmpty(e.after?.[name]));
  const columns = [["before", texts.before], ["after", texts.after]].filter(([side]) => e[side]);
  return html`${e.reason && html`<p>${texts.reasons[e.reason] ?? e.reason}</p>`}
    ${names.length > 0 && html`<table class="change"><thead><tr><th scope="col">${texts.field}</th>${columns.map(([, title]) => html`<th scope="col">${title}</th>`)}</tr></thead>
      <tbody>${names.map((name) => html`<tr key=${name}><th scope="row">${name}</th>${columns.map(([side, title]) => html`<td data-title=${title}>${shown(e[side][name])}</td>`)}</tr>`)}</tbody></table>`}
    ${!names.length && !e.reason && html`<p class="quiet">${texts.noChange}</p>`}`;
}

function isEmpty(value) {
  return value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length);
}

function shown(value) {
  if (isEmpty(value)) return texts.empty;
  if (Array.isArray(value)) return value.map(shown).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function Origin({ event: e }) {
  const facts = [[texts.app, e.app && html`<${AppName} id=${e.app} />`], [texts.token, e.token], [texts.address, e.address], [texts.request, e.request], [texts.sequence, e.sequence], [texts.hash, e.hash]];
  return html`<dl class="facts">${facts.filter(([, value]) => value).map(([title, value]) => html`<div key=${title}><dt>${title}</dt><dd><code>${value}</code></dd></div>`)}</dl>`;
}
