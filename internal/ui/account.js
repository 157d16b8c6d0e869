// The page /account: where a person is signed in, and the password.

import { endSignIn, nameOf } from "./signin.js";
import { request } from "./stream.js";

const $ = (id) => document.getElementById(id);

function complain(words) {
  $("problem").textContent = words;
  $("problem").hidden = !words;
}

function leave() {
  location.replace("/signin?next=/account");
}

// attempt runs an action and shows its outcome.
async function attempt(action, done = "") {
  complain("");
  $("done").textContent = "";
  try {
    await action();
    $("done").textContent = done;
  } catch (err) {
    if (err.status === 401) return leave();
    complain(err.message);
  }
}

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

function line(signIn) {
  const item = document.createElement("li");
  const text = document.createElement("div");
  const name = document.createElement("div");
  name.className = "name";
  name.textContent = signIn.browser + (signIn.current ? " (this browser)" : "");
  const about = document.createElement("div");
  about.className = "quiet";
  about.textContent = `Signed in ${when.format(new Date(signIn.created))} from ${signIn.address || "an unknown address"}. Last used ${day.format(new Date(signIn.used))}.`;
  text.append(name, about);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Sign out";
  button.setAttribute("aria-label", "Sign out " + name.textContent);
  button.addEventListener("click", () => attempt(() => end(signIn), "Signed out."));
  item.append(text, button);
  return item;
}

async function end(signIn) {
  await request("", "DELETE", "/v1/sign-ins/" + encodeURIComponent(signIn.id));
  if (signIn.current) leave();
  else await show();
}

async function show() {
  const { sign_ins: all } = await request("", "GET", "/v1/sign-ins");
  $("sign-ins").replaceChildren(...all.map(line));
}

async function begin() {
  const me = await request("", "GET", "/v1/me");
  $("who").textContent = "Signed in as " + nameOf(me);
  const { password } = await request("", "GET", "/v1/sign-ins/methods");
  $("change").hidden = !password;
  await show();
  for (const id of ["self", "sign-out"]) $(id).hidden = false;
}

$("change").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await request("", "PUT", "/v1/me/password", { current: $("current").value, new: $("new").value });
    $("change").reset();
    await show();
  }, "Your password was changed.");
});
$("everywhere").addEventListener("click", () => attempt(async () => {
  await request("", "DELETE", "/v1/sign-ins");
  leave();
}));
$("sign-out").addEventListener("click", () => attempt(async () => {
  await endSignIn();
  leave();
}));
attempt(begin);
