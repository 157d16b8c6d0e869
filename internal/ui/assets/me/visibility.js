// Who sees how much of the user: the rules in words.

import { useCallback, useEffect, useState } from "preact/hooks";

import { Alert, Field, html, toast, useAction } from "../components.js";
import { client, may } from "../session.js";
import texts from "../texts/me.js";
import { Section } from "./section.js";

const PATH = "/v1/users/me/visibility";
const MOST_SUGGESTED = 30;

export function Visibility({ me, people }) {
  return html`<${Section} id="visibility" title=${texts.visibility}>${() => html`<${Rules} me=${me} people=${people} />`}<//>`;
}

function Rules({ me, people }) {
  const [rules, setRules] = useState(null); // with the ETag that they were read with
  const act = useAction();
  const read = useCallback(async () => setRules(await answer(await client.fetch("GET", PATH))), []);
  useEffect(() => {
    act.run(read);
  }, []);
  const save = (changed) => act.run(async () => {
    const { everyone, groups, watchers, etag } = { ...rules, ...changed };
    try {
      setRules(await answer(await client.fetch("PUT", PATH, { body: { everyone, groups, watchers }, headers: { "If-Match": etag } })));
    } catch (err) {
      if (err.status !== 412) throw err;
      await read();
      throw new Error(texts.visibilityChanged);
    }
    toast(texts.visibilitySaved);
  });
  const fixed = act.busy || !may(me, "contact:write");
  return html`<${Alert} id="visibility-problem">${act.problem}<//>
    ${rules && html`<fieldset id="everyone"><legend>${texts.everyone}</legend>
      ${Object.entries(texts.levels).map(([level, words]) => html`<label><input type="radio" name="everyone" value=${level} checked=${rules.everyone === level} disabled=${fixed} onChange=${() => save({ everyone: level })} />${words}</label>`)}
    </fieldset>
    <h3>${texts.exceptions}</h3>
    <${Exceptions} rules=${rules} people=${people} fixed=${fixed} save=${save} />
    ${may(me, "contact:write") && html`<${NewException} rules=${rules} people=${people} busy=${act.busy} save=${save} />`}
    <p class="quiet">${texts.truth}</p>`}`;
}

async function answer(response) {
  return { ...(await response.json()), etag: response.headers.get("ETag") };
}

function Exceptions({ rules, people, fixed, save }) {
  const all = [
    ...Object.entries(rules.groups).map(([group, level]) => ({ kind: "groups", key: group, level, who: texts.group(group) })),
    ...Object.entries(rules.watchers).map(([user, level]) => ({ kind: "watchers", key: user, level, who: people.name(user) })),
  ];
  if (!all.length) return html`<p class="quiet">${texts.noExceptions}</p>`;
  const remove = ({ kind, key }) => save({ [kind]: Object.fromEntries(Object.entries(rules[kind]).filter(([k]) => k !== key)) });
  return html`<ul id="exceptions" class="rows">${all.map((rule) => html`<li key=${rule.kind + rule.key}><span>${texts.exception(rule.who, texts.levels[rule.level])}</span>
    <button type="button" class="small" disabled=${fixed} aria-label=${texts.removeException(rule.who)} onClick=${() => remove(rule)}>${texts.end}</button></li>`)}</ul>`;
}

// NewException takes a person's address or the name of a group: groups have no @.
function NewException({ rules, people, busy, save }) {
  const [who, setWho] = useState("");
  const [level, setLevel] = useState("status");
  const submit = async (event) => {
    event.preventDefault();
    const [kind, name] = [who.includes("@") ? "watchers" : "groups", who.trim()];
    if (name && (await save({ [kind]: { ...rules[kind], [name]: level } }))) setWho("");
  };
  return html`<form id="exception" autocomplete="off" onSubmit=${submit}>
    <div class="fields">
      <${Field} id="exception-who" label=${texts.who} hint=${texts.whoHint}><input id="exception-who" type="text" required list="people-suggested" value=${who} onFocus=${() => people.ready().catch(() => {})} onInput=${(event) => setWho(event.target.value)} /><//>
      <${Field} id="exception-level" label=${texts.sees}><select id="exception-level" value=${level} onChange=${(event) => setLevel(event.target.value)}>${Object.entries(texts.levels).map(([value, words]) => html`<option value=${value}>${words}</option>`)}</select><//>
    </div>
    <datalist id="people-suggested">${people.find(who, MOST_SUGGESTED).map((person) => html`<option value=${person.email}>${person.name}</option>`)}</datalist>
    <button type="submit" disabled=${busy}>${texts.addException}</button>
  </form>`;
}
