// The page /account: where a person is signed in, the apps that act for them, and the password.

import { useEffect, useState } from "preact/hooks";

import { mount } from "./app.js";
import { Ago, Alert, Empty, Field, html, toast, useAction } from "./components.js";
import { Grants } from "./grants.js";
import { exact } from "./look.js";
import { client } from "./session.js";
import texts from "./texts/account.js";

function Account({ me, leave }) {
  const [signIns, setSignIns] = useState([]);
  const [methods, setMethods] = useState({});
  const act = useAction();
  const read = async () => setSignIns((await client.get("/v1/sign-ins")).sign_ins);
  useEffect(() => {
    act.run(async () => {
      setMethods(await client.get("/v1/sign-ins/methods"));
      await read();
    });
  }, []);

  const end = (signIn) => act.run(async () => {
    await client.delete("/v1/sign-ins/" + encodeURIComponent(signIn.id));
    if (signIn.current) return leave(texts.ended);
    toast(texts.signedOut(signIn.browser));
    await read();
  });
  const endAll = () => act.run(async () => {
    await client.delete("/v1/sign-ins");
    await leave(texts.ended);
  });

  return html`<header><h1>${texts.title}</h1><p class="quiet">${me.email}</p></header>
    <${Alert}>${act.problem}<//>
    <section class="card" aria-labelledby="sign-ins-title">
      <h2 id="sign-ins-title">${texts.where}</h2>
      ${signIns.length === 0 && html`<${Empty}>${texts.none}<//>`}
      <ul id="sign-ins" class="rows">${signIns.map((s) => html`<li key=${s.id}>
        <div><div class="name">${s.browser} ${s.current && html`<span class="tag">${texts.thisBrowser}</span>`}</div>
        <div class="quiet">${texts.signedIn(exact(s.created), s.address)} ${texts.used} <${Ago} at=${s.used} />.</div></div>
        <button type="button" class="small" disabled=${act.busy} aria-label=${texts.signOutOf(s.browser)} onClick=${() => end(s)}>${texts.signOut}</button>
      </li>`)}</ul>
      <button type="button" id="everywhere" class="small" disabled=${act.busy} aria-describedby="everywhere-hint" onClick=${endAll}>${texts.everywhere}</button>
      <p id="everywhere-hint" class="quiet below">${texts.everywhereHint}</p>
    </section>
    <${Grants} />
    ${methods.password && html`<${ChangePassword} onChanged=${read} />`}`;
}

function ChangePassword({ onChanged }) {
  const act = useAction();
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target;
    const done = await act.run(() => client.put("/v1/me/password", { current: form.current.value, new: form.new.value }));
    if (!done) return;
    form.reset();
    toast(texts.changed);
    await onChanged();
  };
  return html`<form id="change" class="card" onSubmit=${submit}>
    <h2>${texts.change}</h2>
    <${Alert} id="change-problem">${act.problem}<//>
    <${Field} id="current" label=${texts.current}><input id="current" name="current" type="password" autocomplete="current-password" required /><//>
    <${Field} id="new" label=${texts.next} hint=${texts.changeHint}><input id="new" name="new" type="password" autocomplete="new-password" minlength="8" maxlength="256" required /><//>
    <button type="submit" class="main" disabled=${act.busy}>${texts.change}</button>
  </form>`;
}

mount(Account);
