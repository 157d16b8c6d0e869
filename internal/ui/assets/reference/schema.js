// What a body or an answer has in it, member by member.

import { html } from "../components.js";
import texts from "../texts/reference.js";
import { limits, resolve, typeName } from "./document.js";
import { Words } from "./prose.js";

const DEEPEST = 6; // a schema can contain itself

// Schema shows the members of an object, or what else it is.
export function Schema({ doc, schema, depth = 0 }) {
  const s = resolve(doc, schema);
  const one = s.oneOf ?? s.anyOf;
  if (one) return html`<ul class="either">${one.map((o) => html`<li><code>${typeName(doc, o)}</code>${inside(doc, o, depth)}</li>`)}</ul>`;
  if (s.type === "array") return html`<${Schema} doc=${doc} schema=${s.items} depth=${depth} />`;
  if (!s.properties) return html`<p class="quiet"><code>${typeName(doc, schema)}</code> <${Words} text=${s.description} /></p>`;
  return html`<dl class="members">${Object.entries(s.properties).map(([name, member]) => html`<${Member} key=${name} doc=${doc} name=${name} schema=${member} required=${s.required?.includes(name)} depth=${depth} />`)}</dl>`;
}

function Member({ doc, name, schema, required, depth }) {
  const s = resolve(doc, schema);
  return html`<div><dt><code>${name}</code> <span class="quiet">${typeName(doc, schema)}${required && html`, <strong>${texts.required}</strong>`}</span></dt>
    <dd><${Words} text=${s.description} /> <span class="quiet">${limits(s)}</span>
    ${s.enum && html`<p class="values">${s.enum.map((v) => html`<code>${String(v)}</code> `)}</p>`}
    ${inside(doc, schema, depth)}</dd></div>`;
}

// inside shows what a member has, once it is opened.
function inside(doc, schema, depth) {
  const s = resolve(doc, schema);
  const item = s.type === "array" ? resolve(doc, s.items) : s;
  if (depth >= DEEPEST || !(item.properties || item.oneOf || item.anyOf)) return null;
  return html`<details><summary>${texts.members}</summary><${Schema} doc=${doc} schema=${item} depth=${depth + 1} /></details>`;
}
