// The page of a server that has no account yet. It makes the account, waits until the server
// has started with it, and shows what is needed next.

import { useEffect, useState } from "preact/hooks";

import { show } from "./app.js";
import { Alert, Copy, Field, html, Secret, useAction } from "./components.js";
import { client } from "./session.js";
import texts from "./texts/setup.js";

const ASK_EVERY = 500; // ms, until the server has started

function Setup() {
  const [made, setMade] = useState(null);
  const act = useAction();
  const submit = (event) => {
    event.preventDefault();
    const form = Object.fromEntries(new FormData(event.target));
    act.run(async () => setMade(await client.post("/setup", form)));
  };
  if (made) return html`<${Made} made=${made} />`;
  return html`<h1>${texts.title}</h1>
    <p>${texts.intro}</p>
    <${Alert}>${act.problem}<//>
    <form id="setup" class="card" autocomplete="off" onSubmit=${submit}>
      <${Field} id="code" label=${texts.code} hint=${texts.codeHint}><input id="code" name="code" autocapitalize="characters" spellcheck="false" placeholder="ABCD-EFGH-JKLM" maxlength="20" required /><//>
      <${Field} id="account" label=${texts.account} hint=${texts.accountHint}><input id="account" name="account" maxlength="100" required /><//>
      <div class="fields">
        <${Field} id="name" label=${texts.name}><input id="name" name="name" autocomplete="name" maxlength="128" required /><//>
        <${Field} id="email" label=${texts.email}><input id="email" name="email" type="email" autocomplete="email" maxlength="128" required /><//>
      </div>
      <${Field} id="app" label=${texts.app} hint=${texts.appHint}><input id="app" name="app" value="default" maxlength="100" required /><//>
      <button type="submit" class="main" disabled=${act.busy}>${texts.create}</button>
    </form>`;
}

// useStarted reports whether the server answers with the account.
function useStarted() {
  const [started, setStarted] = useState(false);
  useEffect(() => {
    let timer;
    const ask = async () => {
      try {
        await client.get("/v1/sign-ins/methods");
        setStarted(true);
      } catch {
        timer = setTimeout(ask, ASK_EVERY);
      }
    };
    ask();
    return () => clearTimeout(timer);
  }, []);
  return started;
}

function Made({ made }) {
  const started = useStarted();
  const line = `curl '${location.origin}/v2/users/${made.owner_id}/presence_status' -H 'Authorization: Bearer ${made.access_token}'`;
  return html`<h1>${texts.made}</h1>
    <section class="card" aria-labelledby="password-title"><h2 id="password-title">${texts.passwordTitle}</h2>
      <p class="row"><a id="choose-password" class="button main" href=${started ? "/welcome#" + made.invitation : undefined} aria-disabled=${!started}>${texts.password}</a>
      <span class="quiet" role="status">${started ? texts.started : texts.starting}</span></p>
    </section>
    <section class="card" aria-labelledby="app-title"><h2 id="app-title">${texts.appTitle}</h2>
      <p class="quiet">${texts.once}</p>
      <${Secret} label=${texts.accountId} value=${made.account_id} />
      <${Secret} label=${texts.clientId} value=${made.client_id} />
      <${Secret} label=${texts.clientSecret} value=${made.client_secret} />
    </section>
    <section class="card stack" aria-labelledby="try-title"><h2 id="try-title">${texts.tryTitle}</h2>
      <p class="quiet">${texts.tryHint}</p>
      <pre id="curl"><code>${line}</code></pre>
      <p><${Copy} text=${line} label=${texts.copyLine} /></p>
    </section>`;
}

show(html`<${Setup} />`);
