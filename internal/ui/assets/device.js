// The page where a person enters the code that a device shows. A link can contain the code;
// the person still has to allow the access.

import { useEffect, useState } from "preact/hooks";

import { show } from "./app.js";
import { Alert, Field, html, useAction } from "./components.js";
import { orSignIn, Question } from "./consent.js";
import { client } from "./session.js";
import texts from "./texts/consent.js";

const given = new URLSearchParams(location.search).get("user_code") ?? "";

function Device({ me }) {
  const [asked, setAsked] = useState(null); // { code, app_name, … }
  const [done, setDone] = useState("");
  const act = useAction();
  const look = (code) => act.run(() => orSignIn(async () => {
    setAsked({ code, note: texts.warning, ...(await client.get("/v1/oauth/device", { user_code: code })) });
  }));
  useEffect(() => {
    if (given) look(given);
    else document.getElementById("code").focus();
  }, []);

  const decide = async (allow) => {
    await client.post("/v1/oauth/device", { user_code: asked.code, allow });
    setDone(allow ? texts.allowed(asked.app_name) : texts.denied);
  };
  const submit = (event) => {
    event.preventDefault();
    look(event.target.code.value.trim());
  };

  if (done) return html`<h1>${texts.device}</h1><p id="done" class="card" role="status">${done}</p>`;
  if (asked) return html`<${Question} request=${asked} me=${me} decide=${decide}>${texts.deviceWants(asked.code.toUpperCase())}<//>`;
  return html`<h1>${texts.device}</h1><${Alert}>${act.problem}<//>
    <form id="entry" class="card" autocomplete="off" onSubmit=${submit}>
      <${Field} id="code" label=${texts.code}><input id="code" name="code" autocomplete="off" autocapitalize="characters" spellcheck="false" placeholder="BCDF-GHJK" maxlength="20" required value=${given} /><//>
      <button type="submit" class="main wide-button" disabled=${act.busy}>${texts.continue}</button>
    </form>`;
}

client.token = ""; // the person of the browser decides, not the token of a tab
try {
  const me = await orSignIn(() => client.get("/v1/me"));
  show(html`<${Device} me=${me} />`);
} catch (err) {
  show(html`<${Alert}>${err.message}<//>`);
}
