// The forms with the fields of a subscription: to add one, and to change one.

import { useState } from "preact/hooks";

import { Alert, Dialog, Field, html, toast, useAction } from "../components.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/subscriptions.js";
import { Reveal } from "./reveal.js";
import { AuthenticationFields, authenticationOf } from "./subauth.js";
import { eventsOf } from "./subevents.js";

const words = (text) => text.split(/[\s,;]+/).filter(Boolean);
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

// AddSubscription asks for a new subscription, and shows its secret at the end.
export function AddSubscription({ onClose, onDone }) {
  const [added, setAdded] = useState(null);
  const [form, setForm] = useState("native");
  const [socket, setSocket] = useState(false);
  const [appSecret, setAppSecret] = useState(false);
  if (added?.secret) return html`<${Reveal} title=${texts.addedTitle} secrets=${[[texts.secret, added.secret]]} onClose=${() => onDone(added)} />`;

  const send = async (fields, elements) => {
    const secret = elements.secret?.value.trim();
    const created = await client.post("/v1/subscriptions", {
      ...fields, form,
      ...(fields.events.length ? {} : { events: undefined }), ...(fields.users.length ? {} : { users: undefined }), ...(fields.groups.length ? {} : { groups: undefined }),
      ...(appSecret && { app_secret: true }), ...(!appSecret && secret && { secret }),
    });
    setAdded(created);
    if (!created.secret) onDone(created);
  };
  const start = { name: "", url: "", events: [], users: [], groups: [], profile: "", latest_only: false, concurrency: 8, authentication: { kind: "none" } };
  return html`<${Form} title=${texts.add} action=${texts.add} subscription=${start} form=${form} socket=${socket} send=${send} onClose=${onClose}>
    <div class="fields">
      <${Field} id="delivered" label=${texts.kind}><select id="delivered" value=${socket ? "socket" : "endpoint"} onChange=${(event) => setSocket(event.target.value === "socket")}>${Object.entries(texts.deliveredTo).map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}</select><//>
      <${Field} id="form" label=${texts.form}><select id="form" value=${form} onChange=${(event) => setForm(event.target.value)}>${Object.entries(texts.forms).map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}</select><//>
    </div>
    ${!appSecret && html`<${Field} id="secret" label=${texts.secretOptional} hint=${texts.secretHint}><input id="secret" name="secret" autocomplete="off" autocapitalize="none" spellcheck="false" minlength="16" maxlength="256" aria-describedby="secret-hint" /><//>`}
    <label><input type="checkbox" id="app-secret" checked=${appSecret} onChange=${(event) => setAppSecret(event.target.checked)} /> ${texts.useAppSecret}</label>
  <//>`;
}

// EditSubscription changes a subscription.
export function EditSubscription({ subscription, path, onClose, onSaved }) {
  const send = async (fields) => {
    const { events, users, groups, ...others } = fields;
    await client.patch(path, {
      ...others, ...(events.length ? { events } : { all_events: true }),
      all_users: true, ...(users.length && { users }), ...(groups.length && { groups }),
    });
    toast(texts.saved);
    onSaved();
    onClose();
  };
  return html`<${Form} title=${texts.editTitle(subscription.name || subscription.url || texts.unnamed)} action=${texts.save} subscription=${subscription} form=${subscription.form} socket=${!subscription.url} send=${send} onClose=${onClose} keep />`;
}

function Form({ title, action, subscription: s, form, socket, send, onClose, keep, children }) {
  const [kind, setKind] = useState(keep ? "" : "none");
  const [events, setEvents] = useState(s.events);
  const act = useAction();
  const types = eventsOf(form);
  const submit = (event) => {
    event.preventDefault();
    const { elements } = event.target;
    const authentication = socket ? undefined : authenticationOf(kind, elements);
    act.run(() => send({
      name: elements.name.value.trim(), ...(!socket && { url: elements.url.value.trim() }),
      events: events.filter((e) => types.includes(e)), users: words(elements.users.value), groups: lines(elements.groups.value),
      ...(elements.profile.value && { profile: elements.profile.value }), latest_only: elements.latest.checked, concurrency: Number(elements.concurrency.value),
      ...(authentication && { authentication }),
    }, elements));
  };
  return html`<${Dialog} title=${title} onClose=${onClose} wide>
    <form id="subscription-form" autocomplete="off" onSubmit=${submit}>
      <${Field} id="name" label=${texts.name}><input id="name" name="name" maxlength="128" defaultValue=${s.name} /><//>
      ${children}
      ${!socket && html`<${Field} id="url" label=${texts.url} hint=${texts.urlHint}><input id="url" name="url" type="url" maxlength="2048" required aria-describedby="url-hint" defaultValue=${s.url} /><//>`}
      <fieldset id="events"><legend>${texts.events}</legend><p class="quiet">${texts.eventsHint}</p><div class="checks">${types.map((type) => html`<label key=${type}><input type="checkbox" value=${type} checked=${events.includes(type)}
        onChange=${(event) => setEvents(event.target.checked ? [...events, type] : events.filter((e) => e !== type))} /> ${type}</label>`)}</div></fieldset>
      <div class="fields">
        <${Field} id="users" label=${texts.users} hint=${texts.usersHint}><textarea id="users" name="users" rows="2" autocapitalize="none" spellcheck="false" aria-describedby="users-hint" defaultValue=${s.users.join("\n")} /><//>
        <${Field} id="groups" label=${texts.groups} hint=${texts.groupsHint}><textarea id="groups" name="groups" rows="2" aria-describedby="groups-hint" defaultValue=${s.groups.join("\n")} /><//>
      </div>
      ${!socket && html`<${AuthenticationFields} current=${s.authentication} kind=${kind} setKind=${setKind} keep=${keep} />`}
      <fieldset><legend>${texts.advanced}</legend><div class="fields">
        <${Field} id="profile" label=${texts.profile}><select id="profile" name="profile">${Object.entries(texts.profiles).map(([name, label]) => html`<option key=${name} value=${name} selected=${name === (s.profile || (form === "zoom" ? "zoom" : "durable"))}>${label}</option>`)}</select><//>
        <${Field} id="concurrency" label=${texts.concurrency}><input id="concurrency" name="concurrency" type="number" min="1" max="64" required defaultValue=${s.concurrency} /><//></div>
        <label><input type="checkbox" name="latest" defaultChecked=${s.latest_only} /> ${texts.latestOnly}</label></fieldset>
      <${Alert} id="form-problem">${act.problem}<//>
      <footer><button type="button" onClick=${onClose}>${common.cancel}</button><button type="submit" class="main" disabled=${act.busy}>${action}</button></footer>
    </form>
  <//>`;
}
