// The choice of an app.

import { useEffect, useState } from "preact/hooks";

import { html } from "../components.js";
import { client } from "../session.js";

// useApps are all apps of the account.
export function useApps() {
  const [apps, setApps] = useState([]);
  useEffect(() => {
    (async () => {
      for await (const page of client.pages("/v1/apps", { limit: 1_000 })) setApps((known) => [...known, ...page.apps]);
    })().catch(() => {}); // the list says why
  }, []);
  return apps;
}

// AppChoice is a select with the apps. A value that is no app is an option as long as it is
// chosen.
export function AppChoice({ id, apps, value = "", any, onChange }) {
  return html`<select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
    ${any && html`<option value="">${any}</option>`}
    ${value && !apps.some((a) => a.id === value) && html`<option value=${value}>${value}</option>`}
    ${apps.map((a) => html`<option key=${a.id} value=${a.id}>${a.name}</option>`)}
  </select>`;
}
