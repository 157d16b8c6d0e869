// Runs the users and groups endpoints of Zoom's SDK, @zoom/rivet, against another server,
// and prints the results as one line of JSON. It reads URL, ACCOUNT_ID, CLIENT_ID,
// CLIENT_SECRET, OWNER_ID and GROUP_ID from the environment. See rivet.mjs.
import axios from 'axios';
import { UsersS2SAuthClient } from '@zoom/rivet/users';

const { URL: base, ACCOUNT_ID, CLIENT_ID, CLIENT_SECRET, OWNER_ID, GROUP_ID } = process.env;

axios.interceptors.request.use((config) => {
  const url = new URL(config.url, config.baseURL);
  if (url.origin === 'https://zoom.us') {
    config.url = base + url.pathname + url.search;
  } else if (!(config.baseURL ?? '').startsWith(base)) {
    throw new Error(`a request to ${url.origin}, outside the server under test`);
  }
  return config;
});

const client = new UsersS2SAuthClient({
  accountId: ACCOUNT_ID,
  clientId: CLIENT_ID,
  clientSecret: CLIENT_SECRET,
  disableReceiver: true,
  baseUrl: `${base}/v2`,
});
const { users, groups } = client.endpoints;

const refused = async (call) => {
  try {
    const { statusCode } = await call();
    return `no error: ${statusCode}`;
  } catch (err) {
    return err.message;
  }
};
const path = (userId) => ({ path: { userId } });
const email = 'rivet+test@example.com';
const info = { email, type: 1, first_name: 'Rivet', last_name: 'Test' };

const everyPage = async () => {
  const emails = [];
  let token;
  let total;
  do {
    const { data } = await users.listUsers({ query: { page_size: 7, ...(token && { next_page_token: token }) } });
    emails.push(...data.users.map((u) => u.email));
    token = data.next_page_token;
    total = data.total_records;
  } while (token);
  return { listed: emails.length, distinct: new Set(emails).size, total };
};

const before = await everyPage();
const created = await users.createUsers({ body: { action: 'create', user_info: info } });
const again = await refused(() => users.createUsers({ body: { action: 'create', user_info: info } }));
const exists = await users.checkUserEmail({ query: { email } });
const id = created.data.id;
const updated = await users.updateUser({ ...path(id), body: { first_name: 'Riveted', dept: 'R&D' } });
const moved = await users.updateUsersEmail({ ...path(id), body: { email: 'riveted@example.com' } });
const read = await users.getUser(path('riveted@example.com'));
const added = await groups.addGroupMembers({ path: { groupId: GROUP_ID }, body: { members: [{ id }] } });
const listed = await groups.listGroups({ query: {} });
const members = await groups.listGroupMembers({ path: { groupId: GROUP_ID }, query: {} });
const removed = await groups.deleteGroupMember({ path: { groupId: GROUP_ID, memberId: id } });
const deactivated = await users.updateUserStatus({ ...path(id), body: { action: 'deactivate' } });
const inactive = await users.listUsers({ query: { status: 'inactive' } });
const activated = await users.updateUserStatus({ ...path(id), body: { action: 'activate' } });
const deleted = await users.deleteUser({ ...path(id), query: { action: 'delete' } });
console.log(
  JSON.stringify({
    before,
    created: { status: created.statusCode, data: created.data },
    again,
    exists: exists.data,
    statuses: [updated, moved, removed, deactivated, activated, deleted].map((r) => r.statusCode),
    read: read.data,
    added: { status: added.statusCode, ids: added.data.ids },
    groups: listed.data.groups,
    members: members.data.members.map((m) => m.id),
    inactive: inactive.data.users.map((u) => u.id),
    gone: await refused(() => users.getUser(path(id))),
    owner: await refused(() => users.deleteUser({ ...path(OWNER_ID), query: {} })),
    after: await everyPage(),
  }),
);
