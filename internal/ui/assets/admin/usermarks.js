// What a user is called, and the marks for role and state: shape, word and colour.

import { Avatar, html } from "../components.js";
import texts from "../texts/users.js";

// nameOf is what to call a user of the API.
export function nameOf(user) {
  return user.display_name || [user.first_name, user.last_name].filter(Boolean).join(" ") || user.email;
}

export function Role({ user, owner }) {
  return html`<span class="row"><span>${texts.roles[user.role] ?? user.role}</span>${owner && html`<span class="tag good">★ ${texts.owner}</span>`}</span>`;
}

export function State({ user }) {
  return html`<span class="tag ${user.active ? "good" : "bad"}" data-state=${user.active ? "active" : "deactivated"}>${user.active ? `● ${texts.active}` : `⊘ ${texts.deactivated}`}</span>`;
}

// Person is a user in a list, with a link to the user's page.
export function Person({ user }) {
  return html`<span class="person"><${Avatar} name=${nameOf(user)} />
    <span><a class="name" href=${"/admin/users/" + user.id} title=${nameOf(user)}>${nameOf(user)}</a><span class="quiet">${user.email}</span></span></span>`;
}
