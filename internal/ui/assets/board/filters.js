// The controls above the people: what is searched for, who is shown and in which order.

import { useEffect, useRef } from "preact/hooks";

import { html } from "../components.js";
import texts from "../texts/board.js";
import { cleared, narrowed } from "./query.js";

// Filters calls onChange(query, typed): typed is whether the change is one of many that belong
// together. groups are the names to choose from; counts are of arrange.
export function Filters({ query, groups, counts, total, hasContacts, onChange }) {
  const search = useRef(null);
  useEffect(() => {
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const writing = event.target.closest?.("input, select, textarea");
      if (event.key === "/" && !writing) {
        event.preventDefault();
        search.current.focus();
        search.current.select();
      }
      if (event.key === "Escape" && narrowed(query)) {
        event.preventDefault();
        onChange(query.text ? { ...query, text: "" } : cleared(query));
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  });
  const toPeople = (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    document.querySelector("#people [tabindex='0']")?.focus();
  };
  const set = (name) => (event) => onChange({ ...query, [name]: event.target.value });
  return html`<form class="filters" role="search" autocomplete="off" onSubmit=${(event) => event.preventDefault()}>
    <div class="field find"><label for="search">${texts.search}</label>
      <input id="search" ref=${search} type="search" autocomplete="off" spellcheck="false" placeholder=${texts.searchHint} value=${query.text}
        aria-keyshortcuts="/" onKeyDown=${toPeople} onInput=${(event) => onChange({ ...query, text: event.target.value }, true)} /></div>
    <fieldset id="states"><legend>${texts.show}</legend>
      ${["", "available", "busy", "away", "offline"].map((state) => html`<button type="button" key=${state} data-state=${state} aria-pressed=${String(query.status === state)}
        onClick=${() => onChange({ ...query, status: state })}>${state ? texts.kinds[state] : texts.everyone} <span class="count">${state ? counts[state] : total}</span></button>`)}
      ${hasContacts && html`<button type="button" id="contacts-only" aria-pressed=${String(query.contacts)} onClick=${() => onChange({ ...query, contacts: !query.contacts })}>${texts.contactsOnly}</button>`}
    </fieldset>
    <div class="choices">${!query.only && html`<div class="field"><label for="group">${texts.group}</label>
      <select id="group" disabled=${!groups.length && !query.group} value=${query.group} onChange=${set("group")}>
        <option value="">${texts.allGroups}</option>
        ${groups.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        ${query.group && !groups.includes(query.group) && html`<option value=${query.group}>${query.group}</option>`}
      </select></div>`}
    <${Choice} id="by" label=${texts.by} options=${texts.sections} value=${query.by} onChange=${set("by")} />
    <${Choice} id="sort" label=${texts.sort} options=${texts.sorts} value=${query.sort} onChange=${set("sort")} /></div>
  </form>`;
}

function Choice({ id, label, options, value, onChange }) {
  return html`<div class="field"><label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${onChange}>${Object.entries(options).map(([key, text]) => html`<option key=${key} value=${key}>${text}</option>`)}</select></div>`;
}
