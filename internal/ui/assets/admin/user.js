// The page /admin/users/ID: everything about one user, and what an administrator can do.

import { useCallback, useEffect, useState } from "preact/hooks";

import { navigate } from "../admin.js";
import { Alert, Avatar, html, Menu, toast, useAction } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/users.js";
import { Activation, Deletion } from "./userends.js";
import { Gone } from "./usergone.js";
import { Contacts, SignIns, Tokens } from "./useraccess.js";
import { EditUser } from "./userform.js";
import { History } from "./userhistory.js";
import { LinkDialog } from "./userlinks.js";
import { nameOf, Role, State, useOwner } from "./usermarks.js";
import { Claims, Presence, Sessions, useExplanation } from "./userpresence.js";

export default function User({ id, me }) {
  const [user, setUser] = useState(undefined); // null: there is none
  const act = useAction();
  useEffect(() => {
    act.run(async () => setUser(await read(id)));
  }, [id]);
  if (user === null) return html`<${Gone} id=${id} />`;
  return html`<p><a href="/admin/users">← ${texts.back}</a></p>
    <${Alert} id="user-problem">${act.problem}<//>
    ${user ? html`<${Shown} user=${user} me=${me} setUser=${setUser} />` : html`<p class="quiet" role="status">${act.problem ? "" : common.loading}</p>`}`;
}

async function read(id) {
  try {
    return await client.get("/v1/users/" + encodeURIComponent(id));
  } catch (err) {
    if (err.status === 404) return null;
    throw err;
  }
}

function Shown({ user, me, setUser }) {
  const owner = useOwner();
  const [dialog, setDialog] = useState(null);
  const presence = useExplanation(user.id);
  const name = nameOf(user);
  const close = useCallback(() => setDialog(null), []);
  const show = (content) => () => setDialog(content);
  const mayChange = me.scopes.includes("directory:write:admin");
  const deleted = (erased) => {
    if (erased) return setUser(null);
    toast(texts.wasDeleted(name));
    navigate("/admin/users");
  };
  useEffect(() => {
    document.title = `${name} · Porchlight`;
  }, [name]);

  return html`<header class="spread">
      <div class="person big"><${Avatar} name=${name} status=${user.active ? presence.explanation?.status : undefined} />
        <div><h1>${name}</h1><p class="quiet">${[user.email, user.department].filter(Boolean).join(" · ")}</p></div></div>
      ${mayChange && html`<div class="row" id="actions">
        <button type="button" id="edit" onClick=${show(html`<${EditUser} user=${user} owner=${owner} onClose=${close} onSaved=${setUser} />`)}>${texts.edit}</button>
        <button type="button" id="invite" onClick=${show(html`<${LinkDialog} user=${user} kind="invitation" onClose=${close} />`)}>${texts.invite}</button>
        <${Menu} label=${texts.more} items=${[
          { label: texts.reset, run: show(html`<${LinkDialog} user=${user} kind="password-reset" onClose=${close} />`) },
          { label: user.active ? texts.deactivate : texts.activate, run: show(html`<${Activation} user=${user} onClose=${close} onDone=${setUser} />`) },
          { label: texts.delete, danger: true, run: show(html`<${Deletion} user=${user} onClose=${close} onDone=${deleted} />`) },
          { label: texts.erase, danger: true, run: show(html`<${Deletion} user=${user} erase onClose=${close} onDone=${deleted} />`) },
        ]} />
      </div>`}
    </header>
    <section class="card" aria-label=${texts.details}><dl class="facts">
      <div><dt>${texts.state}</dt><dd><${State} user=${user} /></dd></div>
      <div><dt>${texts.role}</dt><dd><${Role} user=${user} owner=${owner} /></dd></div>
      <div><dt>${texts.groups}</dt><dd class="row">${user.groups.length ? user.groups.map((g) => html`<a class="tag" href=${"/admin/users?group=" + encodeURIComponent(g)}>${g}</a>`) : "–"}</dd></div>
      <div><dt>${texts.createdOn}</dt><dd>${exact(user.created)}</dd></div>
      ${user.external_id && html`<div><dt>${texts.externalId}</dt><dd>${user.external_id}</dd></div>`}
      <div><dt>${texts.id}</dt><dd><code>${user.id}</code></dd></div>
    </dl></section>
    <div class="halves">
      <div class="stack"><${Presence} user=${user} ...${presence} /><${Sessions} user=${user} ...${presence} /><${Tokens} user=${user} /></div>
      <div class="stack"><${Claims} user=${user} ...${presence} /><${SignIns} user=${user} /><${Contacts} user=${user} /></div>
    </div>
    <${History} user=${user} revision=${presence.explanation?.revision} />
    ${dialog}`;
}
