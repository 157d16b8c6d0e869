// The page /signin. The server sets a cookie that scripts cannot read.

import { forgetToken, localPath } from "./signin.js";
import { request } from "./stream.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const next = localPath(query.get("next"));

function complain(words) {
  $("problem").textContent = words;
  $("problem").hidden = !words;
}

async function showMethods() {
  const { password, provider } = await request("", "GET", "/v1/sign-ins/methods");
  $("by-password").hidden = !password;
  $("provider").hidden = !provider;
  $("or").hidden = !provider || !password;
  $("by-provider").textContent = "Sign in with " + provider;
  $("by-provider").href = "/signin/oidc?" + new URLSearchParams({ next });
}

async function enter(event) {
  event.preventDefault();
  complain("");
  const account = $("account").value.trim();
  const asked = { email: $("email").value.trim(), password: $("password").value, ...(account && { account }) };
  try {
    await request("", "POST", "/v1/sign-ins", asked);
  } catch (err) {
    if (err.message.includes("name the account")) $("which").hidden = false;
    const wait = err.retryAfter ? ` Try again in ${Math.ceil(err.retryAfter / 1_000)} seconds.` : "";
    complain(err.message + wait);
    $("password").value = "";
    $("password").focus();
    return;
  }
  forgetToken(); // a token in this tab would come first
  location.replace(next);
}

$("account").value = query.get("account") ?? "";
$("which").hidden = !$("account").value;
$("by-password").addEventListener("submit", enter);
showMethods().then(() => $("email").focus(), (err) => complain(err.message));
