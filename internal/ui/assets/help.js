// The search of the pages below /help. Their text comes from the server and needs no script.

import { render } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";

import { showLinks } from "./app.js";
import { Alert, html } from "./components.js";
import { find } from "./help/find.js";
import { client } from "./session.js";
import texts from "./texts/help.js";

function Search() {
  const [query, setQuery] = useState("");
  const [index, setIndex] = useState(null);
  const [problem, setProblem] = useState("");
  const asked = useRef(null);
  const load = () => {
    if (!index && !asked.current) asked.current = client.get("/help/index.json").then(setIndex, (err) => setProblem(texts.failed(err.message)));
  };
  const type = (event) => {
    load();
    setQuery(event.target.value);
  };
  const found = useMemo(() => (index ? find(index, query) : []), [index, query]);
  return html`<form role="search" class="search" onSubmit=${(event) => event.preventDefault()}>
    <input id="help-search" type="search" aria-label=${texts.search} placeholder=${texts.search} value=${query} onFocus=${load} onInput=${type} />
    <${Alert}>${problem}<//>
    ${index && query.trim() && html`<div class="results"><p class="quiet" role="status">${texts.found(found.length)}</p>
      <ul>${found.map(({ page, section, excerpt }) => html`<li key=${page.name + section.id}><a href=${`/help/${page.name}#${section.id}`} onClick=${() => setQuery("")}><span class="name">${section.heading}</span> <span class="quiet">${page.title}</span>
        <span class="excerpt">${excerpt[0]}<mark>${excerpt[1]}</mark>${excerpt[2]}</span></a></li>`)}</ul></div>`}
  </form>`;
}

showLinks(undefined);
render(html`<${Search} />`, document.getElementById("search"));
