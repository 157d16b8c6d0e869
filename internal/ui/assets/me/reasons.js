// An explanation of the API in the words of the reader: why a status is shown and what
// follows. It depends on nothing but the words.

// because is why the status is shown: sentences.
export function because(explanation, texts) {
  const winner = explanation.claims.find((claim) => claim.decides);
  if (winner) return [texts.saidBy(winner), texts.precedence[winner.row]].filter(Boolean);
  if (explanation.status === "offline") return [texts.noDevice];
  return [explanation.sessions.some((session) => session.active) ? texts.activeDevice : texts.idleDevices];
}

// others are the claims that do not decide, with the reason.
export function others(explanation, texts) {
  const winner = explanation.claims.find((claim) => claim.decides);
  return explanation.claims.filter((claim) => !claim.decides).map((claim) => ({ claim, reason: reason(claim, winner, explanation, texts) }));
}

function reason(claim, winner, explanation, texts) {
  if (!claim.live) return texts.begins(claim.since);
  if (claim.counts) return texts.loses(winner);
  return explanation.sessions.length ? texts.setAside : texts.signedOut;
}

// next are the changes that follow without further input while the devices stay connected:
// { at, status, note, reason }.
export function next(explanation, texts) {
  const idleAt = last(explanation.sessions.filter((session) => session.active).map((session) => session.idle_at));
  return explanation.next.map((step) => ({ ...step, reason: reasonOf(step, explanation, idleAt, texts) }));
}

function reasonOf({ at }, { claims, own_note }, idleAt, texts) {
  const ended = claims.find((claim) => claim.until === at);
  if (ended) return texts.ends(ended);
  const begun = claims.find((claim) => claim.since === at);
  if (begun) return texts.starts(begun);
  if (own_note?.until === at) return texts.noteEnds;
  return at === idleAt ? texts.whenIdle : "";
}

function last(times) {
  return times.filter(Boolean).sort().at(-1);
}
