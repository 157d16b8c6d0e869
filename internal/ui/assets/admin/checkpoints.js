// What protects the audit log against tampering, in words.

import { useEffect, useState } from "preact/hooks";

import { Alert, Copy, html, useAction } from "../components.js";
import { exact } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/audit.js";

async function read() {
  let count = 0;
  let last = null;
  for await (const { checkpoints } of client.pages("/v1/audit/checkpoints", { limit: 1_000 })) {
    count += checkpoints.length;
    last = checkpoints.at(-1) ?? last;
  }
  return { count, last };
}

export function Checkpoints() {
  const [state, setState] = useState(null);
  const act = useAction();
  useEffect(() => {
    act.run(async () => setState(await read()));
  }, []);
  const last = state?.last;
  const command = last?.signature ? texts.howSigned : texts.howUnsigned;
  return html`<section class="card" id="checkpoints" aria-labelledby="checkpoints-title"><h2 id="checkpoints-title">${texts.sealed}</h2>
    <${Alert} id="checkpoints-problem">${act.problem}<//>
    <p class="quiet">${texts.chained}</p>
    ${state && !last && html`<p>${texts.noCheckpoint}</p>`}
    ${last && html`<p>${texts.checkpoints(state.count)} ${texts.last(last.sequence, exact(last.time))} ${last.signature ? texts.signed(last.key) : texts.unsigned}</p>`}
    <p class="quiet">${texts.how}</p><p class="secret"><code>${command}</code> <${Copy} text=${command} /></p>
  </section>`;
}
