// The access token of a tab: where it is kept, and the form that asks for it. The
// board and the page of one's own status share it, so one sign-in opens both.

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
