// Who sends the requests of the reference: what the server offers everybody who opens the page,
// what people enter, and the document itself.

import { useEffect, useState } from "preact/hooks";

import { Field, html } from "../components.js";
import { client, nameOf, useToken } from "../session.js";
import texts from "../texts/reference.js";
import { operations } from "./document.js";

const { demoToken } = document.getElementById("main").dataset;
if (demoToken && !client.token) client.token = demoToken; // not kept: other pages do not act with it

// load reads the document: { doc, all }, where all are its operations.
export async function load() {
  const doc = await client.get("/docs/openapi.json");
  return { doc, all: operations(doc) };
}

// Credentials asks for what the scheme of an operation needs.
export function Credentials({ scheme, me, again, others, onChange }) {
  const [token, setToken] = useState(client.token);
  useEffect(() => setToken(client.token), [me]);
  if (!scheme) return null;
  const secret = (id, label, name, type = "password") => html`<${Field} id=${id} label=${label}><input id=${id} type=${type} autocomplete="off" spellcheck="false" value=${others[name]} onInput=${(event) => onChange({ [name]: event.target.value })} /><//>`;
  if (scheme === "system") return html`<fieldset><legend>${texts.credentials}</legend>${secret("system-token", texts.system, "system")}</fieldset>`;
  if (scheme === "app") return html`<fieldset><legend>${texts.credentials}</legend>${secret("app-id", texts.appId, "id", "text")}${secret("app-secret", texts.appSecretField, "secret")}</fieldset>`;
  const change = (event) => {
    useToken(event.target.value.trim());
    again();
  };
  return html`<fieldset><legend>${texts.credentials}</legend>
    <p id="acts-as">${me ? texts.actsAs(nameOf(me)) : html`${texts.actsAsNobody} <a href=${"/signin?next=" + encodeURIComponent("/docs" + location.hash)}>${texts.signIn}</a>`}</p>
    <${Field} id="access-token" label=${texts.token} hint=${texts.tokenHint}><input id="access-token" type="password" autocomplete="off" autocapitalize="none" spellcheck="false" aria-describedby="access-token-hint" value=${token} onInput=${(event) => setToken(event.target.value)} onChange=${change} /><//>
  </fieldset>`;
}
