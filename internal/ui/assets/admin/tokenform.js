// The form for a new token.

import { useState } from "preact/hooks";

import { Alert, Dialog, Field, html, useAction } from "../components.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import scopeTexts from "../texts/scopes.js";
import texts from "../texts/tokens.js";
import { AppChoice, useApps } from "./appchoice.js";
import { Reveal } from "./reveal.js";
import { ScopePicker } from "./scopes.js";

const DAY = 86_400; // s

// CreateToken asks for a new token of an app, and shows it once.
export function CreateToken({ me, app, user, onClose, onCreated }) {
  const [created, setCreated] = useState(null);
  if (!created) {
    const send = async (fields) => {
      setCreated(await client.post("/v1/tokens", fields));
      onCreated();
    };
    return html`<${Form} me=${me} app=${app ?? me.app} user=${user} send=${send} onClose=${onClose} />`;
  }
  return html`<${Reveal} title=${texts.createdTitle} secrets=${[[texts.token, created.secret]]} onClose=${onClose}>
    <p class="quiet">${texts.try}</p><pre id="sample" tabindex="0">${`curl -H 'Authorization: Bearer ${created.secret}' \\\n  ${location.origin}/v1/me`}</pre><//>`;
}

function Form({ me, app, user, send, onClose }) {
  const [chosen, setChosen] = useState(app);
  const [kind, setKind] = useState(user ? "user" : me.account_level ? "account" : "me");
  const [scopes, setScopes] = useState([]);
  const [days, setDays] = useState("90");
  const apps = useApps();
  const act = useAction();
  const submit = (event) => {
    event.preventDefault();
    if (!scopes.length) return act.setProblem(scopeTexts.none);
    const { name, for: other } = event.target.elements;
    act.run(() => send({
      name: name.value.trim(), app: chosen, scopes,
      ...(kind !== "account" && { user: kind === "me" ? "me" : other.value.trim() }),
      ...(Number(days) && { expires_in_seconds: Number(days) * DAY }),
    }));
  };
  return html`<${Dialog} title=${texts.add} onClose=${onClose} wide>
    <form id="token-form" autocomplete="off" onSubmit=${submit}>
      <${Field} id="name" label=${texts.name} hint=${texts.nameHint}><input id="name" name="name" maxlength="256" required aria-describedby="name-hint" /><//>
      <div class="fields">
        <${Field} id="token-app" label=${texts.app}><${AppChoice} id="token-app" apps=${apps} value=${chosen} onChange=${setChosen} /><//>
        <${Field} id="kind" label=${texts.actsFor}><select id="kind" value=${kind} onChange=${(event) => setKind(event.target.value)}>
          ${Object.entries(texts.kinds).filter(([name]) => name !== "account" || me.account_level).map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}</select><//>
        ${kind === "user" && html`<${Field} id="for" label=${texts.user}><input id="for" name="for" required autocapitalize="none" spellcheck="false" placeholder=${texts.userHint} defaultValue=${user} /><//>`}
        <${Field} id="lifetime" label=${texts.lifetime} hint=${days === "0" && texts.neverHint}><select id="lifetime" value=${days} onChange=${(event) => setDays(event.target.value)}>
          ${Object.entries(texts.lifetimes).toSorted(([a], [b]) => (Number(a) || Infinity) - (Number(b) || Infinity)).map(([value, label]) => html`<option key=${value} value=${value}>${label}</option>`)}</select><//>
      </div>
      <${ScopePicker} value=${scopes} onChange=${setScopes} had=${me.scopes} />
      <${Alert} id="form-problem">${act.problem}<//>
      <footer><button type="button" onClick=${onClose}>${common.cancel}</button><button type="submit" class="main" disabled=${act.busy}>${texts.add}</button></footer>
    </form>
  <//>`;
}
