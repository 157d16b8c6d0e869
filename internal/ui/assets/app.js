// What every page with a script shares: who is signed in, the links at the top that depend
// on it, and the form that asks for a token.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";

import { Alert, Confirm, html, Toasts, useAction } from "./components.js";
import { client, isAdministrator, nameOf, remembered, signOut, takeToken, useToken, whoAmI } from "./session.js";
import texts from "./texts/common.js";

const TRY_AGAIN = 5_000; // ms

const main = document.getElementById("main");

// show replaces the content of the page.
export function show(content) {
  main.replaceChildren();
  render(html`${content}<${Toasts} />`, main);
}

// mount shows a page for the person who is signed in. App gets me, of GET /v1/me, and
// leave(), which signs out. Others get the form for a token and a link to sign in, unless
// the page is open to everybody: then me is null. again() asks who is signed in once more.
// The option leaving is called before the page signs out, and returns what undoes it if that fails.
export function mount(App, options = {}) {
  const offered = takeToken();
  main.replaceChildren();
  render(html`<${Gate} offered=${offered} App=${App} title=${document.querySelector("title").textContent.split(" · ")[0]} ...${options} /><${Toasts} />`, main);
}

// Gate asks who is signed in, and again when the token in the address bar changes. offered is
// a token of a link that the tab uses only if the user agrees.
function Gate({ App, title, offered: first, allowed = () => true, open = false, leaving = () => () => {} }) {
  const [state, setState] = useState({ me: undefined, problem: "" });
  const [round, setRound] = useState(0);
  const [offered, setOffered] = useState(first);
  const again = () => setRound((n) => n + 1);

  const restart = () => {
    setState({ me: undefined, problem: "" });
    again();
  };
  const accept = () => {
    useToken(offered);
    restart();
  };

  useEffect(() => {
    let wanted = true;
    let timer;
    whoAmI().then(
      (me) => wanted && setState((s) => ({ me, problem: me ? "" : s.problem })),
      (err) => {
        if (!wanted) return;
        setState({ me: undefined, problem: err.status ? err.message : texts.noAnswer });
        timer = setTimeout(again, err.retryAfter || TRY_AGAIN);
      },
    );
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [round]);
  useEffect(() => {
    const changed = () => {
      const before = client.token;
      setOffered(takeToken());
      if (client.token !== before) restart();
    };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  useEffect(() => {
    showLinks(state.me, leave);
  }, [state.me]);

  // leave signs out. why is what ended the sign-in, if that was not the user.
  async function leave(why = "") {
    const stay = why ? () => {} : leaving();
    try {
      if (why) useToken("");
      else await signOut();
    } catch (err) {
      stay();
      setState((s) => ({ ...s, problem: texts.stillSignedIn(err.message) }));
      return;
    }
    setState({ me: null, problem: why && texts.signInAgain(why) });
  }

  const { me, problem } = state;
  if (offered) return html`<h1>${title}</h1><${Confirm} title=${texts.otherToken} action=${texts.useToken} run=${accept} onClose=${() => setOffered("")}><p>${texts.otherTokenExplained}</p><//>`;
  if (me === null && !open) return html`<${SignIn} title=${title} problem=${problem} onToken=${again} />`;
  if (me === undefined) return html`<h1>${title}</h1><${Alert}>${problem}<//><p class="quiet" role="status">${problem ? "" : texts.loading}</p>`;
  if (me && !allowed(me)) return html`<h1>${title}</h1><${Alert}>${texts.administratorsOnly}<//>`;
  return html`<${Alert} id="sign-out-problem">${problem}<//><${App} key=${open ? 0 : round} me=${me} leave=${leave} again=${again} />`;
}

// SignIn asks for a token, or leads to the page for passwords.
function SignIn({ title, problem, onToken }) {
  const [token, setToken] = useState("");
  const submit = (event) => {
    event.preventDefault();
    useToken(token.trim());
    onToken();
  };
  return html`<h1>${title}</h1>
    <${Alert}>${problem}<//>
    <form id="entry" class="card narrow" autocomplete="off" onSubmit=${submit}>
      <h2>${texts.signIn}</h2>
      <p><a class="button main" href=${"/signin?next=" + encodeURIComponent(location.pathname + location.search)}>${texts.signInByEmail}</a></p>
      <p class="quiet">${texts.orToken}</p>
      <div class="field"><label for="token">${texts.token}</label>
      <input id="token" type="password" autocomplete="off" autocapitalize="none" spellcheck="false" required aria-describedby="token-help"
        value=${token} onInput=${(event) => setToken(event.target.value)} />
      <p id="token-help" class="quiet">${texts.tokenHelp}</p></div>
      <button type="submit">${texts.useToken}</button>
    </form>`;
}

// showLinks shows who is signed in at the top, and the links that they may use. Without me,
// the links are those of the last page.
export function showLinks(me, leave) {
  const administrator = me ? isAdministrator(me) : me === undefined && remembered().administrator;
  for (const link of document.querySelectorAll("[data-for=administrators]")) link.hidden = !administrator;
  const session = document.getElementById("session");
  if (session) render(me ? html`<${Session} me=${me} leave=${leave} />` : null, session);
}

function Session({ me, leave }) {
  const act = useAction();
  return html`<span id="who">${nameOf(me)}</span>
    ${!client.token && html`<a id="to-account" href="/account" aria-current=${location.pathname === "/account" ? "page" : undefined}>${texts.account}</a>`}
    <button type="button" id="sign-out" class="small" disabled=${act.busy} onClick=${() => act.run(() => leave())}>${texts.signOut}</button>`;
}
