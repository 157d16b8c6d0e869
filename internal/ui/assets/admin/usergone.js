// The page of a user who was deleted, or who never was.

import { useEffect, useState } from "preact/hooks";

import { Alert, Confirm, html, Progress, useAction } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/users.js";
import { Erased } from "./userends.js";

const AGAIN = 2_000; // ms, between looks at an erasure that is not done

// Gone shows how far the erasure of a user is, or offers one.
export function Gone({ id }) {
  const [erasure, setErasure] = useState(undefined); // null: there is none
  const [asking, setAsking] = useState(false);
  const act = useAction();
  const path = "/v1/users/" + encodeURIComponent(id);
  const read = () => act.run(async () => setErasure(await client.get(path + "/erasure").catch(none)));
  useEffect(() => {
    if (erasure === undefined) read();
    if (erasure?.state !== "pending") return;
    const timer = setTimeout(read, AGAIN);
    return () => clearTimeout(timer);
  }, [erasure]);
  const erase = async () => setErasure(await client.delete(path, { erase: "true" }));

  return html`<p><a href="/admin/users">← ${texts.back}</a></p>
    <h1>${erasure ? texts.deleted : texts.goneTitle}</h1><p class="quiet"><code>${id}</code></p>
    <${Alert} id="gone-problem">${act.problem}<//>
    ${erasure && html`<${Erasure} erasure=${erasure} />`}
    ${erasure === null && html`<section class="card"><p>${texts.gone}</p>
      <button type="button" id="erase-history" class="danger" onClick=${() => setAsking(true)}>${texts.eraseHistory}</button></section>`}
    ${asking && html`<${Confirm} title=${texts.eraseHistoryTitle} action=${texts.eraseHistory} run=${erase} onClose=${() => setAsking(false)}><${Erased} /><//>`}`;
}

function none(err) {
  if (err.status === 404) return null;
  throw err;
}

function Erasure({ erasure }) {
  const done = erasure.state === "done";
  return html`<section class="card" id="erasure" data-state=${erasure.state} aria-live="polite">
    <p><span class="tag ${done ? "" : "bad"}">${done ? `✓ ${texts.erased}` : `◌ ${texts.erasing}`}</span></p>
    <p>${done ? texts.goneErased(exact(erasure.done)) : texts.goneErasing}</p>
    ${!done && html`<${Progress} label=${texts.erasing} />`}
    <p class="quiet">${texts.requested(exact(erasure.requested))} ${!done && erasure.delay && texts.delayedBy(erasure.delay)}</p>
  </section>`;
}
