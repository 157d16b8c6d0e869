// How the server authenticates itself to an endpoint: the fields of a form.

import { Field, html } from "../components.js";
import texts from "../texts/subscriptions.js";

// fields are those of each kind: the name in the API, the label and the type of the input.
const fields = {
  basic: [["username", texts.username, "text"], ["password", texts.password, "password"]],
  oauth: [["token_url", texts.tokenUrl, "url"], ["client_id", texts.clientId, "text"], ["client_secret", texts.clientSecret, "password"], ["scope", texts.scope, "text"]],
  header: [["header_name", texts.headerName, "text"], ["header_value", texts.headerValue, "password"]],
};

// AuthenticationFields are the kind and what it needs. With keep, the kind "" leaves the
// authentication as it is, because the API does not give its secrets.
export function AuthenticationFields({ current, kind, setKind, keep }) {
  return html`<${Field} id="kind" label=${texts.authentication}><select id="kind" value=${kind} onChange=${(event) => setKind(event.target.value)}>
      ${keep && html`<option value="">${texts.keepAuthentication} (${texts.kinds[current.kind]})</option>`}
      ${Object.entries(texts.kinds).map(([name, label]) => html`<option key=${name} value=${name}>${label}</option>`)}</select><//>
    ${fields[kind] && html`<div class="fields">${fields[kind].map(([name, label, type]) => html`<${Field} key=${name} id=${name} label=${label}>
      <input id=${name} name=${name} type=${type} required=${name !== "scope"} autocomplete=${type === "password" ? "new-password" : "off"} autocapitalize="none" spellcheck="false" defaultValue=${type === "password" ? "" : current[name] ?? ""} /><//>`)}</div>`}`;
}

// authenticationOf is what the fields say; undefined: it is to be kept.
export function authenticationOf(kind, elements) {
  if (!kind) return undefined;
  const given = (fields[kind] ?? []).map(([name]) => [name, elements[name].value]);
  return { kind, ...Object.fromEntries(given.filter(([, value]) => value)) };
}
