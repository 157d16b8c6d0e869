// The attempts to deliver events to an endpoint. They are read again and again.

import { useEffect, useState } from "preact/hooks";

import { Ago, Alert, Empty, html, useAction } from "../components.js";
import { ago, exact } from "../look.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/subscriptions.js";
import { exportList } from "./exports.js";
import { UserName } from "./names.js";
import { usePolling } from "./polling.js";

const EVERY = 3_000; // ms
const PAGE = 50;
const MOST = 1_000;

const exported = ["event", "type", "user", "position", "attempt", "started", "duration_ms", "status", "failure", "reason", "answer", "stale", "replayed", "next"].map((name) => [name, (d) => d[name]]);

// Deliveries tells onState how far the delivery is: null if another server delivers. onReplay
// is called with the attempt from whose event on events are to be delivered again.
export function Deliveries({ path, onState, onReplay }) {
  const [failed, setFailed] = useState(false);
  const [limit, setLimit] = useState(PAGE);
  const [open, setOpen] = useState("");
  const query = { failed: failed || "", limit };
  const { data, problem } = usePolling(() => client.get(path + "/deliveries", query), EVERY, path + JSON.stringify(query));
  const exporting = useAction();
  const rows = data?.deliveries ?? [];
  useEffect(() => {
    if (data) onState(data.state ?? null);
  }, [data]);
  const save = () => exporting.run(() => exportList({ path: path + "/deliveries", key: "deliveries", query: { failed: failed || "" }, columns: exported, name: "deliveries.csv" }));

  return html`<section class="stack" id="deliveries" aria-labelledby="deliveries-title">
    <div class="spread"><h2 id="deliveries-title">${texts.deliveries}</h2><div class="row">
      <label><input type="checkbox" id="failed" checked=${failed} onChange=${(event) => setFailed(event.target.checked)} /> ${texts.onlyFailed}</label>
      <button type="button" id="export-deliveries" class="small" disabled=${exporting.busy} onClick=${save}>${texts.export}</button></div></div>
    <p class="quiet">${texts.live}</p>
    <${Alert} id="deliveries-problem">${problem || exporting.problem}<//>
    ${!data && !problem && html`<p class="quiet" role="status">${common.loading}</p>`}
    ${data && !rows.length && html`<${Empty}>${texts.noDeliveries}<//>`}
    ${rows.length > 0 && html`<div class="table"><table aria-label=${texts.deliveries}>
      <thead><tr>${[texts.time, texts.event, texts.about_, texts.attempt, texts.result, ""].map((title) => html`<th scope="col">${title}</th>`)}</tr></thead>
      <tbody>${rows.map((d) => html`<${Attempt} key=${keyOf(d)} delivery=${d} open=${open === keyOf(d)} toggle=${() => setOpen(open === keyOf(d) ? "" : keyOf(d))} onReplay=${onReplay} />`)}</tbody>
    </table></div>`}
    ${data?.next && (limit < MOST ? html`<p><button type="button" id="more-deliveries" onClick=${() => setLimit(Math.min(limit * 4, MOST))}>${texts.showMore}</button></p>` : html`<p class="quiet">${texts.atMost}</p>`)}
  </section>`;
}

function keyOf(d) {
  return [d.event, d.attempt, d.started, d.replayed].join();
}

function Attempt({ delivery: d, open, toggle, onReplay }) {
  return html`<tr data-failure=${d.failure} data-type=${d.type}>
      <td data-title=${texts.time}><${Ago} at=${d.started} /></td>
      <td data-title=${texts.event}>${d.type} ${d.replayed && html`<span class="tag">${texts.replayedMark}</span>`}</td>
      <td data-title=${texts.about_}>${d.user ? html`<a href=${"/admin/users/" + d.user}><${UserName} id=${d.user} /></a>` : "–"}</td>
      <td data-title=${texts.attempt} class="number">${d.attempt}</td>
      <td data-title=${texts.result}><${Result} delivery=${d} /></td>
      <td data-title="" class="actions"><button type="button" class="small" aria-expanded=${open} aria-label=${texts.showOf(d.type, exact(d.started))} onClick=${toggle}>${open ? texts.hide : texts.show}</button></td>
    </tr>
    ${open && html`<tr class="more-of-row"><td colspan="6"><div class="stack">
      <${Answer} delivery=${d} />
      ${onReplay && d.position > 0 && html`<button type="button" class="small replay-here" onClick=${() => onReplay(d)}>${texts.replayFrom}</button>`}
    </div></td></tr>`}`;
}

function Result({ delivery: d }) {
  if (!d.failure) return html`<span class="tag good">✓ ${texts.accepted(d.status)}</span>`;
  return html`<span class="tag bad">✕ ${d.status ? texts.refused(d.status) : texts.failed}</span>`;
}

// Answer is what came of an attempt, in words.
export function Answer({ delivery: d }) {
  return html`${d.failure && html`<p>${texts.failures[d.failure] ?? d.failure} ${d.next ? nextOf(d.next) : d.position > 0 && texts.givenUp}</p>`}
    ${d.stale && html`<p class="quiet">${texts.stale}</p>`}
    <dl class="facts">
      ${d.reason && html`<div class="wide-fact"><dt>${texts.reason}</dt><dd>${d.reason}</dd></div>`}
      <div><dt>${texts.time}</dt><dd>${exact(d.started)}</dd></div>
      <div><dt>${texts.duration}</dt><dd>${d.duration_ms} ms</dd></div>
      <div><dt>${texts.eventId}</dt><dd><code>${d.event}</code></dd></div>
      ${d.position > 0 && html`<div><dt>${texts.position}</dt><dd><code>${d.position}</code></dd></div>`}
    </dl>
    ${d.status > 0 && html`<h3>${texts.answer}</h3>${d.answer ? html`<pre tabindex="0">${d.answer}</pre>` : html`<p class="quiet">${texts.emptyAnswer}</p>`}`}`;
}

function nextOf(time) {
  return (new Date(time) > Date.now() ? texts.next : texts.nextPast)(ago(time));
}
