// Watches everyone, and sets the notes that standard input asks for, over a connection with
// faults. It prints one line of JSON for each event, and for each note that was set.
import { createInterface } from 'node:readline';

import { Porchlight } from '@porchlight/client';

const { URL: url, TOKEN: token } = process.env;
const porchlight = new Porchlight({ url, token, retryFor: 120_000 });
const print = (event) => process.stdout.write(JSON.stringify(event) + '\n');

async function write() {
  for await (const line of createInterface({ input: process.stdin })) {
    const { user, note } = JSON.parse(line);
    await porchlight.setNote(user, note);
    print({ type: 'written', note });
  }
  process.exit(0);
}

async function watch() {
  for await (const event of porchlight.watch({ everyone: true, longestWait: 50 })) print(event);
}

await Promise.all([write(), watch()]);
