// The page /docs/start: from the reference to the HTTP task of a workflow engine, in steps.

import { useEffect, useState } from "preact/hooks";

import { mount } from "./app.js";
import { Alert, Copy, Empty, Field, html } from "./components.js";
import { Credentials, load } from "./reference/credentials.js";
import { search } from "./reference/document.js";
import { Answer, Body, Method, Parameters, useSending } from "./reference/operation.js";
import { Prose } from "./reference/prose.js";
import { build, initial, JSON_TYPE } from "./reference/request.js";
import { task } from "./reference/task.js";
import { client } from "./session.js";
import reference from "./texts/reference.js";
import texts from "./texts/start.js";

const SHOWN = 6;

function Start({ me, again }) {
  const [loaded, setLoaded] = useState(null);
  const [problem, setProblem] = useState("");
  const [op, setOp] = useState(null);
  useEffect(() => {
    load().then(setLoaded, (err) => setProblem(texts.loadFailed(err.message)));
  }, []);

  return html`<header><h1>${texts.title}</h1></header><p>${texts.intro}</p><${Alert}>${problem}<//>
    ${loaded && html`<${Step} n=${1} name="credentials"><${Credentials} scheme="bearer" me=${me} again=${again} /><//>
      <${Step} n=${2} name="search"><${Find} all=${loaded.all} chosen=${op} onChoose=${(found) => setOp(asTask(found))} /><//>
      ${op ? html`<${Prepare} key=${op.id} doc=${loaded.doc} op=${op} />` : html`<p class="quiet">${texts.chooseFirst}</p>`}`}`;
}

// asTask leaves an operation the kinds of body that engines send: JSON, if there is that.
function asTask(op) {
  const json = op.body?.types[JSON_TYPE];
  return json ? { ...op, body: { ...op.body, types: { [JSON_TYPE]: json } } } : op;
}

function Step({ n, name, children }) {
  const id = "step-" + name;
  return html`<section class="card step" aria-labelledby=${id}><h2 id=${id}>${texts.step(n, texts.steps[name])}</h2>${children}</section>`;
}

function Find({ all, chosen, onChoose }) {
  const [query, setQuery] = useState(texts.firstQuery);
  const found = search(all.filter((o) => o.sent && o.scheme === "bearer"), query).slice(0, SHOWN);
  return html`<${Field} id="find" label=${texts.searchLabel}><input id="find" type="search" value=${query} onInput=${(event) => setQuery(event.target.value)} /><//>
    ${found.length === 0 && html`<${Empty}>${texts.nothing}<//>`}
    <ul class="rows found">${found.map((o) => html`<li key=${o.id}><button type="button" class="plain" data-operation=${o.id} aria-pressed=${o.id === chosen?.id ? "true" : "false"} onClick=${() => onChoose(o)}><${Method} name=${o.method} /> ${o.summary}</button><code class="quiet">${o.path}</code></li>`)}</ul>
    <p role="status">${chosen && texts.chosen(chosen.summary)}</p>`;
}

// Prepare has the steps that need an operation.
function Prepare({ doc, op }) {
  const [values, setValues] = useState(() => initial(doc, op));
  const [fromInput, setFromInput] = useState(true);
  const sending = useSending();
  const request = build(op, values, location.origin);
  const submit = (event) => {
    event.preventDefault();
    sending.start(request, { bearer: client.token });
  };
  const text = JSON.stringify(task(op, request, fromInput), null, 2);
  const status = sending.answer?.status;
  return html`<form autocomplete="off" onSubmit=${submit}>
    <${Step} n=${3} name="prepare"><div class="prose"><${Prose} text=${op.description} /><p><a href=${"/docs#" + op.id}>${texts.inReference}</a></p></div>
      <${Parameters} doc=${doc} op=${op} values=${values.parameters} onChange=${(parameters) => setValues({ ...values, parameters: { ...values.parameters, ...parameters } })} />
      <${Body} doc=${doc} op=${op} values=${values} onChange=${(body) => setValues({ ...values, ...body })} /><//>
    <${Step} n=${4} name="test"><p><button id="send" type="submit" class="main" disabled=${sending.busy}>${reference.send}</button></p><${Answer} sending=${sending} /><//>
  </form>
  <${Step} n=${5} name="copy"><p class="quiet">${!status ? texts.testFirst : status < 400 ? texts.worked : texts.failed(status)}</p>
    ${op.path.includes("{") && html`<p><label><input id="from-input" type="checkbox" checked=${fromInput} onChange=${(event) => setFromInput(event.target.checked)} /> ${texts.fromInput}</label></p>`}
    <pre id="task" tabindex="0" aria-label=${texts.task}><code>${text}</code></pre>
    <p class="row"><${Copy} text=${text} label=${texts.copyTask} /></p>
    <p class="quiet">${texts.replace} <a href="/help/guides/workflow">${texts.guide}</a></p><//>`;
}

mount(Start, { open: true });
