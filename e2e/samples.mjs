// Prints the samples that the API reference shows, as JSON by kind of body and language. ASSETS
// has the scripts, URL is the server, USERS are the users that are updated, in JSON.
import path from 'node:path';

const load = (file) => import(path.join(process.env.ASSETS, 'reference', file));
const { operations } = await load('document.js');
const { bodyOf, build, initial } = await load('request.js');
const { languages } = await load('samples.js');

const { URL: server, USERS } = process.env;
const users = JSON.parse(USERS);
const doc = await (await fetch(server + '/docs/openapi.json')).json();
const all = operations(doc);
const find = (id) => all.find((op) => op.id === id);
const samples = [];
const add = (op, change, kind) => {
  for (const [language, write] of Object.entries(languages)) {
    const user = users.shift();
    const values = change({ ...initial(doc, op) }, language);
    values.parameters = { ...values.parameters, [op.path.includes('{userId}') ? 'userId' : 'user']: user };
    samples.push({ kind, language, user, text: write(build(op, values, server)) });
  }
};
const update = find('updatePresenceStatus');
for (const type of Object.keys(update.body.types)) add(update, () => ({ ...initial(doc, update), ...bodyOf(doc, update, type) }), type);
// A text that each language has to escape in its own way.
const note = 'a"b\'c\\n$HOME `id` ${x} %s {0} ü 😀';
const claim = find('setClaim');
add(claim, (values) => ({ ...values, parameters: { ...values.parameters, claim: 'manual' }, text: JSON.stringify({ source: 'manual', status: 'busy', note }) }), 'note');
process.stdout.write(JSON.stringify({ note, samples }));
