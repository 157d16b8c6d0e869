// The consent page: an app sent the browser here to ask whether it may act for the person.

import { ask, call, fail } from "./consent.js";

const request = location.search.slice(1);

async function decide(allow) {
  const { redirect } = await call("POST", "/v1/oauth/authorization", { request, allow });
  location.replace(redirect);
}

try {
  const asked = await call("GET", "/v1/oauth/authorization?" + request);
  if (asked.redirect) {
    location.replace(asked.redirect);
  } else if (asked.remembered) {
    await decide(true);
  } else {
    document.getElementById("returns").textContent = asked.returns;
    ask(asked, await call("GET", "/v1/me"), decide);
  }
} catch (err) {
  fail(err);
}
