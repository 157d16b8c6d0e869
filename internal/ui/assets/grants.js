// The apps that the reader allowed to act for them.

import { useCallback, useEffect, useState } from "preact/hooks";

import { Alert, Confirm, html, toast, useAction } from "./components.js";
import { exact } from "./look.js";
import { client } from "./session.js";
import texts from "./texts/account.js";

// Grants shows nothing if there are none.
export function Grants() {
  const [grants, setGrants] = useState([]);
  const [asking, setAsking] = useState(null);
  const act = useAction();
  const read = useCallback(async () => setGrants((await client.get("/v1/grants")).grants), []);
  useEffect(() => {
    act.run(read);
  }, [read]);
  const revoke = async () => {
    await client.delete("/v1/grants/" + encodeURIComponent(asking.app));
    await read();
    toast(texts.revoked(asking.app_name));
  };
  if (!grants.length && !act.problem) return null;
  return html`<section class="card" id="grants" aria-labelledby="grants-title"><h2 id="grants-title">${texts.grants}</h2>
    <${Alert} id="grants-problem">${act.problem}<//>
    <p class="quiet">${texts.grantsExplained}</p>
    <ul class="rows">${grants.map((g) => html`<li key=${g.app}>
      <div><div class="name">${g.app_name}</div><div class="quiet">${g.allows.join(" · ")}</div><div class="quiet">${texts.allowed(exact(g.changed))}</div></div>
      <button type="button" class="small danger" aria-label=${texts.revokeOf(g.app_name)} onClick=${() => setAsking(g)}>${texts.revoke}</button></li>`)}</ul>
    ${asking && html`<${Confirm} title=${texts.revokeTitle(asking.app_name)} action=${texts.revoke} run=${revoke} onClose=${() => setAsking(null)}><p>${texts.revokeExplained}</p><//>`}
  </section>`;
}
