// Imports DOCUMENT, an OpenAPI document in a file, as Postman does, and prints the collection.
// The collection authenticates with {{token}}, or as an app with {{clientId}} and
// {{clientSecret}}, and its requests are in an order in which each finds what it needs: what
// creates something comes first, what deletes something last. A request for an object whose
// id only the server knows uses the one that an earlier request of the collection created.
import fs from 'node:fs';
import { createRequire } from 'node:module';

const { convertV2 } = createRequire(import.meta.url)('openapi-to-postmanv2');

const options = {
  requestParametersResolution: 'Example', exampleParametersResolution: 'Example', parametersResolution: 'Example',
  folderStrategy: 'Tags', enableOptionalParameters: false,
};

function convert(data) {
  return new Promise((done, fail) => {
    convertV2({ type: 'string', data }, options, (err, found) => {
      if (err || !found.result) fail(err ?? new Error(found.reason));
      else done(found.output[0].data);
    });
  });
}

// remember keeps the ids of what is created, as variables with the names of the parameters,
// and the token that is issued.
const remember = `
const path = pm.request.url.path;
const created = pm.response.code === 201 || path.join('/') === 'oauth/token' ? pm.response.json() : {};
const kinds = { users: 'user', apps: 'app', groups: 'group', tokens: 'createdToken', sessions: 'session', watches: 'watch',
  subscriptions: 'subscription', 'signage-links': 'link', accounts: 'account', event_subscription: 'eventSubscriptionId' };
const kind = kinds[path.at(-1)];
const id = created.id ?? created.event_subscription_id;
if (kind && id) pm.collectionVariables.set(kind, id);
if (kind === 'link') pm.collectionVariables.set('secret', created.url.split('/').at(-1));
if (path.join('/') === 'oauth/token') pm.collectionVariables.set('issued', created.access_token);
`;

const chained = { app: 'app', appId: 'clientId', group: 'group', groupId: 'group', token: 'createdToken', session: 'session', watch: 'watch', link: 'link',
  subscription: 'subscription', eventSubscriptionId: 'eventSubscriptionId', account: 'account', secret: 'secret' };

const rank = { POST: 0, GET: 1, PUT: 2, PATCH: 3, DELETE: 4 };

const depth = (item) => item.request.url.path.length;

function flat(items) {
  return items.flatMap((item) => (item.item ? flat(item.item) : [item]));
}

const text = fs.readFileSync(process.env.DOCUMENT, 'utf8');
const collection = await convert(text);
// A stream does not end.
const requests = flat(collection.item).filter((item) => item.request.url.path.at(-1) !== 'stream').sort((a, b) => {
  const by = rank[a.request.method] - rank[b.request.method];
  return by || { POST: depth(a) - depth(b), DELETE: depth(b) - depth(a) }[a.request.method] || 0;
});
for (const { request } of requests) {
  for (const variable of request.url.variable ?? []) {
    if (chained[variable.key]) variable.value = `{{${chained[variable.key]}}}`;
  }
  for (const field of request.body?.urlencoded ?? []) {
    if (['grant_type', 'token'].includes(field.key)) delete field.disabled; // optional, because it may be in the query
    if (field.key === 'token') field.value = '{{issued}}';
  }
  if (request.auth?.type === 'bearer') request.auth = { type: 'bearer', bearer: [{ key: 'token', value: '{{token}}' }] };
  if (request.auth?.type === 'basic') request.auth = { type: 'basic', basic: [{ key: 'username', value: '{{clientId}}' }, { key: 'password', value: '{{clientSecret}}' }] };
}
const script = { listen: 'test', script: { type: 'text/javascript', exec: remember.split('\n') } };
const items = requests.map((item) => (item.request.method === 'POST' ? { ...item, event: [script] } : item));
process.stdout.write(JSON.stringify({ ...collection, item: items }));
