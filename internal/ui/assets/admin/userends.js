// The questions before a user is deactivated, activated, deleted or erased.

import { Confirm, html, toast } from "../components.js";
import { client } from "../session.js";
import texts from "../texts/users.js";
import { nameOf } from "./usermarks.js";

// Activation deactivates an active user, or activates another, after a question.
export function Activation({ user, onClose, onDone }) {
  const name = nameOf(user);
  const change = async () => {
    onDone(await client.patch("/v1/users/" + user.id, { active: !user.active }));
    toast(user.active ? texts.wasDeactivated(name) : texts.activated(name));
  };
  const [title, explained, action] = user.active
    ? [texts.deactivateTitle(name), texts.deactivateExplained(name), texts.deactivate]
    : [texts.activateTitle(name), texts.activateExplained(name), texts.activate];
  return html`<${Confirm} title=${title} action=${action} run=${change} onClose=${onClose}><p>${explained}</p><//>`;
}

// Deletion deletes a user, and with erase the history of the user as well.
export function Deletion({ user, erase, onClose, onDone }) {
  const remove = async () => {
    await client.delete("/v1/users/" + user.id, { erase: erase ? "true" : "" });
    onDone(erase);
  };
  const title = erase ? texts.eraseTitle : texts.deleteTitle;
  return html`<${Confirm} title=${title(nameOf(user))} action=${erase ? texts.erase : texts.delete} run=${remove} onClose=${onClose}>
    <p>${texts.deleteExplained(user.email)}</p>
    ${erase ? html`<${Erased} />` : html`<p>${texts.deleteKept}</p>`}
  <//>`;
}

// Erased says what an erasure covers.
export function Erased() {
  return html`<p>${texts.eraseExplained}</p><p class="quiet">${texts.eraseLimits} <a href="/help/history#erasure">${texts.eraseMore}</a></p>`;
}
