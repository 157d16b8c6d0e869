// Runs the two browser clients with a simulated network and timers:
// the connection of /me (STREAM, a module) and the EventSource of docs/streaming.md
// (EXAMPLE, its text). It prints the results as one line of JSON.
import { readFileSync } from 'node:fs';
import { mock } from 'node:test';

mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_700_000_000_000 });
globalThis.location = { href: 'http://porchlight.example/me' };
let tickets = 0;
globalThis.fetch = async () => ({ ok: true, status: 201, headers: new Map(), json: async () => ({ ticket: `t${++tickets}` }) });

const settle = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};
// pass advances the clock second by second.
const pass = async (seconds) => {
  for (let i = 0; i < seconds; i++) {
    mock.timers.tick(1_000);
    await settle();
  }
};

// The connection of /me: the seconds until it detects that the server has stopped.
async function me() {
  const sockets = [];
  let answers = true;
  globalThis.WebSocket = class {
    constructor(url) {
      this.url = String(url);
      sockets.push(this);
    }
    send(text) {
      if (answers && JSON.parse(text).type === 'ping') this.onmessage({ data: '{"type":"pong"}' });
    }
    close() {}
  };
  const { Client } = await import(process.env.STREAM);
  let state = '';
  const stream = new Client({ token: 'token' }).stream({ state: (s) => { state = s; }, frame() {}, open() {}, lost() {}, ended() {} });
  stream.start();
  await settle();
  sockets[0].onmessage({ data: '{"type":"hello","ping_seconds":25}' });
  await pass(600);
  const idle = state;
  answers = false;
  let seconds = 0;
  while (state === 'connected' && seconds < 200) {
    await pass(1);
    seconds++;
  }
  stream.stop();
  return { idle, seconds };
}

// The client: what it makes of an answer that is cut short, of one that is empty, and of a
// list whose second page is cut short.
async function answers() {
  const { Client } = await import(process.env.STREAM);
  const client = new Client({ token: 'token' });
  const real = globalThis.fetch;
  const outcome = async (read, ...responses) => {
    globalThis.fetch = async () => responses.shift();
    return read().then(JSON.stringify, (err) => err.name);
  };
  const list = async () => {
    const pages = [];
    for await (const page of client.pages('/v1/users')) pages.push(page);
    return pages;
  };
  const result = {
    cut: await outcome(() => client.get('/v1/users'), new Response('{"users":[')),
    empty: await outcome(() => client.delete('/v1/users/x'), new Response(null, { status: 204 })),
    list: await outcome(list, new Response('{"users":[],"next":"a"}'), new Response('{"use')),
  };
  globalThis.fetch = real;
  return result;
}

// The example: its requests, until it gives up.
async function example() {
  const sources = [];
  class Source {
    static OPEN = 1;
    readyState = 1;
    listeners = {};
    constructor(url) {
      this.url = url;
      sources.push(this);
    }
    addEventListener(type, f) { this.listeners[type] = f; }
    say(type, members) { this.listeners[type]({ data: JSON.stringify({ type, ...members }) }); }
    close() { this.readyState = 2; }
  }
  const applied = [];
  const run = new Function('EventSource', 'apply', 'token', 'signIn', process.env.EXAMPLE + '\nopen();');
  run(Source, (frame) => applied.push(frame.type), 'token', () => {});
  await settle();
  const last = () => sources.at(-1);
  last().say('hello', {});
  last().say('snapshot', { cursor: 'c1' });
  last().listeners.error({}); // the browser reports the lost connection
  await pass(2);
  const afterLoss = last().url;
  for (let i = 0; i < 10; i++) {
    await pass(25);
    last().say('ping', {});
  }
  const whilePinged = sources.length;
  await pass(60); // the server has stopped
  const afterSilence = last().url;
  last().say('close', { close_code: 3000, retry_ms: 4200 });
  await pass(4);
  const early = sources.length;
  await pass(1);
  const afterClose = last().url;
  last().say('close', { close_code: 3500 });
  await pass(600);
  return { afterLoss, whilePinged, afterSilence, early, afterClose, opened: sources.length, applied };
}

console.log(JSON.stringify({ me: await me(), answers: await answers(), example: await example() }));
