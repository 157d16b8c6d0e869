// Who the pages act for: the person who signed in with this browser, by a cookie that
// scripts cannot read, or the access token of a tab, which is kept here and comes first.

import { Client } from "./client.js";

const TOKEN = "porchlight.token";
const KNOWN = "porchlight.me"; // so that the next page shows its links at once

// client sends the requests of the page.
export const client = new Client({ token: sessionStorage.getItem(TOKEN) ?? "" });

export function useToken(token) {
  client.token = token;
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
  sessionStorage.removeItem(KNOWN);
}

// takeToken moves a token from the address bar, where it would be visible and stay in
// the history, to the tab's storage. It returns a token that it did not move, because the tab
// has another one: otherwise a link could have the user act for somebody else unnoticed.
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return "";
  history.replaceState(null, "", location.pathname + location.search);
  if (client.token && client.token !== given) return given;
  useToken(given);
  return "";
}

// whoAmI is the answer of GET /v1/me, or null if nobody is signed in.
export async function whoAmI() {
  try {
    const me = await client.get("/v1/me");
    sessionStorage.setItem(KNOWN, JSON.stringify({ administrator: isAdministrator(me) }));
    return me;
  } catch (err) {
    sessionStorage.removeItem(KNOWN);
    if (err.status === 401 || err.status === 403) return null;
    throw err;
  }
}

// remembered is what is known of the person before whoAmI has answered.
export function remembered() {
  return JSON.parse(sessionStorage.getItem(KNOWN) ?? "{}");
}

// signOut ends the browser's sign-in or forgets the token of the tab.
export async function signOut() {
  if (!client.token) await client.delete("/v1/sign-ins/current");
  useToken("");
}

// may reports whether me has a scope, for themselves or for everybody.
export function may(me, scope) {
  return me.scopes.includes(scope) || me.scopes.includes(scope + ":admin");
}

// isAdministrator reports whether me may do anything for other people of the account.
export function isAdministrator(me) {
  return me.scopes.includes("directory:read:admin");
}

// nameOf is what to call the user whom GET /v1/me describes.
export function nameOf(me) {
  if (me.account_level) return me.app_name || me.app;
  return me.display_name || me.email || me.user;
}

// localPath is where a person wanted to go, if that is a page of this server. A path such
// as /.//host becomes //host, which names another server.
export function localPath(given) {
  if (!given?.startsWith("/")) return "/";
  const url = new URL(given, location.origin);
  return url.origin === location.origin && !url.pathname.startsWith("//") ? url.pathname + url.search + url.hash : "/";
}
