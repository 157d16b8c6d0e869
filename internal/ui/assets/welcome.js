// The page /welcome, which a link opens. Its secret follows the "#", which browsers do not
// send; the page takes it out of the address bar and the history.

import { useEffect, useState } from "preact/hooks";

import { show } from "./app.js";
import { Alert, Field, html, useAction } from "./components.js";
import { client, useToken } from "./session.js";
import texts from "./texts/welcome.js";

function takeSecret() {
  const secret = location.hash.slice(1);
  if (secret) history.replaceState(null, "", location.pathname);
  return secret;
}

function Welcome({ given }) {
  const [secret, setSecret] = useState(given);
  const [unusable, setUnusable] = useState("");
  const act = useAction();
  useEffect(() => {
    const changed = () => {
      setSecret(takeSecret() || secret);
      setUnusable("");
    };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, [secret]);

  const submit = async (event) => {
    event.preventDefault();
    const { password, again } = event.target;
    if (password.value !== again.value) {
      act.setProblem(texts.different);
      again.focus();
      return;
    }
    const done = await act.run(async () => {
      try {
        await client.post("/v1/invitations/accept", { secret, password: password.value });
      } catch (err) {
        if (err.status === 404 || err.status === 410) setUnusable(err.message);
        throw err;
      }
    });
    if (!done) return;
    useToken(""); // a token in this tab would come before the sign-in
    location.replace("/");
  };

  if (!secret || unusable) {
    return html`<h1>${texts.title}</h1><${Alert}>${unusable || texts.incomplete}<//>
      <p id="elsewhere">${texts.elsewhere} <a href="/signin">${texts.signIn}</a></p>`;
  }
  return html`<h1>${texts.title}</h1>
    <${Alert}>${act.problem}<//>
    <form id="choose" class="card" onSubmit=${submit}>
      <${Field} id="password" label=${texts.password} hint=${texts.hint}><input id="password" name="password" type="password" autocomplete="new-password" minlength="8" maxlength="256" required /><//>
      <${Field} id="again" label=${texts.again}><input id="again" name="again" type="password" autocomplete="new-password" required /><//>
      <button type="submit" class="main wide-button" disabled=${act.busy}>${texts.choose}</button>
    </form>`;
}

show(html`<${Welcome} given=${takeSecret()} />`);
