// What measurements of a server say.

const LARGEST = Infinity;
const OLD = 7 * 86_400_000; // ms

// quantile is the time within which a part of the requests between two measurements was
// answered: the upper bound of the bucket that has it. undefined: there were none.
function quantile(before, after, part) {
  const all = after.requests - before.requests;
  if (all <= 0) return undefined;
  const within = after.latency.map(({ seconds, requests }, i) => [seconds, requests - (before.latency[i]?.requests ?? 0)]);
  return within.find(([, requests]) => requests >= all * part)?.[0] ?? LARGEST;
}

// between are the figures of the time between two answers of GET /v1/health; null: they are
// of different nodes, or of different starts of the server.
export function between(before, after) {
  const [a, b] = [before.server, after.server];
  const seconds = (new Date(after.time) - new Date(before.time)) / 1_000;
  if (a.started !== b.started || seconds <= 0) return null;
  const rate = (from, to) => Math.max(0, to - from) / seconds;
  return {
    changes: rate(a.changes, b.changes),
    requests: rate(a.requests, b.requests),
    p99: quantile(a, b, 0.99),
    lag: Math.max(0, ...b.consumers.map((c) => c.lag_seconds), b.deliveries.lag_seconds),
    connections: b.connections,
    streams: b.streams,
    pending: b.deliveries.pending,
    failed: rate(a.deliveries.failed, b.deliveries.failed),
  };
}

// isOld reports whether somebody should make a new backup.
export function isOld(backup, now = Date.now()) {
  return now - new Date(backup.time) > OLD;
}
