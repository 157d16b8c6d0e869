// The question whether an app may act for a person, which two pages ask.

import { useEffect, useRef } from "preact/hooks";

import { Alert, html, useAction } from "./components.js";
import texts from "./texts/consent.js";

// signInFirst has the person sign in and then return to this page.
export function signInFirst() {
  location.replace("/signin?next=" + encodeURIComponent(location.pathname + location.search));
}

// orSignIn runs f, and has the person sign in if that is missing.
export async function orSignIn(f) {
  try {
    return await f();
  } catch (err) {
    if (err.status !== 401) throw err;
    signInFirst();
    return new Promise(() => {}); // the page is left
  }
}

// Question asks. request has app_name, account and allows, the rights in words; me is from
// GET /v1/me; warning is shown above the answers.
export function Question({ request, me, children, decide }) {
  const act = useAction();
  const title = useRef(null);
  useEffect(() => title.current.focus(), []);
  const answer = (allow) => () => act.run(() => orSignIn(() => decide(allow)));
  return html`<${Alert}>${act.problem}<//>
    <div id="question" class="card stack">
      <h1 id="title" tabindex="-1" ref=${title}>${texts.allowApp(request.app_name)}</h1>
      <p>${texts.signedInAs} <strong id="person">${me.display_name || me.email}</strong> ${texts.of} <strong id="account">${request.account}</strong>. ${children}</p>
      <ul id="allows">${request.allows.map((line) => html`<li>${line}</li>`)}</ul>
      <p class="quiet">${request.note}</p>
      <p class="row"><button type="button" id="allow" class="main" disabled=${act.busy} onClick=${answer(true)}>${texts.allow}</button>
      <button type="button" id="deny" disabled=${act.busy} onClick=${answer(false)}>${texts.deny}</button></p>
    </div>`;
}
