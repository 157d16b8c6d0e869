// The page /admin: the account at a glance.

import { useEffect, useState } from "preact/hooks";

import { Alert, html, useAction } from "../components.js";
import { client } from "../session.js";
import texts from "../texts/admin.js";

export default function Overview() {
  const [account, setAccount] = useState(null);
  const act = useAction();
  useEffect(() => {
    act.run(async () => setAccount(await client.get("/v1/account")));
  }, []);
  return html`<h1>${texts.overview}</h1><${Alert}>${act.problem}<//>
    ${account && html`<section class="card"><h2>${account.name}</h2><p class="quiet">${account.id}</p></section>`}`;
}
