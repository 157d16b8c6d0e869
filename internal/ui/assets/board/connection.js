// Whether what is shown is live, in words.

import { html } from "../components.js";
import { clock } from "../look.js";
import texts from "../texts/common.js";

// Connection shows state, which is that of a Stream, and when anything was last heard.
export function Connection({ state, stale, heard }) {
  const words = texts.states[state] + (stale ? " " + texts.lastUpdate(clock(heard)) : "");
  return html`<p id="connection" role="status" data-state=${state}>${words}</p>`;
}
