// Values that the API shows once.

import { Dialog, html, Secret } from "../components.js";
import texts from "../texts/apps.js";

// Reveal shows secrets, each as [label, value], until it is closed.
export function Reveal({ title, secrets, children, onClose }) {
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p class="notice">${texts.once}</p>
    <div class="secrets">${secrets.filter(([, value]) => value).map(([label, value]) => html`<${Secret} key=${label} label=${label} value=${value} />`)}</div>
    ${children}
    <footer><button type="button" class="main" onClick=${onClose}>${texts.done}</button></footer>
  <//>`;
}
