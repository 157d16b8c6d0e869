// What a user is called, and the marks for role and state: shape, word and colour.

import { useEffect, useState } from "preact/hooks";

import { Avatar, html } from "../components.js";
import { client } from "../session.js";
import texts from "../texts/users.js";

// nameOf is what to call a user of the API.
export function nameOf(user) {
  return user.display_name || [user.first_name, user.last_name].filter(Boolean).join(" ") || user.email;
}

// useOwner returns the id of the account's owner. Until it is known, and if it cannot be
// read, it is undefined: then Role shows no role.
export function useOwner() {
  const [owner, setOwner] = useState(undefined);
  useEffect(() => {
    let wanted = true;
    client.get("/v1/account").then((account) => wanted && setOwner(account.owner), () => {});
    return () => {
      wanted = false;
    };
  }, []);
  return owner;
}

// Role is what a user may do. The owner may do what an administrator may, whatever the role
// in the directory, so that one does not count.
export function Role({ user, owner }) {
  if (owner === undefined) return "–";
  if (user.id === owner) return html`<span class="tag good" data-role="owner">★ ${texts.owner}</span>`;
  return html`<span data-role=${user.role}>${texts.roles[user.role] ?? user.role}</span>`;
}

export function State({ user }) {
  return html`<span class="tag ${user.active ? "good" : "bad"}" data-state=${user.active ? "active" : "deactivated"}>${user.active ? `● ${texts.active}` : `⊘ ${texts.deactivated}`}</span>`;
}

// Person is a user in a list, with a link to the user's page.
export function Person({ user }) {
  return html`<span class="person"><${Avatar} name=${nameOf(user)} />
    <span><a class="name" href=${"/admin/users/" + user.id} title=${nameOf(user)}>${nameOf(user)}</a><span class="quiet">${user.email}</span></span></span>`;
}
