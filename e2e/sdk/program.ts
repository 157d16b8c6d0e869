// A program that uses every call of the JavaScript SDK. tsc --strict checks and compiles it;
// then it runs against the demo.
import assert from "node:assert/strict";
import { env, stdout } from "node:process";

import { Client, NoResponse, Porchlight, Problem, clientCredentials, type Presence, type Status, type WatchEvent } from "@porchlight/client";

const { PORCHLIGHT_URL: url = "", PORCHLIGHT_TOKEN: token = "", PORCHLIGHT_ACCOUNT_ID: accountId = "", PORCHLIGHT_CLIENT_ID: clientId = "", PORCHLIGHT_CLIENT_SECRET: clientSecret = "" } = env;
const ada = "ada.okafor@example.com";
const porchlight = new Porchlight({ url, token: clientCredentials({ url, accountId, clientId, clientSecret }) });

// Statuses, notes and claims.
const shown: Presence = await porchlight.setStatus(ada, "busy", { note: "Writing", seconds: 5400 });
assert.equal(shown.status, "busy");
assert.equal((await porchlight.presence(ada, { atLeast: shown.cursor })).note, "Writing");
const { claim, why } = await porchlight.setClaim(ada, "meeting-1", { source: "meeting", status: "in_meeting", until: new Date(Date.now() + 60_000) });
assert.equal(claim?.source, "meeting");
assert.ok(why);
const ids: string[] = [];
for await (const each of porchlight.claims(ada)) ids.push(each.id);
assert.deepEqual(ids.sort(), ["manual", "meeting-1"]);
const cursors: (string | undefined)[] = [await porchlight.endClaim(ada, "meeting-1"), await porchlight.clearStatus(ada)];
assert.equal((await porchlight.setNote(ada, "In Türkiye 😀")).note, "In Türkiye 😀");
cursors.push(await porchlight.clearNote(ada));
assert.equal((await porchlight.presence(ada, { strong: true })).note, "");
for (const cursor of cursors) {
  assert.ok(cursor);
  assert.deepEqual((await porchlight.query([ada], { strong: true, atLeast: cursor })).unknown, []);
  for await (const each of porchlight.list({ atLeast: cursor })) assert.ok(each.user);
}
const forged = await porchlight.presence(ada, { atLeast: "forged" }).catch((err: unknown) => err);
assert.ok(forged instanceof Problem && forged.code === "cursor-invalid");

// Users by e-mail address, many users, lists.
const user = await porchlight.user(ada);
assert.equal(user.email, ada);
const { presences, unknown } = await porchlight.query([user.id, ada, "nobody@example.com"]);
assert.deepEqual(presences.map((p) => p.user), [user.id, user.id]);
assert.deepEqual(unknown, ["nobody@example.com"]);
const listed: Status[] = [];
for await (const each of porchlight.list({ status: ["available", "busy"] })) listed.push(each.status);
assert.ok(listed.length > 0 && listed.every((status) => status === "available" || status === "busy"));
assert.ok((await porchlight.me()).account_level);

// Zoom's calls. The second update within a minute is a repetition neither of the first nor
// allowed, and there is no time to wait for it.
await porchlight.setZoomStatus(ada, "Do_Not_Disturb", { minutes: 20 });
assert.equal((await porchlight.zoomStatus(ada)).status, "Do_Not_Disturb");
const impatient = new Porchlight({ url, token, retryFor: 0 });
const limited = await impatient.setZoomStatus(ada, "Away").catch((err: unknown) => err);
assert.ok(limited instanceof Problem && limited.status === 429 && limited.code === "429" && limited.retryAfter > 1_000);

// Errors.
const missing = await porchlight.presence("nobody@example.com").catch((err: unknown) => err);
assert.ok(missing instanceof Problem && missing.code === "user-not-found" && !missing.temporary && missing.document.what_to_do);
const nowhere = await new Porchlight({ url: "http://127.0.0.1:1", token, retryFor: 0 }).me().catch((err: unknown) => err);
assert.ok(nowhere instanceof NoResponse);
const stopped = AbortSignal.abort();
await assert.rejects(porchlight.me({ signal: stopped }), { name: "AbortError" });

// A token that the server refuses is replaced once.
const asked: (string | undefined)[] = [];
const renewing = new Porchlight({ url, token: (refused) => { asked.push(refused); return refused ? token : "stale"; } });
assert.ok((await renewing.me()).account);
assert.deepEqual(asked, [undefined, "stale"]);

// A watch: what is now, a change, its resumption, and its end.
const abort = new AbortController();
const watch = porchlight.watch({ users: [ada, "nobody@example.com"], signal: abort.signal });
const seen: string[] = [];
const describe = (event: WatchEvent): string => {
  switch (event.type) {
    case "snapshot": return `snapshot of ${event.presences.length}, unknown ${event.unknown.join()}`;
    case "presence": return `${event.note} ${event.revision > 0}`;
    case "gone": return `gone ${event.reason}`;
  }
};
await assert.rejects(async () => {
  for await (const event of watch) {
    seen.push(describe(event));
    if (event.type === "snapshot") void porchlight.setStatus(ada, "busy", { note: "first" });
    else abort.abort();
  }
}, { name: "AbortError" });
await porchlight.setStatus(ada, "busy", { note: "second" });
for await (const event of porchlight.watch({ users: [ada, "nobody@example.com"], cursor: watch.cursor })) {
  seen.push(describe(event));
  if (event.type === "presence" && event.note === "second") break;
}
assert.deepEqual(seen.filter((text) => !text.startsWith("first")), ["snapshot of 1, unknown nobody@example.com", "second true"]);
await assert.rejects(async () => {
  for await (const event of new Porchlight({ url, token: "stale" }).watch({ everyone: true })) void event;
}, (err: unknown) => err instanceof Problem && err.code === "invalid-token");

// The pages' client, for other routes.
const groups = await new Client({ url, token }).get<{ groups: { name: string }[] }>("/v1/groups");
assert.ok(groups.groups.length > 0);

// What the types refuse.
// @ts-expect-error: offline cannot be claimed
void (() => porchlight.setStatus(ada, "offline"));
// @ts-expect-error: a user is text
void (() => porchlight.presence(7));
// @ts-expect-error: Zoom's words have capitals
void (() => porchlight.setZoomStatus(ada, "away"));

stdout.write("done\n");
