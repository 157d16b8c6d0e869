// One operation: what it does, the form that sends it, the answer, and samples.

import { useEffect, useRef, useState } from "preact/hooks";

import { Alert, Copy, Field, html } from "../components.js";
import texts from "../texts/reference.js";
import { examples, limits, resolve, typeName } from "./document.js";
import { Prose, Words } from "./prose.js";
import { bodyOf, build, initial, isForm, send } from "./request.js";
import { languages } from "./samples.js";
import { Schema } from "./schema.js";

// Method is the method of a request as a coloured word.
export function Method({ name }) {
  return html`<span class="method" data-method=${name}>${name}</span>`;
}

// Operation shows op. credentials are those that requests are sent with, and children is the
// form in which they are entered.
export function Operation({ doc, op, credentials, children }) {
  const [values, setValues] = useState(() => initial(doc, op));
  const sending = useSending();
  const request = build(op, values, location.origin);
  const submit = (event) => {
    event.preventDefault();
    sending.start(request, credentials);
  };
  return html`<article class="operation" aria-labelledby="operation-title">
    <header><h1 id="operation-title" tabindex="-1">${op.summary}</h1></header>
    ${op.sent && html`<p class="route"><${Method} name=${op.method} /> <code>${op.path}</code> <a class="quiet" href=${"#" + op.id} title=${texts.linkHere} aria-label=${texts.linkHere}>#</a></p>`}
    <div class="two">
      <div>
        <div class="manual prose"><${Prose} text=${op.description} /><p class="quiet">${needs(op)}</p></div>
        ${op.sent && html`<form id="request" class="card" autocomplete="off" onSubmit=${submit}>
          <${Parameters} doc=${doc} op=${op} values=${values.parameters} onChange=${(parameters) => setValues({ ...values, parameters: { ...values.parameters, ...parameters } })} />
          <${Body} doc=${doc} op=${op} values=${values} onChange=${(body) => setValues({ ...values, ...body })} />
          ${children}
          <div class="row"><button id="send" type="submit" class="main" disabled=${sending.busy}>${texts.send}</button>
          ${sending.busy && html`<button id="stop" type="button" onClick=${sending.stop}>${texts.stop}</button>`}</div>
        </form>`}
        ${op.body && html`<section><h2>${texts.body}</h2>${op.body.description && html`<${Prose} text=${op.body.description} />`}<${Schema} doc=${doc} schema=${op.body.types[values.type]?.schema} /></section>`}
        <${Responses} doc=${doc} op=${op} />
      </div>
      ${op.sent && html`<div class="beside"><${Answer} sending=${sending} /><${Samples} request=${request} /></div>`}
    </div>
  </article>`;
}

function needs(op) {
  if (!op.sent) return texts.fromServer;
  if (op.scheme === "system") return texts.systemToken;
  if (op.scheme === "app") return texts.appSecret;
  if (!op.scheme) return texts.nobody;
  return op.scopes.length ? html`${texts.scopes} ${op.scopes.map((s) => html`<code>${s}</code> `)}` : texts.anyToken;
}

// ---- The form

// Parameters are the fields for the path, the query and the headers.
export function Parameters({ doc, op, values, onChange }) {
  const show = (p) => html`<${Value} key=${p.name} doc=${doc} id=${"parameter-" + p.name} name=${p.name} schema=${p.schema} description=${p.description} required=${p.required} example=${p.required ? undefined : p.example}
    place=${texts.places[p.in]} value=${values[p.name]} onChange=${(value) => onChange({ [p.name]: value })} />`;
  const headers = op.parameters.filter((p) => p.in === "header" && !p.required);
  const others = op.parameters.filter((p) => !headers.includes(p));
  return html`${others.length > 0 && html`<fieldset><legend>${texts.parameters}</legend>${others.map(show)}</fieldset>`}
    ${headers.length > 0 && html`<details class="more"><summary>${texts.optionalHeaders(headers.length)}</summary>${headers.map(show)}</details>`}`;
}

// Value is a field for a parameter or a member of a form. One that is not chosen from a list can
// have an example.
function Value({ doc, id, name, schema, description, required, example, place, value, onChange }) {
  const s = resolve(doc, schema);
  const options = s.enum ?? (s.type === "boolean" ? ["true", "false"] : null);
  const change = (event) => onChange(event.target.value);
  const label = html`<code>${name}</code> <span class="quiet">${[place, typeName(doc, schema), limits(s), required && texts.required].filter(Boolean).join(", ")}</span>`;
  const words = description ?? s.description;
  const shown = example !== undefined && !options && html` <span class="example">${texts.forExample} <code>${String(example)}</code></span>`;
  return html`<${Field} id=${id} label=${label} hint=${(words || shown) && html`${words && html`<${Words} text=${words} />`}${shown}`}>
    ${options
      ? html`<select id=${id} value=${value} required=${required} aria-describedby=${id + "-hint"} onChange=${change}>${!required && html`<option value="">${texts.notSent}</option>`}${options.map((o) => html`<option value=${String(o)}>${String(o)}</option>`)}</select>`
      : html`<input id=${id} value=${value} required=${required} spellcheck="false" autocapitalize="none" aria-describedby=${id + "-hint"} onInput=${change} />`}
  <//>`;
}

// Body are the fields, or the text, of the body.
export function Body({ doc, op, values, onChange }) {
  if (!op.body) return null;
  const types = Object.keys(op.body.types);
  const media = op.body.types[values.type];
  const given = examples(doc, media);
  return html`<fieldset><legend>${texts.body}</legend>
    ${types.length > 1 && html`<${Field} id="body-type" label=${texts.bodyType}><select id="body-type" value=${values.type} onChange=${(event) => onChange(bodyOf(doc, op, event.target.value))}>${types.map((t) => html`<option value=${t}>${t}</option>`)}</select><//>`}
    ${given.length > 1 && html`<${Field} id="body-example" label=${texts.example}><select id="body-example" onChange=${(event) => onChange(bodyOf(doc, op, values.type, Number(event.target.value)))}>${given.map((e, i) => html`<option value=${i}>${e.name || texts.exampleNumber(i + 1)}</option>`)}</select><//>`}
    ${isForm(values.type)
      ? Object.entries(resolve(doc, media.schema).properties ?? {}).map(([name, schema]) => html`<${Value} key=${values.type + name} doc=${doc} id=${"field-" + name} name=${name} schema=${schema} value=${values.fields[name]}
          onChange=${(value) => onChange({ fields: { ...values.fields, [name]: value } })} />`)
      : html`<div class="field"><label for="body-text">${types.length > 1 ? texts.body : values.type}</label>
        <textarea id="body-text" spellcheck="false" rows=${Math.min(18, Math.max(4, values.text.split("\n").length + 1))} value=${values.text} onInput=${(event) => onChange({ text: event.target.value })}></textarea></div>`}
  </fieldset>`;
}

// ---- Sending

// useSending sends one request at a time. answer is what has arrived of its response.
export function useSending() {
  const [state, setState] = useState({ answer: null, problem: "", busy: false });
  const abort = useRef(null);
  useEffect(() => () => abort.current?.abort(), []);
  const start = async (request, credentials) => {
    abort.current = new AbortController();
    setState({ answer: null, problem: "", busy: true });
    const show = (answer) => setState({ answer, problem: "", busy: !answer.done });
    try {
      await send(request, credentials, abort.current.signal, show);
    } catch (err) {
      setState((s) => ({ answer: s.answer, problem: err.name === "AbortError" ? texts.stopped : texts.failed(err.message), busy: false }));
    }
  };
  return { ...state, start, stop: () => abort.current?.abort() };
}

// Answer is what has arrived of the response.
export function Answer({ sending }) {
  const { answer, problem, busy } = sending;
  if (!answer && !problem && !busy) return null;
  return html`<section id="answer" class="card" aria-labelledby="answer-title">
    <h2 id="answer-title">${texts.response}</h2>
    <p role="status">${answer ? html`<span class=${answer.status < 400 ? "tag good" : "tag bad"}><span id="status">${answer.status}</span> ${answer.words}</span> <span class="quiet">${texts.milliseconds(Math.round(answer.milliseconds))}</span>` : busy && texts.sending}</p>
    <${Alert} id="answer-problem">${problem}<//>
    ${answer && html`<details><summary>${texts.headers(answer.headers.length)}</summary><dl class="headers">${answer.headers.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></details>
      ${answer.text ? html`<pre id="answer-body" tabindex="0"><code>${pretty(answer)}</code></pre>` : answer.done && html`<p class="quiet">${texts.noBody}</p>`}`}
  </section>`;
}

function pretty({ text, headers, done }) {
  const type = headers.find(([name]) => name === "content-type")?.[1] ?? "";
  if (!done || !/[/+]json/.test(type)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // cut off
  }
}

// ---- Samples and answers

const chosen = { language: "curl" }; // kept from one operation to the next

function Samples({ request }) {
  const [language, setLanguage] = useState(chosen.language);
  const choose = (name) => () => {
    chosen.language = name;
    setLanguage(name);
  };
  const text = languages[language](request);
  return html`<section class="samples" aria-labelledby="samples-title"><h2 id="samples-title">${texts.samples}</h2>
    <div class="row languages">${Object.entries(texts.languages).map(([name, word]) => html`<button type="button" class="small" data-language=${name} aria-pressed=${name === language ? "true" : "false"} onClick=${choose(name)}>${word}</button>`)}</div>
    <pre id="sample" tabindex="0"><code>${text}</code></pre>
    <p><${Copy} text=${text} /></p></section>`;
}

function Responses({ doc, op }) {
  return html`<section class="responses"><h2>${texts.responses}</h2>${op.responses.map((r) => html`<details key=${r.status}>
    <summary><span class=${r.status < "4" ? "tag good" : "tag bad"}>${r.status}</span> <${Words} text=${(r.description ?? "").split("\n\n")[0]} /></summary>
    <div class="prose"><${Prose} text=${(r.description ?? "").split("\n\n").slice(1).join("\n\n")} /></div>
    ${Object.entries(r.content ?? {}).map(([type, media]) => html`<h3><code>${type}</code></h3>
      ${(media.example !== undefined || media.examples) && examples(doc, media).map((e) => html`<pre tabindex="0"><code>${typeof e.value === "string" ? e.value : JSON.stringify(e.value, null, 2)}</code></pre>`)}
      ${media.schema && html`<${Schema} doc=${doc} schema=${media.schema} />`}`)}
  </details>`)}</section>`;
}
