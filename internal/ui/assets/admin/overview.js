// The page /admin: the account at a glance, and what needs attention.

import { useEffect, useState } from "preact/hooks";

import { Alert, html, Status, useAction } from "../components.js";
import { ago, marks } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/overview.js";
import { countList } from "./count.js";
import { isOld } from "./measurements.js";
import { usePolling } from "./polling.js";
import { needsAttention, readStates, readSubscriptions } from "./substate.js";
import { expiresSoon } from "./tokenlist.js";

const EVERY = 60_000; // ms
const SHOWN_TOKENS = 5;

async function readNumbers({ scopes }) {
  const statuses = {};
  const expiring = [];
  const may = (scope) => scopes.includes(scope);
  const [users, apps, tokens] = await Promise.all([
    countList("/v1/users", "users"),
    countList("/v1/apps", "apps"),
    countList("/v1/tokens", "tokens", { onPage: (page) => expiring.push(...page.filter((t) => expiresSoon(t))) }),
    may("presence:read:admin") && countList("/v1/presence", "presences", { onPage: (page) => page.forEach((u) => (statuses[u.status] = (statuses[u.status] ?? 0) + 1)) }),
  ]);
  const subscriptions = may("subscription:read:admin") ? await readSubscriptions() : [];
  const { server } = await client.get("/v1/health");
  return { users, apps, tokens, statuses, expiring, subscriptions, server, states: await readStates(subscriptions) };
}

export default function Overview({ me }) {
  const [account, setAccount] = useState(null);
  const act = useAction();
  const { data, problem } = usePolling(() => readNumbers(me), EVERY);
  useEffect(() => {
    act.run(async () => setAccount(await client.get("/v1/account")));
  }, []);
  return html`<header><h1>${account?.name || texts.title}</h1>
      <p class="quiet">${!account ? "\u00a0" : html`${account.plan ? texts.plan(account.plan) : texts.planOfServer} · <code>${account.id}</code>`}</p></header>
    <${Alert}>${act.problem || problem}<//>
    <${Numbers} data=${data} limits=${account?.limits ?? {}} />
    <div class="halves"><${Attention} data=${data} /><${Now} data=${data} /></div>
    <section class="card" aria-labelledby="quick-title"><h2 id="quick-title">${texts.quick}</h2>
      <ul class="plain-list shortcuts">${texts.links.map(([href, label]) => html`<li key=${href}><a href=${href}>${label}</a></li>`)}</ul></section>`;
}

function Numbers({ data, limits }) {
  const online = data && Object.entries(data.statuses).reduce((sum, [status, n]) => sum + (status === "offline" ? 0 : n), 0);
  const numbers = [
    [texts.users, "/admin/users", data?.users, limits.users],
    [texts.online, "/", data && { count: online }],
    [texts.apps, "/admin/apps", data?.apps, limits.apps],
    [texts.tokens, "/admin/tokens", data?.tokens],
    [texts.subscriptions, "/admin/subscriptions", data && { count: data.subscriptions.length }, limits.subscriptions],
  ];
  return html`<ul class="numbers">${numbers.map(([label, href, number, most]) => html`<li key=${label}><a class="card" href=${href}><span class="quiet">${label}</span><strong>${number ? shown(number, most) : "–"}</strong></a></li>`)}</ul>`;
}

function shown({ count, more }, most) {
  const n = more ? texts.atLeast(count) : String(count);
  return most ? texts.of(n, most) : n;
}

// Attention lists what somebody has to repair, with links to it.
function Attention({ data }) {
  const list = data ? [...serverTroubles(data.server), ...subscriptionTroubles(data), ...tokenTroubles(data.expiring)] : [];
  return html`<section class="card" id="attention" aria-labelledby="attention-title"><h2 id="attention-title">${texts.attention}</h2>
    ${!data && html`<p class="quiet">${texts.reading}</p>`}
    ${data && !list.length && html`<p class="quiet">✓ ${texts.nothing}</p>`}
    <ul class="rows">${list.map(([text, href]) => html`<li key=${text}><span>▲ ${text}</span><a href=${href}>${texts.show}</a></li>`)}</ul></section>`;
}

// serverTroubles are those of a server that belongs to the account alone.
function serverTroubles(server) {
  if (!server) return [];
  const { backup, reason } = server;
  return [
    reason && texts.notReady(reason),
    !backup && texts.noBackup,
    backup && isOld(backup) && texts.oldBackup(ago(backup.time)),
  ].filter(Boolean).map((text) => [text, "/admin/health"]);
}

function subscriptionTroubles({ subscriptions, states }) {
  return subscriptions.filter((s) => needsAttention(states[s.id])).map((s) => [texts[states[s.id]](s.name || s.url || s.id), "/admin/subscriptions/" + s.id]);
}

function tokenTroubles(expiring) {
  const soonest = expiring.toSorted((a, b) => new Date(a.expires) - new Date(b.expires));
  const named = soonest.slice(0, SHOWN_TOKENS).map((t) => [texts.expiring(t.name || texts.unnamed, ago(t.expires)), "/admin/tokens?app=" + encodeURIComponent(t.app)]);
  const others = soonest.length - named.length;
  return others > 0 ? [...named, [texts.expiringMore(others), "/admin/tokens"]] : named;
}

// Now is how many people show each status.
function Now({ data }) {
  const total = data ? Object.values(data.statuses).reduce((a, b) => a + b, 0) : 0;
  return html`<section class="card" id="now" aria-labelledby="now-title"><h2 id="now-title">${texts.now}</h2>
    ${data && !total && html`<p class="quiet">${texts.noUsers}</p>`}
    <ul class="statuses">${data && Object.keys(marks).filter((status) => data.statuses[status]).map((status) => html`<li key=${status}>
      <${Status} status=${status} /><span class="bar" aria-hidden="true" style=${{ width: `${(100 * data.statuses[status]) / total}%` }}></span><span class="number" title=${texts.statusCount(data.statuses[status])}>${data.statuses[status]}</span></li>`)}</ul></section>`;
}
