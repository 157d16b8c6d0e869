// Checks the model of the board: people, queries and the layout. ASSETS is the directory of
// the pages' scripts.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const { People, fold } = await import(process.env.ASSETS + '/board/people.js');
const { cleared, format, parse } = await import(process.env.ASSETS + '/board/query.js');
const { arrangeLines, columnsIn, inView, lineOf } = await import(process.env.ASSETS + '/board/layout.js');

const presence = (user, status = 'available', revision = 1, more = {}) => ({ user, status, revision, note: '', since: null, until: null, ...more });
const listed = (user, display_name, groups = [], status = 'available', revision = 1) => ({ ...presence(user, status, revision), display_name, email: user + '@example.com', groups });
const everyone = parse('');
const shown = (people, query = everyone, contacts) => people.arrange(query, contacts).sections.map((s) => [s.title, ...s.people.map((p) => p.user)]);

test('of two versions of a presence, the one with the higher revision is kept', () => {
  const people = new People();
  people.receive({ type: 'snapshot', presences: [presence('a', 'busy', 5)] });
  people.receive({ type: 'presence', ...presence('a', 'away', 4) });
  people.addNames([listed('a', 'Ada', [], 'offline', 3)]);
  assert.equal(people.get('a').presence.status, 'busy');
  assert.equal(people.get('a').name, 'Ada');
  people.receive({ type: 'reset' }); // of another store
  people.receive({ type: 'snapshot', presences: [presence('a', 'away', 2)] });
  assert.equal(people.get('a').presence.status, 'away');
});

test('a complete snapshot in parts replaces everybody, a partial one adds', () => {
  const people = new People();
  people.receive({ type: 'snapshot', presences: [presence('a'), presence('b')] });
  people.receive({ type: 'snapshot', presences: [presence('c')], more: true });
  assert.equal(people.size, 3);
  people.receive({ type: 'snapshot', presences: [presence('d')] });
  assert.deepEqual(shown(people), [['', 'c', 'd']]);
  people.receive({ type: 'snapshot', partial: true, presences: [presence('e')], gone: ['c'] });
  assert.deepEqual(shown(people), [['', 'd', 'e']]);
  people.receive({ type: 'snapshot', presences: [presence('x')], more: true });
  people.lost(); // the rest will not come
  people.receive({ type: 'snapshot', partial: true, presences: [] });
  assert.equal(people.size, 3);
});

test('who left since the names were requested is not brought back by them', () => {
  const people = new People();
  people.receive({ type: 'snapshot', presences: [presence('a'), presence('b')] });
  people.expectNames();
  people.receive({ type: 'gone', user: 'b' });
  people.addNames([listed('a', 'Ada'), listed('b', 'Bo')]);
  assert.deepEqual(shown(people), [['', 'a']]);
  assert.equal(people.receive({ type: 'presence', ...presence('b') }), true, 'a name is missing');
  people.addNames([listed('b', 'Bo')]);
  assert.equal(people.receive({ type: 'presence', ...presence('b', 'away', 2) }), false);
});

test('each change makes a new person and another version, and nothing else does', () => {
  const people = new People();
  people.receive({ type: 'snapshot', presences: [presence('a'), presence('b')] });
  const [a, b, version] = [people.get('a'), people.get('b'), people.version];
  people.receive({ type: 'presence', ...presence('a', 'away', 2) });
  assert.notEqual(people.get('a'), a);
  assert.equal(people.get('b'), b);
  assert.notEqual(people.version, version);
});

test('a query selects by words, group, contacts and status, and counts without the status', () => {
  const people = new People();
  people.addNames([listed('1', 'Zoë Müller', ['Sales']), listed('2', 'Ada Okafor', ['Design', 'Sales'], 'in_meeting'), listed('3', 'ada', [], 'out_of_office'), listed('4', 'Bo 10', [], 'offline'), listed('5', 'Bo 9', [], 'offline')]);
  assert.equal(fold('ZOË'), 'zoe');
  for (const [query, want] of [
    [{}, ['1', '2', '3', '5', '4']],
    [{ text: 'zoe' }, ['1']],
    [{ text: ' OKAFOR  ada' }, ['2']],
    [{ text: '4@EXAMPLE' }, ['4']],
    [{ text: 'nobody' }, []],
    [{ group: 'Sales' }, ['1', '2']],
    [{ contacts: true }, ['3']],
    [{ status: 'busy' }, ['2']],
    [{ status: 'away', text: 'ada' }, ['3']],
    [{ sort: 'name' }, ['3', '2', '5', '4', '1']],
  ]) {
    assert.deepEqual(shown(people, { ...everyone, ...query }, new Set(['3']))[0].slice(1), want, JSON.stringify(query));
  }
  const { counts, total, visible } = people.arrange({ ...everyone, status: 'busy' });
  assert.deepEqual([counts, total, visible], [{ available: 1, busy: 1, away: 1, offline: 2 }, 5, 1]);
  assert.deepEqual(people.groups(), ['Design', 'Sales']);
  assert.deepEqual(shown(people, { ...everyone, by: 'group' }), [['Design', '2'], ['Sales', '1', '2'], ['', '3', '5', '4']]);
  assert.deepEqual(shown(people, { ...everyone, by: 'status' }), [['available', '1'], ['busy', '2'], ['away', '3'], ['offline', '5', '4']]);
});

test('the last change comes first, and unknown times last', () => {
  const people = new People();
  people.receive({ type: 'snapshot', presences: [presence('a'), presence('b', 'busy', 1, { since: '2026-01-02T00:00:00Z' }), presence('c', 'busy', 1, { since: '2026-01-03T00:00:00Z' })] });
  assert.deepEqual(shown(people, { ...everyone, sort: 'changed' }), [['', 'c', 'b', 'a']]);
});

test('a query is the same after the address, and other parameters stay', () => {
  const query = { ...everyone, text: 'a&b=c', group: 'Night Shift', contacts: true, status: 'busy', by: 'group', sort: 'name' };
  const address = format(query, '?shot=1&status=away');
  assert.deepEqual(parse(address), query);
  assert.match(address, /shot=1/);
  assert.equal(format(cleared({ ...query, by: '', sort: '' }), address), '?shot=1');
  assert.deepEqual(parse('?status=constructor&by=nothing&sort=x'), everyone);
  assert.deepEqual([parse('?group=A&wall').only, parse('?group=A&wall').wall], ['A', true]);
});

test('lines in view are found, with headings between them', () => {
  const people = (n, from) => Array.from({ length: n }, (_, i) => ({ user: String(from + i) }));
  const { lines, height, total } = arrangeLines([{ title: 'A', people: people(5, 0) }, { title: 'B', people: people(3, 5) }], 2, { row: 10, gap: 2, heading: 4 });
  assert.equal(total, 8);
  assert.deepEqual(lines.map((l) => [l.top, l.title ?? '', l.people.length]), [[0, 'A', 0], [6, '', 2], [18, '', 2], [30, '', 1], [42, 'B', 0], [48, '', 2], [60, '', 1]]);
  assert.equal(height, 70);
  assert.deepEqual(inView(lines, 20, 43), [2, 5]);
  assert.deepEqual(inView(lines, -100, 1_000), [0, 7]);
  assert.deepEqual(inView(lines, 70, 90), [7, 7]);
  assert.deepEqual([0, 1, 2, 4, 5, 7].map((i) => lineOf(lines, i)), [1, 1, 2, 3, 5, 6]);
  assert.deepEqual(arrangeLines([{ title: '', people: [] }], 3, { row: 10, gap: 2, heading: 4 }), { lines: [], height: 0, total: 0 });
  assert.deepEqual(columnsIn(100, 30, 5), { columns: 3, card: 30 });
  assert.deepEqual(columnsIn(20, 30, 5), { columns: 1, card: 20 });
});
