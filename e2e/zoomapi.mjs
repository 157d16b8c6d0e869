// Runs zoomapi, a client from npm, against another server, and prints the results as one
// line of JSON. It reads URL, ACCOUNT_ID, CLIENT_ID and CLIENT_SECRET from the environment.
//
// The client's hosts are fixed, so https.request sends what is for zoom.us and
// api.zoom.us to URL; nothing else of a request changes.
import http from 'node:http';
import https from 'node:https';
import { createRequire } from 'node:module';

const base = new URL(process.env.URL);
https.request = (options, done) => {
  if (options.hostname !== 'zoom.us' && options.hostname !== 'api.zoom.us') {
    throw new Error(`a request to ${options.hostname}`);
  }
  return http.request({ ...options, hostname: base.hostname, port: base.port }, done);
};
const zoom = createRequire(import.meta.url)('zoomapi').default({
  accountId: process.env.ACCOUNT_ID,
  oauthClientId: process.env.CLIENT_ID,
  oauthClientSecret: process.env.CLIENT_SECRET,
});
const refused = (call) => call().then(
  () => 'no error',
  (err) => `${err.httpStatusCode}/${err.errorCode} ${err.message}`,
);

const { users } = zoom;
const user_info = { email: 'npm@example.com', type: 1, first_name: 'Node', last_name: 'User' };
const created = await users.CreateUser({ action: 'create', user_info });
const again = await refused(() => users.CreateUser({ action: 'create', user_info }));
await users.UpdateUser('npm@example.com', { login_type: 100 }, { first_name: 'Noddy', last_name: 'User' });
const read = await users.GetUser(created.id, { login_type: 100 });
const emails = [];
let page;
let number = 0;
do { // by the number of the page, as older clients do
  page = await users.ListUsers({ page_size: 8, page_number: ++number, status: 'active' });
  emails.push(...page.users.map((u) => u.email));
} while (number < page.page_count);
const presence = await refused(() => users.UpdatePresenceStatus(created.id, { status: 'Away' }));
await users.DeleteUser(created.id, { action: 'disassociate', transfer_meeting: false });
const gone = await refused(() => users.GetUser('npm@example.com'));
console.log(JSON.stringify({
  created, again, read, pages: number, listed: emails.length, distinct: new Set(emails).size, total: page.total_records, presence, gone,
}));
