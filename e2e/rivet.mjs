// Runs Zoom's SDK, @zoom/rivet, against another server, and prints the results as
// one line of JSON. It reads URL, ACCOUNT_ID, CLIENT_ID, CLIENT_SECRET,
// USER_ID and SIGNED_OUT_ID from the environment.
//
// The SDK takes a base URL for the API. Its token endpoint is fixed, so requests
// to https://zoom.us are sent to URL by an interceptor of axios, the HTTP library
// that the SDK uses; nothing else of a request changes.
import axios from 'axios';
import { UsersS2SAuthClient } from '@zoom/rivet/users';

const { URL: base, ACCOUNT_ID, CLIENT_ID, CLIENT_SECRET, USER_ID, SIGNED_OUT_ID } = process.env;

let tokens = 0;
axios.interceptors.request.use((config) => {
  const url = new URL(config.url, config.baseURL);
  if (url.origin === 'https://zoom.us') {
    tokens++;
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

const path = (userId) => ({ path: { userId } });
const refused = async (call) => {
  try {
    const { statusCode } = await call();
    return `no error: ${statusCode}`;
  } catch (err) {
    return err.message;
  }
};

const { users } = client.endpoints;
const set = (userId, body) => users.updateUsersPresenceStatus({ ...path(userId), body });

const put = await set(USER_ID, { status: 'Do_No_Disturb', duration: 60 });
const get = await users.getUserPresenceStatus(path(USER_ID));
console.log(
  JSON.stringify({
    tokens,
    put: { status: put.statusCode, tracked: typeof put.trackingId === 'string' && put.trackingId !== '' },
    get: { status: get.statusCode, data: get.data },
    again: await refused(() => set(USER_ID, { status: 'Away' })),
    unknown: await refused(() => set('nobody@example.invalid', { status: 'Away' })),
    signedOut: await refused(() => set(SIGNED_OUT_ID, { status: 'Away' })),
    misspelt: await refused(() => set(USER_ID, { status: 'away' })),
    tokensAfter: tokens,
  }),
);
