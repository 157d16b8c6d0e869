// The page /admin/tokens: the access tokens of the account. The filters are in the address.

import { navigate } from "../admin.js";
import { Field, html } from "../components.js";
import texts from "../texts/tokens.js";
import { AppChoice, useApps } from "./appchoice.js";
import { setFilters, useSearch } from "./filters.js";
import { TokenList } from "./tokenlist.js";

export default function Tokens({ me, query }) {
  const filters = { user: query.user, app: query.app };
  const [typed, setTyped] = useSearch(query.user ?? "", (user) => setFilters({ user }));
  const apps = useApps();
  const filtered = filters.user || filters.app;
  return html`<h1>${texts.title}</h1><p class="quiet">${texts.intro}</p>
    <form class="toolbar" role="search" aria-label=${texts.title} onSubmit=${(event) => event.preventDefault()}>
      <${Field} id="user" label=${texts.user}><input id="user" type="search" autocomplete="off" autocapitalize="none" spellcheck="false" placeholder=${texts.userHint} value=${typed} onInput=${(event) => setTyped(event.target.value.trim())} /><//>
      <${Field} id="app" label=${texts.app}><${AppChoice} id="app" apps=${apps} value=${filters.app} any=${texts.anyApp} onChange=${(app) => setFilters({ app })} /><//>
      ${filtered && html`<button type="button" class="plain" id="no-filter" onClick=${() => navigate("/admin/tokens")}>${texts.noFilter}</button>`}
    </form>
    <${TokenList} filters=${filters} me=${me} />`;
}
