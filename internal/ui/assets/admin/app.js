// The page /admin/apps/ID: one app, and what an administrator can do with it.

import { useCallback, useEffect, useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Confirm, html, Menu, toast, useAction } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/apps.js";
import common from "../texts/common.js";
import { EditApp, Secrets } from "./appform.js";
import { Reveal } from "./reveal.js";
import { Reach, ScopeList } from "./scopes.js";
import { TokenList } from "./tokenlist.js";

export default function App({ id, me }) {
  const [app, setApp] = useState(null);
  const act = useAction();
  const path = "/v1/apps/" + encodeURIComponent(id);
  useEffect(() => {
    act.run(async () => setApp(await client.get(path)));
  }, [path]);
  return html`<p><a href="/admin/apps">← ${texts.back}</a></p>
    <${Alert} id="app-problem">${act.problem}<//>
    ${app ? html`<${Shown} app=${app} path=${path} me=${me} setApp=${setApp} />` : html`<h1 class="quiet" role="status">${act.problem ? "" : common.loading}</h1>`}`;
}

function Shown({ app, path, me, setApp }) {
  const [dialog, setDialog] = useState(null);
  const close = useCallback(() => setDialog(null), []);
  const mayChange = me.scopes.includes("directory:write:admin");
  useEffect(() => {
    document.title = `${app.name} · Porchlight`;
  }, [app.name]);

  // Confirm closes itself after run, so the next dialog is shown after that.
  const next = (content) => setTimeout(() => setDialog(content));
  const ask = (title, explained, action, run) => setDialog(html`<${Confirm} title=${title} action=${action} run=${run} onClose=${close}><p>${explained}</p><//>`);
  const edit = () => setDialog(html`<${EditApp} app=${app} me=${me} onClose=${close} onSaved=${setApp} />`);
  const rotate = () => ask(texts.rotateTitle(app.name), texts.rotateExplained, texts.rotate, async () => {
    const changed = await client.post(path + "/secret");
    next(html`<${Secrets} app=${changed} title=${texts.rotated} onClose=${close} />`);
  });
  const rotateWebhook = () => ask(texts.rotateWebhookTitle(app.name), texts.rotateWebhookExplained, texts.rotateWebhook, async () => {
    const { webhook_secret } = await client.post(path + "/webhook-secret", {});
    next(html`<${Reveal} title=${texts.rotatedWebhook} secrets=${[[texts.webhookSecret, webhook_secret]]} onClose=${close} />`);
  });
  const remove = () => ask(texts.deleteTitle(app.name), texts.deleteExplained, texts.delete, async () => {
    await client.delete(path);
    toast(texts.deleted(app.name));
    navigate("/admin/apps");
  });

  return html`<header class="spread"><h1>${app.name}</h1>
      ${mayChange && html`<div class="row" id="actions">
        <button type="button" id="edit" onClick=${edit}>${texts.edit}</button>
        ${!app.public && html`<button type="button" id="rotate" onClick=${rotate}>${texts.rotate}</button>`}
        <${Menu} label=${texts.more} items=${[{ label: texts.rotateWebhook, run: rotateWebhook }, { label: texts.delete, danger: true, run: remove }]} />
      </div>`}
    </header>
    <section class="card" aria-label=${texts.details}><dl class="facts">
      <div><dt>${texts.id}</dt><dd><code>${app.id}</code></dd></div>
      <div><dt>${texts.kind}</dt><dd>${app.public ? texts.public : texts.confidential}</dd></div>
      <div><dt>${texts.reach}</dt><dd><${Reach} scopes=${app.scopes} /></dd></div>
      <div><dt>${texts.created}</dt><dd>${exact(app.created)}</dd></div>
      <div><dt>${texts.redirects}</dt><dd>${app.redirect_uris.length ? app.redirect_uris.map((uri) => html`<div key=${uri}><code>${uri}</code></div>`) : html`<span class="quiet">${texts.noRedirects}</span>`}</dd></div>
    </dl></section>
    <section class="card" aria-labelledby="opens-title"><h2 id="opens-title">${texts.opens}</h2><${ScopeList} scopes=${app.scopes} /></section>
    <section aria-labelledby="tokens-title" class="stack"><h2 id="tokens-title">${texts.tokensOf}</h2><${TokenList} filters=${{ app: app.id }} me=${me} /></section>
    ${dialog}`;
}
