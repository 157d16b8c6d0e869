// The page /docs: the reference of the API, from which people send requests.

import { useEffect, useMemo, useState } from "preact/hooks";

import { mount } from "./app.js";
import { Alert, Field, html } from "./components.js";
import { Credentials, load } from "./reference/credentials.js";
import { search } from "./reference/document.js";
import { Method, Operation } from "./reference/operation.js";
import { Prose } from "./reference/prose.js";
import { client } from "./session.js";
import texts from "./texts/reference.js";

function Reference({ me, again }) {
  const [loaded, setLoaded] = useState(null);
  const [problem, setProblem] = useState("");
  const [query, setQuery] = useState("");
  const [others, setOthers] = useState({ system: "", id: "", secret: "" });
  const id = useHash();
  useEffect(() => {
    load().then(setLoaded, (err) => setProblem(texts.loadFailed(err.message)));
  }, []);
  const found = useMemo(() => search(loaded?.all ?? [], query), [loaded, query]);

  if (!loaded) return html`<h1>${texts.title}</h1><${Alert}>${problem}<//>`;
  const op = loaded.all.find((o) => o.id === id);
  return html`<div class="reference">
    <nav class="operations" aria-label=${texts.operations}>
      <${Field} id="search" label=${texts.search}><input id="search" type="search" placeholder=${texts.searchHint} value=${query} onInput=${(event) => setQuery(event.target.value)} /><//>
      <p class="quiet" role="status">${texts.found(found.length)}</p>
      <div class="list"><a href="#" aria-current=${id ? undefined : "page"}>${texts.overview}</a>
      ${groups(loaded.doc, found).map(([tag, list]) => html`<${Group} key=${tag} tag=${tag} list=${list} current=${id} open=${Boolean(query) || list.some((o) => o.id === id)} />`)}</div>
    </nav>
    <div class="shown">${op
      ? html`<${Operation} key=${op.id} doc=${loaded.doc} op=${op} credentials=${{ ...others, bearer: client.token }}>
          <${Credentials} scheme=${op.scheme} me=${me} again=${again} others=${others} onChange=${(o) => setOthers({ ...others, ...o })} />
        <//>`
      : html`<${Overview} doc=${loaded.doc} missing=${id} />`}</div>
  </div>`;
}

// useHash is the operation that the address names.
function useHash() {
  const [hash, setHash] = useState(location.hash.slice(1));
  useEffect(() => {
    const changed = () => {
      setHash(location.hash.slice(1));
      scrollTo(0, 0);
    };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  useEffect(() => {
    if (hash) document.getElementById("operation-title")?.focus({ preventScroll: true });
  }, [hash]);
  return hash;
}

function groups(doc, list) {
  return doc.tags.map(({ name }) => [name, list.filter((op) => op.tag === name)]).filter(([, some]) => some.length);
}

function Group({ tag, list, current, open }) {
  const [opened, setOpened] = useState(open);
  useEffect(() => setOpened(open), [open]);
  return html`<details open=${opened} onToggle=${(event) => setOpened(event.target.open)}><summary>${tag} <span class="quiet">${list.length}</span></summary>
    ${opened && html`<ul>${list.map((op) => html`<li key=${op.id}><a href=${"#" + op.id} title=${op.path} aria-current=${op.id === current ? "page" : undefined}>${op.sent && html`<${Method} name=${op.method} />`} <span>${op.summary}</span></a></li>`)}</ul>`}
  </details>`;
}

function Overview({ doc, missing }) {
  return html`<article><h1>${texts.title}</h1><${Alert}>${missing && texts.gone}<//>
    <div class="manual prose"><${Prose} text=${doc.info.description} />
    <p>${texts.documents} <a href="/docs/openapi.yaml">openapi.yaml</a>, <a href="/docs/openapi.json">openapi.json</a>, <a href="/docs/openapi-3.0.json">openapi-3.0.json</a>.</p>
    <p><a href="/docs/start">${texts.start}</a></p></div></article>`;
}

mount(Reference, { open: true });
