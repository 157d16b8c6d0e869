// The page where a person enters the code that a device shows. A link can contain the code;
// the person still has to allow the access.

import { ask, call, fail } from "./consent.js";

const entry = document.getElementById("entry");
const field = document.getElementById("code");

async function look(code) {
  const asked = await call("GET", "/v1/oauth/device?user_code=" + encodeURIComponent(code));
  const me = await call("GET", "/v1/me");
  entry.hidden = true;
  document.getElementById("device-code").textContent = code.toUpperCase();
  ask(asked, me, async (allow) => {
    await call("POST", "/v1/oauth/device", { user_code: code, allow });
    document.getElementById("question").hidden = true;
    const done = document.getElementById("done");
    done.textContent = allow ? `${asked.app_name} has access. You can close this page and go back to the device.` : "Access was denied. You can close this page.";
    done.hidden = false;
  });
}

entry.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await look(field.value.trim());
  } catch (err) {
    fail(err);
    field.focus();
  }
});

const given = new URLSearchParams(location.search).get("user_code") ?? "";
try {
  await call("GET", "/v1/me"); // whoever has to sign in does so first
  field.value = given;
  entry.hidden = false;
  if (given) await look(given);
  else field.focus();
} catch (err) {
  fail(err);
}
