// The page /signin. The server sets a cookie that scripts cannot read.

import { useEffect, useRef, useState } from "preact/hooks";

import { show } from "./app.js";
import { Alert, Field, html, useAction } from "./components.js";
import { client, localPath, useToken } from "./session.js";
import texts from "./texts/signin.js";

const query = new URLSearchParams(location.search);
const next = localPath(query.get("next"));

function SignIn() {
  const [methods, setMethods] = useState({});
  const [which, setWhich] = useState(query.has("account")); // the account is asked for too
  const act = useAction();
  const form = useRef(null);
  useEffect(() => {
    act.run(async () => setMethods(await client.get("/v1/sign-ins/methods")));
  }, []);
  useEffect(() => {
    form.current?.email.focus();
  }, [methods.password]);

  const submit = async (event) => {
    event.preventDefault();
    const { email, password, account } = form.current;
    const done = await act.run(async () => {
      try {
        await client.post("/v1/sign-ins", { email: email.value.trim(), password: password.value, account: account?.value.trim() || undefined });
      } catch (err) {
        if (err.code === "sign-in-account") setWhich(true);
        throw err.retryAfter ? new Error(texts.wait(err.message, Math.ceil(err.retryAfter / 1_000))) : err;
      }
    });
    if (done) {
      useToken(""); // a token in this tab would come before the sign-in
      return location.replace(next);
    }
    password.value = "";
    password.focus();
  };

  return html`<h1>${texts.title}</h1>
    <${Alert}>${act.problem}<//>
    <div class="card">
      ${methods.provider && html`<p><a id="by-provider" class="button main wide-button" href=${"/signin/oidc?" + new URLSearchParams({ next })}>${texts.with(methods.provider)}</a></p>`}
      ${methods.provider && methods.password && html`<p class="or">${texts.or}</p>`}
      ${methods.password && html`<form id="by-password" ref=${form} onSubmit=${submit}>
        <${Field} id="email" label=${texts.email}><input id="email" name="email" type="email" autocomplete="username" autocapitalize="none" spellcheck="false" required /><//>
        <${Field} id="password" label=${texts.password}><input id="password" name="password" type="password" autocomplete="current-password" required /><//>
        ${which && html`<${Field} id="account" label=${texts.account} hint=${texts.accountHint}>
          <input id="account" name="account" autocomplete="off" autocapitalize="none" spellcheck="false" value=${query.get("account") ?? ""} /><//>`}
        <button type="submit" class="main wide-button" disabled=${act.busy}>${texts.signIn}</button>
      </form>`}
    </div>
    ${methods.password && html`<p class="quiet">${texts.forgot}</p>`}`;
}

client.token = "";
show(html`<${SignIn} />`);
