// The links for displays, which administrators make and revoke.

import { useEffect, useState } from "preact/hooks";

import { Alert, Dialog, Empty, Field, html, Secret, toast, useAction } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/board.js";

const PATH = "/v1/signage-links";

// SignageLinks is a dialog. groups are the names to choose from.
export function SignageLinks({ groups, onClose }) {
  const [links, setLinks] = useState(null);
  const [made, setMade] = useState("");
  const act = useAction();
  const read = async () => setLinks((await client.get(PATH)).signage_links);
  useEffect(() => {
    act.run(read);
  }, []);

  const create = (event) => {
    event.preventDefault();
    const form = event.target;
    act.run(async () => {
      const { url } = await client.post(PATH, { name: form.name.value, group: form.group.value || undefined });
      setMade(url);
      form.reset();
      await read();
    });
  };
  const revoke = (link) => act.run(async () => {
    await client.delete(PATH + "/" + encodeURIComponent(link.id));
    toast(texts.revoked(link.name));
    await read();
  });
  return html`<${Dialog} title=${texts.signage} onClose=${onClose}>
    <p class="quiet">${texts.signageHelp}</p>
    <${Alert} id="signage-problem">${act.problem}<//>
    ${links?.length === 0 && html`<${Empty}>${texts.noLinks}<//>`}
    <ul id="links" class="rows">${links?.map((link) => html`<li key=${link.id}>
      <div><div class="name">${link.name}</div><div class="quiet">${link.group || texts.everyone} · ${texts.created(exact(link.created))}</div></div>
      <button type="button" class="small danger" disabled=${act.busy} aria-label=${texts.revokeOf(link.name)} onClick=${() => revoke(link)}>${texts.revoke}</button>
    </li>`)}</ul>
    ${made && html`<div id="made-link" class="notice"><${Secret} label=${texts.newLink} value=${made} /></div>`}
    <form id="new-link" onSubmit=${create}>
      <${Field} id="link-name" label=${texts.linkName}><input id="link-name" name="name" required maxlength="100" autocomplete="off" /><//>
      <${Field} id="link-group" label=${texts.linkGroup}><select id="link-group" name="group">
        <option value="">${texts.everyone}</option>${groups.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select><//>
      <button type="submit" class="main" disabled=${act.busy}>${texts.createLink}</button>
    </form>
  <//>`;
}
