// The links with which a user chooses a password. Porchlight sends no e-mail: whoever makes
// a link gives it to the user.

import { useState } from "preact/hooks";

import { Alert, Copy, Dialog, html, useAction } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import common from "../texts/common.js";
import texts from "../texts/users.js";
import { nameOf } from "./usermarks.js";

// Link shows a link, once.
export function Link({ link }) {
  return html`<p class="secret link"><span class="quiet">${texts.link}</span> <code>${link.url}</code> <${Copy} text=${link.url} /></p>
    <p>${texts.linkExpires(exact(link.expires))}</p><p class="quiet">${texts.noMail}</p>`;
}

const kinds = {
  invitation: { title: texts.invite, explained: texts.inviteExplained },
  "password-reset": { title: texts.reset, explained: texts.resetExplained },
};

// LinkDialog makes a link of a kind, "invitation" or "password-reset", and shows it.
export function LinkDialog({ user, kind, onClose }) {
  const [link, setLink] = useState(null);
  const act = useAction();
  const make = () => act.run(async () => setLink(await client.post(`/v1/users/${user.id}/${kind}`)));
  return html`<${Dialog} title=${kinds[kind].title} onClose=${onClose}>
    ${link ? html`<${Link} link=${link} />` : html`<p>${kinds[kind].explained(nameOf(user))}</p>`}
    <${Alert} id="link-problem">${act.problem}<//>
    <footer>${link
      ? html`<button type="button" onClick=${onClose}>${texts.done}</button>`
      : html`<button type="button" onClick=${onClose}>${common.cancel}</button><button type="button" id="make-link" class="main" disabled=${act.busy} onClick=${make}>${texts.makeLink}</button>`}</footer>
  <//>`;
}
