// Scopes: the choice of some, and what they open in words.

import { Field, html } from "../components.js";
import texts from "../texts/scopes.js";

const admin = (scope) => scope + ":admin";
const isNative = (name) => name.replace(/:admin$/, "") in texts.scopes;

// reachEverybody are those of the scopes that are for the whole account.
function reachEverybody(scopes) {
  return scopes.filter((name) => /:(admin|master)$/.test(name));
}

// Reach says whether scopes are for everybody.
export function Reach({ scopes }) {
  return reachEverybody(scopes).length ? html`<span class="tag bad">▲ ${texts.all}</span>` : html`<span class="tag">○ ${texts.own}</span>`;
}

// ScopeList is what the scopes of an app or a token open. A scope that another one includes
// is left out.
export function ScopeList({ scopes }) {
  const others = scopes.filter((name) => !isNative(name));
  return html`<ul class="rows scopes">${scopes.filter((name) => isNative(name) && !scopes.includes(admin(name))).map((name) => html`<li key=${name}><span><code>${name}</code></span><span class="quiet">${inWords(name)}</span></li>`)}</ul>
    ${others.length > 0 && html`<details><summary>${texts.others} (${others.length})</summary><p class="quiet">${others.join(", ")}</p></details>`}`;
}

function inWords(name) {
  const scope = texts.scopes[name.replace(/:admin$/, "")];
  return (name.endsWith(":admin") ? scope?.all : scope?.own) ?? "";
}

// ScopePicker is for choosing scopes. value are the names, and onChange gets others. had are
// the scopes of whoever chooses, who can grant no others.
export function ScopePicker({ value, onChange, had }) {
  const set = (scope, form) => onChange([...value.filter((name) => name !== scope && name !== admin(scope)), ...(form ? [form] : [])]);
  const others = value.filter((name) => !isNative(name));
  const wide = reachEverybody(value);
  return html`<${Presets} value=${value} onChange=${onChange} had=${had} />
    <fieldset id="scopes"><legend>${texts.title}</legend>
      <p class="quiet">${texts.hint} <a href="/help/scopes" target="_blank">${texts.more}</a></p>
      <table class="picker"><thead><tr><th scope="col">${texts.scope}</th><th scope="col">${texts.own}</th><th scope="col">${texts.all}</th></tr></thead>
      ${texts.groups.map(([group, scopes]) => html`<tbody key=${group}><tr><th scope="rowgroup" colspan="3">${group}</th></tr>
        ${scopes.map((scope) => html`<${Scope} key=${scope} scope=${scope} value=${value} set=${set} had=${had} />`)}</tbody>`)}</table>
    </fieldset>
    <${Field} id="other-scopes" label=${texts.others} hint=${texts.othersHint}><input id="other-scopes" autocomplete="off" autocapitalize="none" spellcheck="false" aria-describedby="other-scopes-hint"
      value=${others.join(" ")} onChange=${(event) => onChange([...value.filter(isNative), ...event.target.value.split(/[\s,]+/).filter(Boolean)])} /><//>
    ${wide.length > 0 && html`<p class="notice" id="wide-scopes">${texts.reachesAll(wide)}</p>`}`;
}

function Scope({ scope, value, set, had }) {
  const words = texts.scopes[scope];
  const all = value.includes(admin(scope));
  const own = all || value.includes(scope);
  const mayAll = had.includes(admin(scope));
  const mayOwn = mayAll || had.includes(scope);
  return html`<tr title=${mayOwn ? undefined : texts.notHad}>
    <td><code>${scope}</code><span class="quiet">${(all && words.all) || words.own || words.all}</span></td>
    <td>${words.own && html`<input type="checkbox" aria-label=${texts.forOwn(scope)} checked=${own} disabled=${all || !mayOwn} onChange=${(event) => set(scope, event.target.checked && scope)} />`}</td>
    <td><input type="checkbox" aria-label=${texts.forAll(scope)} checked=${all} disabled=${!mayAll} onChange=${(event) => set(scope, event.target.checked ? admin(scope) : words.own && scope)} /></td>
  </tr>`;
}

// Presets are the scopes for common purposes. One is offered to those who can grant it.
function Presets({ value, onChange, had }) {
  const chosen = Object.entries(texts.presets).find(([, [, scopes]]) => scopes.length === value.length && scopes.every((s) => value.includes(s)))?.[0] ?? "";
  const possible = Object.entries(texts.presets).filter(([, [, scopes]]) => scopes.every((s) => !isNative(s) || had.includes(s) || had.includes(admin(s))));
  return html`<${Field} id="preset" label=${texts.preset}><select id="preset" value=${chosen} onChange=${(event) => onChange(texts.presets[event.target.value]?.[1] ?? [])}>
    <option value="">${texts.choose}</option>
    ${possible.map(([name, [label]]) => html`<option key=${name} value=${name}>${label}</option>`)}
  </select><//>`;
}
