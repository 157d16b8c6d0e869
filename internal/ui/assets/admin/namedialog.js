// The form for the name of a group.

import { Alert, Dialog, Field, html, useAction } from "../components.js";
import common from "../texts/common.js";
import texts from "../texts/groups.js";

// NameDialog asks for the name of a group.
export function NameDialog({ title, name, hint, action, run, onClose }) {
  const act = useAction();
  const submit = async (event) => {
    event.preventDefault();
    const given = event.target.elements.name.value.trim();
    if (await act.run(() => run(given))) onClose();
  };
  return html`<${Dialog} title=${title} onClose=${onClose}><form id="group-form" autocomplete="off" onSubmit=${submit}>
    <${Field} id="name" label=${texts.name} hint=${hint}><input id="name" name="name" maxlength="64" required defaultValue=${name} /><//>
    <${Alert} id="form-problem">${act.problem}<//>
    <footer><button type="button" onClick=${onClose}>${common.cancel}</button><button type="submit" class="main" disabled=${act.busy}>${action}</button></footer>
  </form><//>`;
}
