// With what a user has access: browsers and tokens. And whom the user follows.

import { useCallback, useEffect, useState } from "preact/hooks";

import { Ago, Alert, Confirm, Empty, html, toast, useAction, useList } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/users.js";
import { AppName, UserName } from "./names.js";
import { nameOf } from "./usermarks.js";

// SignIns are the browsers in which the user is signed in.
export function SignIns({ user }) {
  const [signIns, setSignIns] = useState(null);
  const [asking, setAsking] = useState(false);
  const act = useAction();
  const path = `/v1/users/${user.id}/sign-ins`;
  const read = useCallback(async () => setSignIns((await client.get(path)).sign_ins), [path]);
  useEffect(() => {
    act.later("read", read); // a read that has begun may be of before the change
  }, [read, user.active]);
  const endAll = async () => {
    await client.delete(path);
    await read();
    toast(texts.signedOut(nameOf(user)));
  };
  return html`<section class="card" id="user-sign-ins" aria-labelledby="user-sign-ins-title">
    <div class="spread"><h2 id="user-sign-ins-title">${texts.signIns}</h2>
      <button type="button" id="sign-out-user" class="small" onClick=${() => setAsking(true)}>${texts.signOutEverywhere}</button></div>
    <${Alert} id="sign-ins-problem">${act.problem}<//>
    ${signIns?.length === 0 && html`<${Empty}>${texts.noSignIns}<//>`}
    <ul class="rows">${signIns?.map((s) => html`<li key=${s.id}><div><div class="name">${s.browser}</div><div class="quiet">${texts.signedIn(exact(s.created), s.address)} <${Ago} at=${s.used} />.</div></div></li>`)}</ul>
    ${asking && html`<${Confirm} title=${texts.signOutTitle(nameOf(user))} action=${texts.signOutEverywhere} run=${endAll} onClose=${() => setAsking(false)}><p>${texts.signOutExplained}</p><//>`}
  </section>`;
}

// Tokens are those that act for the user.
export function Tokens({ user }) {
  const list = useList(client, "/v1/tokens", "tokens", { user: user.id, limit: 20 });
  const [asking, setAsking] = useState(null);
  const revoke = async () => {
    await client.delete("/v1/tokens/" + encodeURIComponent(asking.id));
    list.change(list.rows.filter((t) => t !== asking));
    toast(texts.revoked);
  };
  const name = (token) => token.name || token.id;
  return html`<section class="card" id="tokens" aria-labelledby="tokens-title"><h2 id="tokens-title">${texts.tokens}</h2>
    <${Rows} list=${list} empty=${texts.noTokens} row=${(t) => html`<li key=${t.id}>
      <div><div class="row"><span class="name">${name(t)}</span> <span class="tag"><${AppName} id=${t.app} /></span></div>
        <div class="quiet">${texts.tokenTimes(exact(t.created), t.expires && exact(t.expires))}</div>
        <details class="quiet"><summary>${texts.scopeCount(t.scopes.length)}</summary>${texts.scopes(t.scopes)}</details></div>
      <button type="button" class="small danger" aria-label=${texts.revokeOf(name(t))} onClick=${() => setAsking(t)}>${texts.revoke}</button></li>`} />
    ${asking && html`<${Confirm} title=${texts.revokeTitle(name(asking))} action=${texts.revoke} run=${revoke} onClose=${() => setAsking(null)}><p>${texts.revokeExplained}</p><//>`}
  </section>`;
}

// Contacts are the users whom the user follows.
export function Contacts({ user }) {
  const list = useList(client, `/v1/users/${user.id}/contacts`, "contacts", { limit: 20 });
  return html`<section class="card" id="contacts" aria-labelledby="contacts-title"><h2 id="contacts-title">${texts.contacts}</h2>
    <${Rows} list=${list} empty=${texts.noContacts} row=${(c) => html`<li key=${c.user}><a href=${"/admin/users/" + c.user}><${UserName} id=${c.user} /></a>${c.group && html`<span class="tag">${c.group}</span>`}</li>`} />
  </section>`;
}

// Rows is a list of useList in a card.
function Rows({ list, empty, row }) {
  const { rows, loading, problem, more, loadMore } = list;
  return html`<${Alert}>${problem}<//>
    ${!loading && !problem && !rows.length && html`<${Empty}>${empty}<//>`}
    <ul class="rows">${rows.map(row)}</ul>
    ${more && html`<button type="button" class="small" disabled=${loading} onClick=${loadMore}>${common.more}</button>`}`;
}
