// The question before events are delivered again.

import { useState } from "preact/hooks";

import { Confirm, Field, html, toast } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/subscriptions.js";
import { forInput } from "./times.js";

const HOUR = 3_600_000; // ms

// Replay begins at the event of a delivery, or at a time that is asked for.
export function Replay({ path, from, onClose }) {
  const [since, setSince] = useState(forInput(Date.now() - HOUR));
  const run = async () => {
    await client.post(path + "/replay", { from: from ? String(from.position) : new Date(since).toISOString() });
    toast(texts.replayStarted);
  };
  return html`<${Confirm} title=${texts.replayTitle} action=${texts.replayStart} run=${run} onClose=${onClose}>
    ${from ? html`<p>${texts.replayHere(from.type, exact(from.started))}</p>` : html`<${Field} id="since" label=${texts.replayTime}><input id="since" type="datetime-local" step="1" required value=${since} onInput=${(event) => setSince(event.target.value)} /><//>`}
    <p class="quiet">${texts.replayExplained}</p>
  <//>`;
}
