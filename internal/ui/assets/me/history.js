// The user's history as a picture: a day or a week, with the same as tables.

import { useEffect, useState } from "preact/hooks";

import { Alert, Empty, html, Icon, useNow } from "../components.js";
import { span, word } from "../look.js";
import { client } from "../session.js";
import texts, { source } from "../texts/me.js";
import { bars, hours, known } from "./days.js";
import { dateOf, dayAt } from "./ends.js";
import { Section } from "./section.js";

const AGAIN = 5 * 60_000; // ms
const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const dayName = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const dayTitle = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

// The higher a bar, the easier the user was to reach: the picture can be read without colours.
const heights = { available: 1, away: 0.5, out_of_office: 0.35, offline: 0.12, unknown: 0 };
const BUSY = 0.75;

export function History({ revision }) {
  return html`<${Section} id="history" title=${texts.history} open="wide">${() => html`<${Picture} revision=${revision} />`}<//>`;
}

function Picture({ revision }) {
  const [days, setDays] = useState(7);
  const [chosen, setChosen] = useState(null); // the last day; null: the current one, also after midnight
  const now = useNow(AGAIN);
  const today = dayAt(new Date(), 0);
  const last = chosen ?? today;
  const first = dayAt(last, 1 - days);
  const { summary, problem } = useSummary(first, last, revision, now);
  const setLast = (day) => setChosen(day.getTime() === today.getTime() ? null : day);
  const move = (by) => setLast(dayAt(last, by * days));
  const show = (count, day = today) => {
    setDays(count);
    setLast(day);
  };
  return html`<div class="spread">
      <div class="row" role="group" aria-label=${texts.period}>${[[1, texts.day], [7, texts.week]].map(([count, words]) => html`<button type="button" class="small" aria-pressed=${String(days === count)} onClick=${() => show(count)}>${words}</button>`)}</div>
      <p id="period">${days === 1 ? dayTitle.format(last) : texts.range(dayName.format(first), dayName.format(last))}</p>
      <div class="row"><button type="button" class="small" id="earlier" onClick=${() => move(-1)}>${texts.earlier}</button>
      <button type="button" class="small" id="later" disabled=${dayAt(last, 1) > new Date()} onClick=${() => move(1)}>${texts.later}</button></div>
    </div>
    <${Alert} id="history-problem">${problem}<//>
    ${summary && html`<${Days} summary=${summary} onDay=${days > 1 && ((date) => show(1, dayOf(date)))} />
      <${Legend} totals=${summary.total_ms} />
      ${days === 1 ? html`<${Changes} first=${first} last=${last} revision=${revision} />` : html`<${Totals} summary=${summary} />`}`}`;
}

function useSummary(first, last, revision, now) {
  const [state, setState] = useState({ summary: null, problem: "" });
  const [from, to] = [dateOf(first), dateOf(last)];
  useEffect(() => {
    const asked = new AbortController();
    client.request("GET", "/v1/users/me/history/summary", { query: { from, to, zone, spans: true }, signal: asked.signal }).then(
      (summary) => asked.signal.aborted || setState({ summary, problem: "" }),
      (err) => asked.signal.aborted || setState({ summary: null, problem: err.message }),
    );
    return () => asked.abort();
  }, [from, to, revision, now]);
  return state;
}

function dayOf(date) {
  const [year, month, day] = date.split("-").map(Number);
  return new Date(year, month - 1, day);
}

function Days({ summary, onDay }) {
  return html`<div id="timeline" class="timeline">${summary.days.map((day) => {
    const name = dayName.format(dayOf(day.date));
    return html`<div key=${day.date} class="day" data-date=${day.date}>
      ${onDay ? html`<button type="button" class="plain small" onClick=${() => onDay(day.date)}>${name}</button>` : html`<span class="quiet">${name}</span>`}
      <svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=${describe(name, day.ms)}>
        ${hours(day).map(({ left }) => html`<line class="mark" x1=${left * 1_000} x2=${left * 1_000} y1="0" y2="100" />`)}
        ${bars(day).map((bar) => html`<${Bar} bar=${bar} />`)}
      </svg>
    </div>`;
  })}
  <div class="day scale" aria-hidden="true"><span></span><div>${hours(summary.days[0] ?? { date: dateOf(new Date()), from: new Date() }).map(({ hour, left }) => html`<span style=${{ left: left * 100 + "%" }}>${hour}</span>`)}</div></div></div>`;
}

function Bar({ bar }) {
  const height = 100 * (heights[bar.status] ?? BUSY);
  return html`<rect data-status=${bar.status} x=${bar.left * 1_000} width=${bar.width * 1_000} y=${100 - height} height=${height}>
    <title>${texts.span(naming(bar.status), time.format(bar.from), time.format(bar.to))}</title></rect>`;
}

function naming(status) {
  return status === "unknown" ? texts.unknown : word(status);
}

function describe(name, durations) {
  const parts = known(durations).map(([status, ms]) => `${word(status)} ${span(ms)}`);
  return `${name}: ${parts.join(", ") || texts.nothingKnown}`;
}

function Legend({ totals }) {
  const statuses = known(totals);
  if (!statuses.length) return html`<${Empty}>${texts.nothingKnown}<//>`;
  return html`<ul id="legend" class="legend">${statuses.map(([status, ms]) => html`<li key=${status} class="status"><${Icon} status=${status} />${word(status)} <span class="quiet">${span(ms)}</span></li>`)}</ul>
    <p class="quiet">${texts.level}</p>`;
}

function Totals({ summary }) {
  const statuses = known(summary.total_ms).map(([status]) => status);
  if (!statuses.length) return null;
  return html`<details class="as-table"><summary>${texts.asTable}</summary><div class="table"><table id="totals" aria-label=${texts.history}>
    <thead><tr><th scope="col">${texts.date}</th>${statuses.map((status) => html`<th scope="col">${word(status)}</th>`)}</tr></thead>
    <tbody>${summary.days.map((day) => html`<tr><td>${dayName.format(dayOf(day.date))}</td>${statuses.map((status) => html`<td data-title=${word(status)}>${day.ms[status] ? span(day.ms[status]) : "–"}</td>`)}</tr>`)}</tbody>
  </table></div></details>`;
}

// Changes are those of a day, newest first, with what caused them.
function Changes({ first, last, revision }) {
  const [state, setState] = useState({ entries: null, problem: "" });
  useEffect(() => {
    let wanted = true;
    readChanges(first, dayAt(last, 1)).then(
      (entries) => wanted && setState({ entries, problem: "" }),
      (err) => wanted && setState({ entries: null, problem: err.message }),
    );
    return () => {
      wanted = false;
    };
  }, [first.getTime(), last.getTime(), revision]);
  const { entries, problem } = state;
  return html`<h3>${texts.changes}</h3><${Alert} id="changes-problem">${problem}<//>
    ${entries?.length === 0 && html`<${Empty}>${texts.noChanges}<//>`}
    ${entries?.length > 0 && html`<div class="table"><table id="changes" aria-label=${texts.changes}>
      <thead><tr><th scope="col">${texts.time}</th><th scope="col">${texts.status}</th><th scope="col">${texts.reason}</th></tr></thead>
      <tbody>${entries.map((entry) => html`<tr key=${entry.id}><td>${time.format(new Date(entry.time))}</td>
        <td data-title=${texts.status}><span class="status"><${Icon} status=${entry.after.status} />${[word(entry.after.status), entry.after.note].filter(Boolean).join(": ")}</span></td>
        <td data-title=${texts.reason}>${cause(entry)}</td></tr>`)}</tbody>
    </table></div>`}`;
}

// readChanges leaves out entries whose content was erased or cannot be read.
async function readChanges(from, to) {
  const entries = [];
  let before;
  do {
    const page = await client.get("/v1/users/me/history", { from: from.toISOString(), to: to.toISOString(), limit: 200, before });
    entries.push(...page.entries.filter((entry) => entry.after));
    before = page.older;
  } while (before);
  return entries;
}

function cause({ cause: name, source: from }) {
  if (name === "claim" && from === "manual") return texts.youChose;
  return [from && from !== "manual" && source(from), texts.causes[name] ?? (name === "claim" ? "" : name)].filter(Boolean).join(": ");
}
