// The consent page: an app sent the browser here to ask whether it may act for the person.

import { show } from "./app.js";
import { Alert, html } from "./components.js";
import { orSignIn, Question } from "./consent.js";
import { client } from "./session.js";
import texts from "./texts/consent.js";

const request = location.search.slice(1);

async function decide(allow) {
  const { redirect } = await client.post("/v1/oauth/authorization", { request, allow });
  location.replace(redirect);
}

client.token = ""; // the person of the browser decides, not the token of a tab
try {
  const asked = await orSignIn(() => client.get("/v1/oauth/authorization?" + request));
  if (asked.redirect) {
    location.replace(asked.redirect);
  } else if (asked.remembered) {
    await decide(true);
  } else {
    const me = await orSignIn(() => client.get("/v1/me"));
    show(html`<${Question} request=${{ ...asked, note: texts.returns(asked.returns) }} me=${me} decide=${decide}>${texts.wants}<//>`);
  }
} catch (err) {
  show(html`<${Alert}>${err.message}<//>`);
}
