// What others see of the user, and why.

import { useEffect, useState } from "preact/hooks";

import { Alert, html, Icon, toast, useAction } from "../components.js";
import { clock, times, word } from "../look.js";
import common from "../texts/common.js";
import texts from "../texts/me.js";
import { detectable } from "./activity.js";
import { because, next, others } from "./reasons.js";

const AGAIN = 60_000; // ms

// words are what reasons.js needs, with statuses and times as the reader reads them.
const words = {
  ...texts,
  saidBy: (claim) => texts.saidBy(claim, word(claim.status), claim.until && clock(claim.until)),
  begins: (since) => texts.begins(clock(since)),
  loses: (claim) => texts.loses(word(claim.status)),
  ends: (claim) => texts.ended(naming(claim)),
  starts: (claim) => texts.started(naming(claim)),
};

function naming(claim) {
  return claim.source === "manual" ? texts.yourChoice : `“${claim.note || word(claim.status)}”`;
}

export function Connection({ session, stale }) {
  return html`<p id="connection" role="status" data-state=${session.connection}>${common.states[session.connection]}${stale && session.heard ? " " + common.lastUpdate(clock(session.heard)) : ""}</p>`;
}

export function Shown({ session, explanation }) {
  const { own } = session;
  const stale = session.connection !== "connected" && own;
  return html`<section id="shown" class=${stale ? "card stale" : "card"} data-status=${own?.status} aria-labelledby="shown-title">
    <h2 id="shown-title">${texts.shown}</h2>
    <div class="self">
      <span id="icon">${own && html`<${Icon} status=${own.status} />`}</span>
      <div id="summary" role="status" aria-atomic="true">
        <p id="word">${own ? word(own.status) : texts.loading}</p>
        <p id="note">${own?.note}</p>
        <p id="times" class="quiet">${own && times(own)}</p>
      </div>
    </div>
    <${Why} explanation=${explanation} />
  </section>`;
}

// Why is there before the explanation is: what follows it must not move when that arrives.
function Why({ explanation }) {
  const [open, setOpen] = useState(false);
  const { value, reload } = explanation;
  useEffect(() => {
    if (!open) return undefined;
    reload(); // sessions change without a change of what is shown
    const timer = setInterval(reload, AGAIN);
    return () => clearInterval(timer);
  }, [open]);
  return html`<details id="why" class="why" onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary>${texts.why}</summary>
    ${value ? html`<${Reasons} explanation=${value} />` : html`<p class="quiet">${texts.loading}</p>`}
    <p class="quiet"><a href="/help/concepts#precedence">${texts.rules}</a></p>
  </details>`;
}

function Reasons({ explanation }) {
  return html`<div id="because">${because(explanation, words).map((sentence) => html`<p>${sentence}</p>`)}</div>
    <${Others} list=${others(explanation, words)} />
    <h3>${texts.next}</h3>
    <${Next} steps=${next(explanation, words)} />`;
}

function Others({ list }) {
  if (!list.length) return null;
  return html`<h3>${texts.alsoSaid}</h3><ul id="others" class="rows">${list.map(({ claim, reason }) => html`<li key=${claim.id}>
    <span class="status"><${Icon} status=${claim.status} />${claim.note ? `${word(claim.status)}: ${claim.note}` : word(claim.status)}</span><span class="quiet">${reason}</span>
  </li>`)}</ul>`;
}

function Next({ steps }) {
  if (!steps.length) return html`<p class="quiet">${texts.nothingFollows}</p>`;
  return html`<ul id="next" class="rows">${steps.map((step) => html`<li>
    <span class="status"><${Icon} status=${step.status} />${word(step.status)}</span>
    <span class="quiet">${[clock(step.at), step.reason].filter(Boolean).join(", ")}</span>
  </li>`)}</ul>`;
}

// Presence says that the open page is a session, and offers to notice more activity.
export function Presence({ session, activity }) {
  return html`<footer>
    ${session.present && html`<p class="quiet"><span id="present">${texts.present}</span></p>`}
    ${detectable() && html`<${Detection} activity=${activity} />`}
  </footer>`;
}

function Detection({ activity }) {
  const act = useAction();
  const [on, setOn] = useState(activity.detecting);
  useEffect(() => setOn(activity.detecting), [activity.detecting]);
  const change = () => act.run(async () => {
    if (on) activity.undetect();
    else if (!(await activity.detect())) toast(texts.notAllowed);
    setOn(activity.detecting);
  });
  return html`<label class="quiet" title=${texts.detectHint}><input type="checkbox" id="detect" checked=${on} disabled=${act.busy} onChange=${change} />${texts.detect}</label>
    <${Alert} id="detect-problem">${act.problem}<//>`;
}
