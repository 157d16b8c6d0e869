// Receives events as Zoom's documentation of WebSockets describes it and as Zoom's own
// sample does, with the same library: a token by client_credentials, its text at the end
// of the URL, and heartbeats. Prints each message as a line, then why the connection
// closed. It reads OAUTH_URL, WS_URL, SUBSCRIPTION_ID, CLIENT_ID and CLIENT_SECRET from the
// environment; ACCESS_TOKEN replaces the token.
import WebSocket from 'ws';

const { OAUTH_URL, WS_URL, SUBSCRIPTION_ID, CLIENT_ID, CLIENT_SECRET, ACCESS_TOKEN } = process.env;

async function token() {
  const response = await fetch(`${OAUTH_URL}?grant_type=client_credentials`, {
    method: 'POST',
    headers: {
      Authorization: `Basic ${Buffer.from(`${CLIENT_ID}:${CLIENT_SECRET}`).toString('base64')}`,
      'Content-Type': 'application/x-www-form-urlencoded',
    },
  });
  if (!response.ok) {
    throw new Error(`the token endpoint answered ${response.status}`);
  }
  return (await response.json()).access_token;
}

const socket = new WebSocket(`${WS_URL}?subscriptionId=${SUBSCRIPTION_ID}&access_token=${ACCESS_TOKEN ?? (await token())}`);
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
socket.on('open', () => {
  socket.send(JSON.stringify({ module: 'heartbeat' }));
  socket.send('heartbeat');
});
socket.on('message', (data) => print(JSON.parse(data)));
socket.on('close', (code, reason) => print({ closed: code, reason: String(reason) }));
socket.on('error', (err) => print({ error: String(err) }));
process.on('SIGTERM', () => socket.close());
