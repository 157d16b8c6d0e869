// The devices that are signed in as the user.

import { useCallback, useEffect, useState } from "preact/hooks";

import { Alert, Empty, html, toast, useAction } from "../components.js";
import { clock } from "../look.js";
import { client, may } from "../session.js";
import texts, { client as clientName } from "../texts/me.js";
import { Section } from "./section.js";

const AGAIN = 30_000; // ms

export function Devices({ me, session }) {
  return html`<${Section} id="devices" title=${texts.devices}>${() => html`<${List} me=${me} id=${session.id} present=${session.present} />`}<//>`;
}

function List({ me, id, present }) {
  const [sessions, setSessions] = useState([]);
  const act = useAction();
  const read = useCallback(async () => setSessions((await client.get("/v1/users/me/sessions", { limit: 200 })).sessions), []);
  useEffect(() => {
    const again = () => act.later("read", read);
    again();
    const timer = setInterval(again, AGAIN);
    return () => clearInterval(timer);
  }, [id, present]);
  const signOut = (session) => act.run(async () => {
    await client.delete("/v1/sessions/" + encodeURIComponent(session.id));
    toast(texts.signedOutDevice(nameOf(session)));
    await read();
  });
  return html`<${Alert} id="devices-problem">${act.problem}<//>
    ${sessions.length === 0 && html`<${Empty}>${texts.noDevices}<//>`}
    <ul id="sessions" class="rows">${sessions.map((session) => html`<li key=${session.id} data-id=${session.id}>
      <div><div class="name">${nameOf(session)} ${session.id === id && html`<span class="tag">${texts.thisPage}</span>`}</div>
      <div class="quiet">${texts.since(clock(session.since))} ${session.active ? texts.active : texts.idleSince(clock(session.idle_at))}</div></div>
      ${session.id !== id && may(me, "session:write") && html`<button type="button" class="small" disabled=${act.busy} aria-label=${texts.signOutDevice(nameOf(session))} onClick=${() => signOut(session)}>${texts.signOut}</button>`}
    </li>`)}</ul>
    <p class="quiet">${texts.devicesHint}</p>`;
}

function nameOf(session) {
  return [clientName(session.client_type), session.client_version].filter(Boolean).join(" ");
}
