// A card that opens and closes. What is in it is made, and read from the server, once it is
// opened.

import { useState } from "preact/hooks";

import { html } from "../components.js";

const wide = matchMedia("(min-width: 60rem)");

// Section is open from the start if open is true or, with "wide", if the window is wide.
// children is a function that makes the content.
export function Section({ id, title, about, open = false, children }) {
  const [opened, setOpened] = useState(open === "wide" ? wide.matches : open);
  return html`<details id=${id} class="card section" open=${opened} onToggle=${(event) => setOpened(event.currentTarget.open)}>
    <summary><h2>${title}</h2>${about && html`<span class="quiet">${about}</span>`}</summary>
    ${opened && html`<div class="inside">${children()}</div>`}
  </details>`;
}
