// Runs what /me computes without a browser: ends, days and reasons of ASSETS. It prints the
// results as one line of JSON. The zone is Europe/Berlin.
const { chosen, range, tomorrowMorning } = await import(process.env.ASSETS + '/me/ends.js');
const { bars, bounds, hours } = await import(process.env.ASSETS + '/me/days.js');
const { because, next, others } = await import(process.env.ASSETS + '/me/reasons.js');
const { Session } = await import(process.env.ASSETS + '/me/session.js');

const now = new Date('2026-03-28T22:30:00Z'); // the clocks change in the night that follows
const day = { date: '2026-03-29', from: '2026-03-28T23:00:00.000Z', spans: [{ status: 'busy', from: '2026-03-29T10:00:00.000Z', to: '2026-03-29T21:30:00.000Z' }] };

const ends = Object.fromEntries([
  ['', {}], ['20', {}], ['today', {}], ['tomorrow', {}], ['at', { at: '2026-03-29T03:30' }], ['at past', { at: '2026-03-28T20:00' }], ['at nothing', { at: '' }],
  ['custom', { count: '2', unit: 'days' }], ['custom none', { count: '0', unit: 'hours' }],
].map(([name, form]) => [name, chosen({ lasts: name.split(' ')[0], ...form }, now)]));

const texts = {
  saidBy: (claim) => `${claim.id} says ${claim.status}`, precedence: { 2: 'rule 2' }, noDevice: 'nowhere', activeDevice: 'active', idleDevices: 'idle',
  begins: (at) => `begins ${at}`, loses: (claim) => `after ${claim.id}`, setAside: 'set aside', signedOut: 'signed out',
  ends: (claim) => `${claim.id} ends`, starts: (claim) => `${claim.id} begins`, noteEnds: 'note', whenIdle: 'idle',
};
const explanation = {
  status: 'in_meeting', own_note: { text: 'x', until: 't2' },
  sessions: [{ active: true, idle_at: 't3', ends_at: 't4' }, { active: false, idle_at: 't0', ends_at: 't1' }],
  claims: [
    { id: 'call', status: 'in_meeting', row: 2, live: true, counts: true, decides: true, since: 't0', until: 't1' },
    { id: 'manual', status: 'busy', row: 3, live: true, counts: true, decides: false, since: 't0', until: null },
    { id: 'old', status: 'in_calendar_event', row: 5, live: true, counts: false, decides: false, since: 't0', until: null },
    { id: 'later', status: 'out_of_office', row: 4, live: false, counts: false, decides: false, since: 't5', until: 't6' },
  ],
  next: [['t1', 'busy'], ['t2', 'busy'], ['t3', 'away'], ['t5', 'out_of_office'], ['t6', 'away']].map(([at, status]) => ({ at, status, note: '' })),
};

// session plays a connection: what the page sends in answer to what it receives.
function session() {
  const sent = [];
  const heard = { watches: [], unauthorized: '' };
  let on;
  let clock = 1_000_000;
  const client = { stream: (events) => ((on = events), { start() {}, stop() {}, hurry() {}, send: (frame) => sent.push(frame) > 0 }) };
  const activity = { active: true };
  const s = new Session({ client, id: 'kept', now: () => clock, on: { changed() {}, watch: (w) => heard.watches.push(w.id), unauthorized: (words) => { heard.unauthorized = words; } } });
  s.start(activity);
  on.open();
  const done = () => on.frame({ type: 'done', id: sent.filter((f) => f.type === 'sign_in').at(-1).id, session: 'S1' });
  on.frame({ type: 'snapshot', presences: [{ asked_as: 'me', user: 'u', status: 'available', revision: 5 }] });
  done();
  s.report(true); // known: a new session is active
  clock += 31_000;
  s.report(true);
  activity.active = false;
  s.report(false);
  on.lost();
  const whileLost = s.present;
  on.open(); // the page states that the user is idle
  const signIns = sent.filter((f) => f.type === 'sign_in').map(({ session: id, active }) => ({ id, active }));
  on.frame({ type: 'presence', user: 'u', status: 'busy', revision: 4 }); // older
  const stale = s.own.status;
  on.frame({ type: 'watch', watch: { id: 'w' } });
  on.frame({ type: 'error', code: 'session-replaced' });
  const count = sent.length;
  on.lost();
  on.open(); // replaced: it only follows
  const afterReplaced = sent.slice(count).map((f) => f.type);
  s.signIn();
  const again = sent.at(-1);
  on.ended('unauthorized', 'revoked');
  return { signIns, activities: sent.filter((f) => f.type === 'activity').map((f) => f.active), whileLost, stale, afterReplaced, again: again.type + (again.session === 'S1' ? ' with the same id' : ''), ...heard };
}

console.log(JSON.stringify({
  ends,
  morning: tomorrowMorning(now),
  ranges: [range('2026-03-28', '2026-03-29', now), range('2026-04-01', '2026-04-02', now), range('2026-04-02', '2026-04-01', now), range('2026-03-01', '2026-03-02', now), range('', '', now)],
  hoursOfDay: (bounds(day)[1] - bounds(day)[0]) / 3_600_000,
  bar: bars(day)[0].left + bars(day)[0].width,
  marks: hours(day, 12).map(({ left }) => Math.round(left * 23)),
  because: because(explanation, texts), others: others(explanation, texts).map(({ reason }) => reason), next: next(explanation, texts).map(({ at, status, reason }) => [at, status, reason].join(' ')),
  alone: [['offline', []], ['away', [{ active: false }]], ['available', [{ active: true }]]].map(([status, sessions]) => because({ status, sessions, claims: [] }, texts)[0]),
  session: session(),
}));
