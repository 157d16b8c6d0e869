// The page /welcome, which a link opens. Its secret follows the "#", which browsers do not
// send; the page takes it out of the address bar and the history.

import { forgetToken } from "./signin.js";
import { request } from "./stream.js";

const $ = (id) => document.getElementById(id);
let secret = "";

function complain(words) {
  $("problem").textContent = words;
  $("problem").hidden = !words;
}

function takeSecret() {
  if (!location.hash) return;
  secret = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  $("choose").hidden = false;
  $("elsewhere").hidden = true;
  complain("");
}

async function choose(event) {
  event.preventDefault();
  complain("");
  const password = $("password").value;
  if (password !== $("again").value) {
    complain("The two passwords do not match.");
    $("again").focus();
    return;
  }
  try {
    await request("", "POST", "/v1/invitations/accept", { secret, password });
  } catch (err) {
    complain(err.message);
    if (err.status === 404 || err.status === 410) showUnusable();
    return;
  }
  forgetToken(); // a token in this tab would come first
  location.replace("/");
}

// showUnusable: the link cannot be used any more.
function showUnusable() {
  $("choose").hidden = true;
  $("elsewhere").hidden = false;
}

$("choose").addEventListener("submit", choose);
addEventListener("hashchange", takeSecret);
takeSecret();
if (!secret) {
  complain("This page works only with the complete link from your administrator. Open that link again.");
  showUnusable();
}
