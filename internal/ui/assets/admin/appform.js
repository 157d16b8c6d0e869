// The forms with the fields of an app: to add one, and to change one.

import { useState } from "preact/hooks";

import { Alert, Dialog, Field, html, toast, useAction } from "../components.js";
import { client } from "../session.js";
import texts from "../texts/apps.js";
import common from "../texts/common.js";
import scopeTexts from "../texts/scopes.js";
import { Reveal } from "./reveal.js";
import { ScopePicker } from "./scopes.js";

// AddApp asks for a new app, and shows its secrets at the end.
export function AddApp({ me, onClose, onDone }) {
  const [added, setAdded] = useState(null);
  if (added) return html`<${Secrets} app=${added} title=${texts.addedTitle(added.name)} onClose=${() => onDone(added)} />`;
  const send = async (fields) => setAdded(await client.post("/v1/apps", fields));
  return html`<${Form} title=${texts.add} action=${texts.add} app=${{ name: "", scopes: [], redirect_uris: [], public: false }} me=${me} send=${send} onClose=${onClose} />`;
}

// EditApp changes an app.
export function EditApp({ app, me, onClose, onSaved }) {
  const send = async (fields) => {
    onSaved(await client.patch("/v1/apps/" + encodeURIComponent(app.id), fields));
    toast(texts.saved(fields.name));
    onClose();
  };
  return html`<${Form} title=${texts.editTitle(app.name)} action=${texts.save} app=${app} me=${me} send=${send} onClose=${onClose} />`;
}

// Secrets are those of an app that was added or whose secret was replaced.
export function Secrets({ app, title, onClose }) {
  return html`<${Reveal} title=${title} secrets=${[[texts.id, app.id], [texts.secret, app.secret], [texts.webhookSecret, app.webhook_secret]]} onClose=${onClose}>
    ${app.secret && html`<p class="quiet">${texts.try}</p><pre id="sample" tabindex="0">${`curl -u '${app.id}:${app.secret}' \\\n  -d grant_type=client_credentials \\\n  ${location.origin}/oauth/token`}</pre>`}
  <//>`;
}

function Form({ title, action, app, me, send, onClose }) {
  const [scopes, setScopes] = useState(app.scopes);
  const act = useAction();
  const submit = (event) => {
    event.preventDefault();
    if (!scopes.length) return act.setProblem(scopeTexts.none);
    const { name, redirects, public: isPublic } = event.target.elements;
    act.run(() => send({ name: name.value.trim(), scopes, redirect_uris: redirects.value.split(/\s+/).filter(Boolean), public: isPublic.checked }));
  };
  return html`<${Dialog} title=${title} onClose=${onClose} wide>
    <form id="app-form" autocomplete="off" onSubmit=${submit}>
      <${Field} id="name" label=${texts.name} hint=${texts.nameHint}><input id="name" name="name" maxlength="256" required aria-describedby="name-hint" defaultValue=${app.name} /><//>
      <${ScopePicker} value=${scopes} onChange=${setScopes} had=${me.scopes} />
      <${Field} id="redirects" label=${texts.redirects} hint=${texts.redirectsHint}><textarea id="redirects" name="redirects" rows="2" autocapitalize="none" spellcheck="false" aria-describedby="redirects-hint" defaultValue=${app.redirect_uris.join("\n")} /><//>
      <label><input type="checkbox" name="public" defaultChecked=${app.public} /> ${texts.publicLabel}</label><p class="quiet">${texts.publicHint}</p>
      <${Alert} id="form-problem">${act.problem}<//>
      <footer><button type="button" onClick=${onClose}>${common.cancel}</button><button type="submit" class="main" disabled=${act.busy}>${action}</button></footer>
    </form>
  <//>`;
}
