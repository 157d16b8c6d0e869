// The page /admin/health: what the server measures of itself, with charts of the time that
// the page is open.

import { useEffect, useRef, useState } from "preact/hooks";

import { Ago, Alert, Copy, html } from "../components.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/health.js";
import { between, isOld } from "./measurements.js";
import { usePolling } from "./polling.js";
import { Sparkline } from "./sparkline.js";

const EVERY = 2_000; // ms
const CAPACITY = 150; // points: 5 minutes
const FEWEST = 30; // points that fill a chart

// charts are in the order of the page, each with how a value is written.
const charts = [["changes", texts.rate], ["requests", texts.rate], ["p99", texts.within], ["lag", texts.seconds], ["connections", texts.count], ["streams", texts.count], ["pending", texts.count], ["failed", texts.rate]];

export default function Health() {
  const { data, problem } = usePolling(() => client.get("/v1/health"), EVERY);
  const history = useHistory(data);
  const server = data?.server;
  return html`<header><h1>${texts.title}</h1></header>
    <${Alert}>${problem}<//>
    ${!data && !problem && html`<p class="quiet" role="status">${common.loading}</p>`}
    ${data && !server && html`<p class="notice" id="several">${texts.several}</p>`}
    ${server && html`<${State} server=${server} />
      <p class="quiet">${texts.live(EVERY / 1_000)}</p>
      <${Charts} server=${server} history=${history} />
      <div class="halves"><${Backup} backup=${server.backup} job=${server.backups} /><${Disk} store=${server.store} /></div>
      <${Consumers} consumers=${server.consumers} /><${Deliveries} deliveries=${server.deliveries} />`}`;
}

// useHistory keeps the figures between the measurements that the page has seen.
function useHistory(data) {
  const last = useRef(null);
  const [history, setHistory] = useState([]);
  useEffect(() => {
    if (!data?.server || last.current?.time === data.time) return;
    const figures = last.current && between(last.current, data);
    setHistory((known) => (figures ? [...known, figures].slice(-CAPACITY) : []));
    last.current = data;
  }, [data]);
  return history;
}

function State({ server }) {
  const good = server.state === "ready";
  return html`<section class="card" id="health" aria-label=${texts.state} data-state=${server.state}>
    <p class="health"><span class="tag ${good ? "good" : "bad"}">${texts.marks[server.state]} ${texts.states[server.state] ?? server.state}</span> ${texts.explained[server.state]}</p>
    ${server.reason && html`<p class="quiet">${server.reason}</p>`}
    <p class="quiet">${texts.version} ${server.version} · ${texts.started} <${Ago} at=${server.started} /></p></section>`;
}

function Charts({ server, history }) {
  if (!history.length) return html`<p class="quiet" id="waiting">${texts.waiting}</p>`;
  const minutes = texts.minutes((history.length * EVERY) / 60_000);
  return html`<div class="charts">${charts.map(([name, write]) => {
    const values = history.map((figures) => figures[name] ?? 0);
    const now = history.at(-1)[name] === undefined ? texts.noRequests : write(values.at(-1));
    const limit = name === "connections" && server.connections_limit;
    return html`<section key=${name} class="card chart" data-chart=${name}><h2>${texts.charts[name]}</h2>
      <p class="figure"><strong>${now}</strong> ${limit > 0 && html`<span class="quiet">${texts.most(limit)}</span>`}</p>
      <${Sparkline} values=${values.map((v) => (Number.isFinite(v) ? v : 20))} capacity=${Math.max(FEWEST, values.length)} label=${texts.chart(texts.charts[name], now, minutes)} /></section>`;
  })}</div>`;
}

// bytes is a size in words.
function bytes(n) {
  const unit = Math.min(4, Math.floor(Math.log2(Math.max(n, 1)) / 10));
  return new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 }).format(n / 2 ** (10 * unit)) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][unit];
}

function Backup({ backup, job }) {
  return html`<section class="card" id="backup" aria-labelledby="backup-title"><h2 id="backup-title">${texts.backup}</h2>
    ${backup ? html`<p><${Ago} at=${backup.time} />, ${bytes(backup.bytes)}</p>` : html`<p>▲ ${texts.noBackup}</p>`}
    ${backup && isOld(backup) && html`<p>▲ ${texts.old}</p>`}
    ${job?.running && html`<p id="backup-running">${texts.backupRunning(bytes(job.running.done_bytes), job.running.total_bytes ? bytes(job.running.total_bytes) : texts.unknown)}</p>`}
    ${job?.reason && html`<p>▲ ${texts.backupFailed(job.failures)} ${job.reason}</p>`}
    ${job?.next && html`<p class="quiet" id="backup-next">${texts.backupNext} <${Ago} at=${job.next} /></p>`}
    <p class="quiet">${texts.how}</p><p class="secret"><code>${texts.command}</code> <${Copy} text=${texts.command} /></p></section>`;
}

function Disk({ store }) {
  const facts = store && [[texts.used, bytes(store.disk_bytes)], [texts.free, store.free_bytes ? bytes(store.free_bytes) : texts.unknown], store.low_bytes && [texts.low, bytes(store.low_bytes)]].filter(Boolean);
  return html`<section class="card" id="disk" aria-labelledby="disk-title"><h2 id="disk-title">${texts.disk}</h2>
    ${store ? html`<dl class="facts">${facts.map(([title, value]) => html`<div key=${title}><dt>${title}</dt><dd>${value}</dd></div>`)}</dl>` : html`<p>${texts.external}</p>`}</section>`;
}

function Consumers({ consumers }) {
  const lag = (c) => (!c.running ? texts.elsewhere : c.lag_entries ? texts.behind(c.lag_entries, texts.seconds(c.lag_seconds)) : `✓ ${texts.current}`);
  return html`<section class="stack" aria-labelledby="consumers-title"><h2 id="consumers-title">${texts.consumers}</h2><p class="quiet">${texts.consumersExplained}</p>
    <div class="table"><table aria-labelledby="consumers-title"><thead><tr>${[texts.consumer, texts.lag, texts.quarantined, texts.retries].map((title) => html`<th scope="col">${title}</th>`)}</tr></thead>
    <tbody>${consumers.map((c) => html`<tr key=${c.name} data-consumer=${c.name}><td>${texts.names[c.name] ?? c.name}</td><td data-title=${texts.lag}>${lag(c)}</td>
      <td data-title=${texts.quarantined}>${c.quarantined > 0 ? `▲ ${c.quarantined}` : 0}</td><td data-title=${texts.retries}>${c.retries}</td></tr>`)}</tbody></table></div></section>`;
}

function Deliveries({ deliveries: d }) {
  const facts = [[texts.accepted, d.accepted], [texts.refused, d.failed], [texts.givenUp, d.given_up], [texts.pendingNow, d.pending], [texts.downNow, d.down], [texts.disabledNow, d.disabled]];
  return html`<section class="card" aria-labelledby="deliveries-title"><div class="spread"><h2 id="deliveries-title">${texts.deliveries}</h2><a href="/admin/subscriptions">${texts.subscriptions}</a></div>
    <dl class="facts">${facts.map(([title, value]) => html`<div key=${title}><dt>${title}</dt><dd>${value}</dd></div>`)}</dl></section>`;
}
