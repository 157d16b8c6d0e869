// A sample of an event that is sent to an endpoint.

import { useState } from "preact/hooks";

import { Alert, Dialog, Field, html, useAction } from "../components.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/subscriptions.js";
import { Answer } from "./deliveries.js";
import { eventsOf } from "./subevents.js";

export function Test({ subscription, path, onClose }) {
  const events = subscription.events.length ? subscription.events : eventsOf(subscription.form);
  const [event, setEvent] = useState(events[0]);
  const [attempt, setAttempt] = useState(null);
  const act = useAction();
  const send = () => act.run(async () => {
    setAttempt(null);
    setAttempt(await client.post(path + "/test", { event }));
  });
  return html`<${Dialog} title=${texts.testTitle} onClose=${onClose}>
    <p>${texts.testExplained}</p>
    <${Field} id="test-event" label=${texts.event}><select id="test-event" value=${event} onChange=${(e) => setEvent(e.target.value)}>${events.map((name) => html`<option key=${name}>${name}</option>`)}</select><//>
    <${Alert} id="test-problem">${act.problem}<//>
    ${attempt && html`<div id="test-result" role="status" data-accepted=${!attempt.failure}>
      <p class=${attempt.failure ? "alert" : "notice"}>${attempt.failure ? texts.testRefused : texts.testAccepted(attempt.status, attempt.duration_ms)}</p>
      <${Answer} delivery=${attempt} /></div>`}
    <footer><button type="button" onClick=${onClose}>${common.close}</button><button type="button" id="send-test" class="main" disabled=${act.busy} onClick=${send}>${texts.testSend}</button></footer>
  <//>`;
}
