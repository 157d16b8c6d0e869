// Who the pages act for: the person who signed in with this browser, by a cookie that
// scripts cannot read, or the access token of a tab, which is kept here and comes first.

import { request } from "./stream.js";

const TOKEN = "porchlight.token";

export function storedToken() {
  return sessionStorage.getItem(TOKEN) ?? "";
}

export function storeToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

export function forgetToken() {
  sessionStorage.removeItem(TOKEN);
}

// signedIn reports whether the browser has a sign-in that is valid.
export async function signedIn() {
  try {
    await request("", "GET", "/v1/me");
    return true;
  } catch (err) {
    if (err.status === 401 || err.status === 403) return false;
    throw err;
  }
}

// endSignIn ends the browser's sign-in, unless the page acts by a token.
export async function endSignIn(token = "") {
  if (!token) await request("", "DELETE", "/v1/sign-ins/current");
}

// localPath is where a person wanted to go, if that is a page of this server. A path such
// as /.//host becomes //host, which names another server.
export function localPath(given) {
  if (!given?.startsWith("/")) return "/";
  const url = new URL(given, location.origin);
  return url.origin === location.origin && !url.pathname.startsWith("//") ? url.pathname + url.search + url.hash : "/";
}

// takeToken moves a token from the address bar, where it would be visible and stay in
// the history, to the tab's storage.
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return false;
  history.replaceState(null, "", location.pathname + location.search);
  storeToken(given);
  return true;
}

// onSignIn calls begin after a token was entered in the form, and switchUser after the
// address bar brought another one. switchUser signs the previous user out.
export function onSignIn(begin, switchUser) {
  document.getElementById("entry").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = document.getElementById("token");
    storeToken(field.value.trim());
    field.value = "";
    begin();
  });
  addEventListener("hashchange", () => {
    if (!takeToken()) return;
    const given = storedToken();
    switchUser();
    storeToken(given);
    begin();
  });
}

// nameOf is what to call the user whom GET /v1/me describes.
export function nameOf(me) {
  return me.display_name || me.email || me.user;
}
