// The forms with the fields of a user: to add one, and to change one.

import { useState } from "preact/hooks";

import { Alert, Dialog, Field, html, toast, useAction } from "../components.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/users.js";
import { useGroupNames } from "./groupnames.js";
import { Link } from "./userlinks.js";
import { nameOf } from "./usermarks.js";

// AddUser asks for a new user. If wanted, it shows an invitation link at the end.
export function AddUser({ onClose, onAdded, onOpen }) {
  const [groups, setGroups] = useState([]);
  const [added, setAdded] = useState(null); // { user, link, problem }
  const act = useAction();
  const submit = (event) => {
    event.preventDefault();
    const form = event.target;
    act.run(async () => {
      const user = await client.post("/v1/users", { ...fieldsOf(form), groups });
      onAdded();
      if (!form.elements.invite.checked) {
        toast(texts.added(nameOf(user)));
        return onOpen(user);
      }
      setAdded({ user, ...(await invite(user)) });
    });
  };
  if (added) {
    return html`<${Dialog} title=${texts.added(nameOf(added.user))} onClose=${onClose}>
      <${Alert} id="invite-problem">${added.problem}<//>
      ${added.link && html`<${Link} link=${added.link} />`}
      <footer><button type="button" onClick=${onClose}>${texts.done}</button></footer>
    <//>`;
  }
  return html`<${Dialog} title=${texts.add} onClose=${onClose}>
    <form id="user-form" autocomplete="off" onSubmit=${submit}>
      <${Fields} user=${{}} groups=${groups} setGroups=${setGroups} />
      <label><input type="checkbox" name="invite" defaultChecked /> ${texts.inviteToo}</label><p class="quiet">${texts.inviteHint}</p>
      <${Alert} id="form-problem">${act.problem}<//>
      <footer><button type="button" onClick=${onClose}>${common.cancel}</button><button type="submit" class="main" disabled=${act.busy}>${texts.add}</button></footer>
    </form>
  <//>`;
}

// invite returns the link for a user who has just been added. A failure does not undo that.
async function invite(user) {
  try {
    return { link: await client.post(`/v1/users/${user.id}/invitation`), problem: "" };
  } catch (err) {
    return { problem: texts.notInvited(err.message) };
  }
}

// EditUser changes what the reader changed in the form, and nothing else.
export function EditUser({ user, owner, onClose, onSaved }) {
  const [groups, setGroups] = useState(user.groups);
  const act = useAction();
  const submit = async (event) => {
    event.preventDefault();
    const given = { ...fieldsOf(event.target), groups };
    const change = Object.fromEntries(Object.entries(given).filter(([name, value]) => String(value) !== String(user[name])));
    const done = await act.run(async () => {
      if (Object.keys(change).length) onSaved(await client.patch("/v1/users/" + user.id, change));
    });
    if (!done) return;
    toast(texts.saved(nameOf({ ...user, ...change })));
    onClose();
  };
  return html`<${Dialog} title=${texts.editTitle(nameOf(user))} onClose=${onClose}>
    <form id="user-form" autocomplete="off" onSubmit=${submit}>
      <${Fields} user=${user} owned=${user.id === owner} groups=${groups} setGroups=${setGroups} />
      <${Alert} id="form-problem">${act.problem}<//>
      <footer><button type="button" onClick=${onClose}>${common.cancel}</button><button type="submit" class="main" disabled=${act.busy}>${texts.save}</button></footer>
    </form>
  <//>`;
}

const names = ["email", "first_name", "last_name", "display_name", "department", "role"];

function fieldsOf(form) {
  return Object.fromEntries(names.map((name) => [name, form.elements[name].value.trim()]));
}

// owned: the user owns the account.
function Fields({ user, owned, groups, setGroups }) {
  return html`<${Field} id="email" label=${texts.email}><input id="email" name="email" type="email" maxlength="254" required defaultValue=${user.email} /><//>
    <div class="fields">
      <${Field} id="first_name" label=${texts.firstName}><input id="first_name" name="first_name" maxlength="256" defaultValue=${user.first_name} /><//>
      <${Field} id="last_name" label=${texts.lastName}><input id="last_name" name="last_name" maxlength="256" defaultValue=${user.last_name} /><//>
    </div>
    <${Field} id="display_name" label=${texts.displayName} hint=${texts.displayNameHint}><input id="display_name" name="display_name" maxlength="256" aria-describedby="display_name-hint" defaultValue=${user.display_name} /><//>
    <div class="fields">
      <${Field} id="department" label=${texts.department}><input id="department" name="department" maxlength="256" defaultValue=${user.department} /><//>
      <${Field} id="new-role" label=${texts.role} hint=${owned && texts.ownerHint}><select id="new-role" name="role" aria-describedby=${owned ? "new-role-hint" : undefined}>${Object.entries(texts.roles).map(([role, label]) => html`<option value=${role} selected=${role === (user.role ?? "member")}>${label}</option>`)}</select><//>
    </div>
    <${Groups} groups=${groups} setGroups=${setGroups} />`;
}

// Groups are the groups of a user as tags that can be removed, and a field to add others.
function Groups({ groups, setGroups }) {
  const [typed, setTyped] = useState("");
  const known = useGroupNames();
  const has = (name) => groups.some((g) => g.toLowerCase() === name.toLowerCase());
  const add = () => {
    const name = typed.trim();
    if (name && !has(name)) setGroups([...groups, name]);
    setTyped("");
  };
  const key = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // it would send the form
    add();
  };
  return html`<${Field} id="group-name" label=${texts.groups} hint=${texts.groupHint}>
    ${groups.length > 0 && html`<ul class="tags">${groups.map((g) => html`<li key=${g} class="tag">${g} <button type="button" class="plain" aria-label=${texts.removeGroup(g)} onClick=${() => setGroups(groups.filter((other) => other !== g))}>✕</button></li>`)}</ul>`}
    <span class="joined"><input id="group-name" list="group-names" maxlength="64" aria-describedby="group-name-hint" placeholder=${texts.addGroup} value=${typed} onInput=${(event) => setTyped(event.target.value)} onKeyDown=${key} onBlur=${add} />
    <button type="button" onClick=${add}>${texts.addIt}</button></span>
    <datalist id="group-names">${known.filter((g) => !has(g)).map((g) => html`<option value=${g} />`)}</datalist>
  <//>`;
}
