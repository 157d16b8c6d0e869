// Meets servers that fail: see TestSDKFailures.
import assert from 'node:assert/strict';

import { Porchlight, clientCredentials } from '@porchlight/client';

const { URL: url, UNTRUSTED: untrusted } = process.env;
const first = (watch) => watch[Symbol.asyncIterator]().next();

for (const kind of ['null', '[]', '"text"', '3', '{}', 'no JSON']) {
  await assert.rejects(new Porchlight({ url, token: 'token' }).presence(kind), { status: 404, message: 'The server answered with status 404.' }, kind);
}

for (const address of ['', 'presence.example.com', 'localhost:8080', 'ftp://presence.example.com', 'https://', 'https://presence.example.com?x']) {
  assert.throws(() => new Porchlight({ url: address }), /is not the URL of a server/, address);
}

const unsafe = new Porchlight({ url: untrusted, token: 'token' });
await assert.rejects(first(unsafe.watch({ everyone: true })), { name: 'NoResponse', temporary: false });
await assert.rejects(unsafe.presence('me'), { name: 'NoResponse', temporary: false });

// The first request for a token gets no answer. The stream is then refused for good.
const token = clientCredentials({ url, accountId: 'account', clientId: 'id', clientSecret: 'secret' });
await assert.rejects(first(new Porchlight({ url, token }).watch({ everyone: true, longestWait: 10 })), { status: 403 });
console.log('done');
