// The watches that have fired, until the user dismisses them.

import { useCallback, useRef, useState } from "preact/hooks";

import { html } from "../components.js";
import { clock, word } from "../look.js";
import texts from "../texts/me.js";
import { notify } from "./badge.js";

// useFired is { list, add(watch), dismiss(id) }. A watch that fires at once is in the answer
// to its creation and on the stream, so add ignores one that it knows.
export function useFired(people, onFired) {
  const [list, setList] = useState([]);
  const known = useRef(new Set());
  const add = useCallback(async (watch) => {
    if (known.current.has(watch.id)) return;
    known.current.add(watch.id);
    onFired(watch);
    setList((l) => [...l, watch]);
    await people.ready().catch(() => {}); // without names, the id is shown
    notify(texts.firedTitle(people.name(watch.user), word(watch.status)), watch.id);
  }, []);
  return { list, add, dismiss: (id) => setList((l) => l.filter((w) => w.id !== id)) };
}

export function Fired({ fired, people }) {
  return html`<div id="fired" role="status" class="stack">${fired.list.map((w) => html`<p key=${w.id} class="notice spread">
    <span>${texts.fired(people.name(w.user), word(w.status), clock(w.fired))}</span>
    <button type="button" class="small" onClick=${() => fired.dismiss(w.id)}>${texts.dismiss}</button>
  </p>`)}</div>`;
}
