// The state of a subscription: shape, word and colour, and what it means.

import { html } from "../components.js";
import { ago } from "../look.js";
import { client } from "../session.js";
import texts from "../texts/subscriptions.js";

// stateOf names the state of a subscription. delivery is what the API says about how far the
// delivery is, if that is known.
export function stateOf(subscription, delivery) {
  if (subscription.disabled) return "disabled";
  if (subscription.paused) return "paused";
  if (delivery?.down) return "down";
  if (subscription.failures > 0) return "failing";
  if (!subscription.url) return delivery && !delivery.attached ? "waiting" : "active";
  if (delivery?.pending > 0) return "retrying";
  return delivery?.behind ? "behind" : "active";
}

// needsAttention reports whether somebody has to repair something.
export function needsAttention(state) {
  return ["disabled", "down", "failing"].includes(state);
}

const tones = { active: "good", disabled: "bad", down: "bad", failing: "bad" };

export function State({ state }) {
  return html`<span class="tag ${tones[state] ?? ""}" data-state=${state}>${texts.marks[state]} ${texts.states[state]}</span>`;
}

// Explained is the state in a sentence.
export function Explained({ subscription, delivery, state }) {
  return html`<p id="explained">${texts.explained[state](subscription, delivery ?? {}, (time) => ago(time))}</p>
    ${delivery?.replaying && html`<p>${texts.replaying}</p>`}
    ${delivery?.oldest && ["down", "behind", "disabled", "paused"].includes(state) && html`<p class="quiet">${texts.oldest(ago(delivery.oldest))}</p>`}`;
}

const AT_A_TIME = 4;

// readStates returns the states of subscriptions by their ids.
export async function readStates(subscriptions) {
  const states = {};
  const waiting = [...subscriptions];
  const readNext = async () => {
    for (let s = waiting.shift(); s; s = waiting.shift()) {
      const { state } = await client.get(`/v1/subscriptions/${s.id}/deliveries`, { limit: 1 });
      states[s.id] = stateOf(s, state);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, readNext));
  return states;
}

// readSubscriptions returns all subscriptions of the account.
export async function readSubscriptions() {
  const all = [];
  for await (const page of client.pages("/v1/subscriptions", { limit: 1_000 })) all.push(...page.subscriptions);
  return all;
}
