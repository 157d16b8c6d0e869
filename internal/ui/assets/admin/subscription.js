// The page /admin/subscriptions/ID: one subscription, what can be done with it, and its
// deliveries.

import { useCallback, useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Confirm, html, Menu, toast, useAction } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/subscriptions.js";
import { Deliveries } from "./deliveries.js";
import { AppName, UserName } from "./names.js";
import { usePolling } from "./polling.js";
import { Replay } from "./replay.js";
import { Reveal } from "./reveal.js";
import { EditSubscription } from "./subform.js";
import { Explained, State, stateOf } from "./substate.js";
import { Test } from "./subtest.js";

const EVERY = 10_000; // ms, for the subscription; its deliveries are read more often

export default function Subscription({ id, me }) {
  const path = "/v1/subscriptions/" + encodeURIComponent(id);
  const { data, problem, again } = usePolling(() => client.get(path), EVERY, path);
  return html`<p><a href="/admin/subscriptions">← ${texts.back}</a></p>
    <${Alert} id="subscription-problem">${problem}<//>
    ${data ? html`<${Shown} subscription=${data} path=${path} me=${me} again=${again} />` : html`<h1 class="quiet" role="status">${problem ? "" : common.loading}</h1>`}`;
}

function Shown({ subscription: s, path, me, again }) {
  const [dialog, setDialog] = useState(null);
  const [delivery, setDelivery] = useState();
  const close = useCallback(() => setDialog(null), []);
  const enabling = useAction();
  const mayChange = me.scopes.includes("subscription:write:admin");
  const state = stateOf(s, delivery);
  const name = s.name || s.url || texts.unnamed;

  const ask = (title, explained, action, run) => setDialog(html`<${Confirm} title=${title} action=${action} run=${run} onClose=${close}><p>${explained}</p><//>`);
  const rotate = () => ask(texts.rotateTitle, texts.rotateExplained, texts.rotate, async () => {
    const { secret } = await client.post(path + "/secret", {});
    setTimeout(() => setDialog(html`<${Reveal} title=${texts.rotated} secrets=${[[texts.secret, secret]]} onClose=${close} />`));
  });
  const remove = () => ask(texts.deleteTitle(name), texts.deleteExplained, texts.delete, async () => {
    await client.delete(path);
    toast(texts.deleted);
    navigate("/admin/subscriptions");
  });
  // The endpoint may take its time to answer: what is chosen meanwhile is done after that.
  const change = (name, f) => enabling.later(name, () => f().finally(again));
  const enable = () => change("enable", async () => {
    await client.post(path + "/enable");
    toast(texts.enabled);
  });
  const pause = (paused) => change("pause", async () => {
    await client.patch(path, { paused });
    toast(paused ? texts.paused : texts.resumed);
  });
  const edit = () => setDialog(html`<${EditSubscription} subscription=${s} path=${path} onClose=${close} onSaved=${again} />`);
  const test = () => setDialog(html`<${Test} subscription=${s} path=${path} onClose=${close} />`);
  const replay = (from) => setDialog(html`<${Replay} path=${path} from=${from} onClose=${close} />`);

  return html`<header class="spread"><h1>${name}</h1>
      ${mayChange && html`<div class="row" id="actions">
        ${s.url && html`<button type="button" id="test" onClick=${test}>${texts.test}</button>`}
        ${s.url && !s.disabled && !s.paused && html`<button type="button" id="replay" onClick=${() => replay(null)}>${texts.replay}</button>`}
        <button type="button" id="edit" onClick=${edit}>${texts.edit}</button>
        <${Menu} label=${texts.more} items=${[
          s.url && !s.disabled && { label: texts.validate, run: enable },
          !s.paused && { label: texts.pause, run: () => pause(true) },
          !s.app_secret && { label: texts.rotate, run: rotate },
          { label: texts.delete, danger: true, run: remove },
        ]} /></div>`}
    </header>
    <${Alert} id="enable-problem">${enabling.problem}<//>
    <section class="card state-card" id="state" aria-label=${texts.state}>
      <div class="spread"><${State} state=${state} />${s.disabled && mayChange && html`<button type="button" id="enable" class="main" disabled=${enabling.busy} onClick=${enable}>${texts.enable}</button>`}${s.paused && !s.disabled && mayChange && html`<button type="button" id="resume" class="main" disabled=${enabling.busy} onClick=${() => pause(false)}>${texts.resume}</button>`}</div>
      ${delivery === null ? html`<p>${texts.elsewhere}</p>` : html`<${Explained} subscription=${s} delivery=${delivery} state=${state} />`}
    </section>
    <${Facts} subscription=${s} />
    <${Deliveries} path=${path} onState=${setDelivery} onReplay=${mayChange && s.url && !s.disabled && !s.paused && replay} />
    ${dialog}`;
}

function Facts({ subscription: s }) {
  const facts = [
    [texts.endpoint, s.url || texts.socket],
    [texts.events, s.events.length ? s.events.map((e) => html`<div key=${e}>${e}</div>`) : texts.allEvents],
    [texts.about, s.users.length || s.groups.length ? html`<span class="row">${s.users.map((u) => html`<a key=${u} class="tag" href=${"/admin/users/" + u}><${UserName} id=${u} /></a>`)}${s.groups.map((g) => html`<a key=${g} class="tag" href=${"/admin/users?group=" + encodeURIComponent(g)}>${g}</a>`)}</span>` : texts.everybody],
    [texts.form, texts.forms[s.form] ?? s.form],
    [texts.profile, texts.profiles[s.profile] ?? s.profile],
    [texts.authentication, texts.kinds[s.authentication.kind] ?? s.authentication.kind],
    [texts.signing, s.app_secret ? texts.appSecret : texts.ownSecret],
    [texts.concurrency, s.concurrency],
    [texts.latestOnlyShort, s.latest_only ? texts.yes : texts.no],
    [texts.app, html`<a href=${"/admin/apps/" + encodeURIComponent(s.app)}><${AppName} id=${s.app} /></a>`],
    s.consent_by && [texts.consentBy, html`<a href=${"/admin/users/" + s.consent_by}><${UserName} id=${s.consent_by} /></a>`],
    [texts.owner, s.owner ? html`<a href=${"/admin/users/" + s.owner}><${UserName} id=${s.owner} /></a>` : texts.ownedByAccount],
    s.url && [texts.validated, s.validated ? exact(s.validated) : texts.neverValidated],
    [texts.created, exact(s.created)],
    [texts.id, html`<code>${s.id}</code>`],
  ].filter(Boolean);
  return html`<section class="card" aria-label=${texts.details}><dl class="facts">${facts.map(([title, value]) => html`<div key=${title}><dt>${title}</dt><dd>${value}</dd></div>`)}</dl></section>`;
}
