package check_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/cluster/check"
)

// at is an instant of a history, in seconds.
func at(seconds float64) time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func span(from, to float64) check.Span { return check.Span{From: at(from), To: at(to)} }

// expect compares what a check found: nothing if want is "", and otherwise problems that all
// contain it.
func expect(t *testing.T, found []string, want string) {
	t.Helper()
	if want == "" && len(found) > 0 || want != "" && len(found) == 0 {
		t.Errorf("found %q, want %q", found, want)
	}
	if i := slices.IndexFunc(found, func(s string) bool { return !strings.Contains(s, want) }); i >= 0 {
		t.Errorf("found %q, want only %q", found, want)
	}
}

func write(value string, from, to float64, revision uint64) check.Call {
	return check.Call{User: "ada", Span: span(from, to), Write: value, Revision: revision}
}

func read(value string, from, to float64, revision uint64) check.Call {
	return check.Call{User: "ada", Span: span(from, to), Found: value, Revision: revision}
}

func unknown(value string, from, to float64) check.Call {
	return check.Call{User: "ada", Span: span(from, to), Write: value, Unknown: true}
}

func TestLinearizable(t *testing.T) {
	const illegal = "ada: "
	for name, c := range map[string]struct {
		calls []check.Call
		want  string
	}{
		"one after another":                 {[]check.Call{write("a", 0, 1, 5), read("a", 2, 3, 5), write("b", 4, 5, 9), read("b", 6, 7, 9)}, ""},
		"a read beside a write, old or new": {[]check.Call{write("a", 0, 1, 1), write("b", 2, 6, 2), read("a", 3, 4, 1), read("b", 4, 5, 2)}, ""},
		"a lost write":                      {[]check.Call{write("a", 0, 1, 1), write("b", 2, 3, 2), read("a", 4, 5, 1)}, illegal},
		"a read that goes back":             {[]check.Call{write("a", 0, 1, 1), write("b", 2, 9, 2), read("b", 3, 4, 2), read("a", 5, 6, 1)}, illegal},
		"an unknown write that was made":    {[]check.Call{write("a", 0, 1, 1), unknown("b", 2, 3), read("a", 4, 5, 1), read("b", 6, 7, 2)}, ""},
		"an unknown write that was not":     {[]check.Call{write("a", 0, 1, 1), unknown("b", 2, 3), read("a", 4, 5, 1)}, ""},
		"an unknown write, made and undone": {[]check.Call{write("a", 0, 1, 1), unknown("b", 2, 3), read("b", 4, 5, 2), read("a", 6, 7, 2)}, illegal},
		"a value that nobody wrote":         {[]check.Call{write("a", 0, 1, 1), read("z", 2, 3, 1)}, illegal},
		"two writes on one version":         {[]check.Call{write("a", 0, 1, 7), write("b", 2, 3, 7)}, illegal},
		"a revision that falls":             {[]check.Call{write("a", 0, 1, 7), read("a", 2, 3, 6)}, illegal},
		"another user's value": {[]check.Call{
			write("a", 0, 1, 1), {User: "grace", Span: span(2, 3), Found: "a", Revision: 1},
		}, "grace: "},
	} {
		t.Run(name, func(t *testing.T) { expect(t, check.Linearizable(c.calls, time.Minute), c.want) })
	}
}

func TestInterval(t *testing.T) {
	put := func(user string, from, to float64) check.Put { return check.Put{User: user, Span: span(from, to)} }
	for name, c := range map[string]struct {
		puts []check.Put
		want string
	}{
		"a minute apart":               {[]check.Put{put("ada", 0, 1), put("ada", 61, 62)}, ""},
		"of two users":                 {[]check.Put{put("ada", 0, 1), put("grace", 0, 1)}, ""},
		"within a minute":              {[]check.Put{put("ada", 0, 1), put("ada", 50, 51)}, "two updates"},
		"a long call, made at its end": {[]check.Put{put("ada", 0, 61), put("ada", 0.5, 1)}, ""},
		"of several, two too close":    {[]check.Put{put("ada", 0, 1), put("ada", 70, 71), put("ada", 100, 101)}, "two updates"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, check.Interval(c.puts, time.Minute, time.Second), c.want) })
	}
	expect(t, check.OncePerBurst("ada", 1, 3), "")
	expect(t, check.OncePerBurst("ada", 0, 1), "")
	expect(t, check.OncePerBurst("ada", 2, 0), "2 were accepted")
	expect(t, check.OncePerBurst("ada", 0, 0), "0 were accepted")
}

func TestSessions(t *testing.T) {
	limits := check.Limits{Early: 100 * time.Millisecond, Late: 2 * time.Second, AfterLoss: 40 * time.Second, Seen: at(200)}
	leased := func(ended time.Time) check.Session {
		return check.Session{User: "ada", ID: "s", Lease: 30 * time.Second, Acks: []check.Ack{{at(0), at(30)}, {at(20), at(50)}}, Ended: ended}
	}
	bound := func(lost, ended time.Time) check.Session {
		return check.Session{User: "ada", ID: "s", Bound: []check.Span{span(0, 60), span(65, 100)}, Lost: lost, Ended: ended}
	}
	out := leased(at(30))
	out.SignedOut = at(29)
	for name, c := range map[string]struct {
		session check.Session
		want    string
	}{
		"at its end":                 {leased(at(50)), ""},
		"two thirds of a lease late": {leased(at(70)), ""},
		"before its end":             {leased(at(49)), "before the end that was acknowledged"},
		"much too late":              {leased(at(73)), "after its latest end"},
		"never":                      {leased(time.Time{}), "after its latest end"},
		"signed out":                 {out, ""},
		"after the loss":             {bound(at(100), at(131)), ""},
		"while held":                 {bound(at(100), at(80)), "while a connection held it"},
		"while the first held it":    {bound(at(100), at(30)), "while a connection held it"},
		"long after the loss":        {bound(at(100), at(141)), "after its latest end"},
		"lost, and never ended":      {bound(at(100), time.Time{}), "after its latest end"},
		"still held":                 {bound(time.Time{}, time.Time{}), ""},
	} {
		t.Run(name, func(t *testing.T) { expect(t, check.Sessions([]check.Session{c.session}, limits), c.want) })
	}
}

func entry(revision uint64, status, note string) check.Entry {
	return check.Entry{User: "ada", Commit: revision, Revision: revision, Status: status, Note: note}
}

func TestOfflines(t *testing.T) {
	once := []check.Entry{entry(1, "available", ""), entry(2, check.Offline, ""), entry(3, check.Offline, "bye")}
	twice := append(slices.Clone(once), entry(4, "available", ""), entry(5, check.Offline, ""))
	expect(t, check.Offlines(once, []check.Loss{{User: "ada", Times: 1}}), "")
	expect(t, check.Offlines(once, []check.Loss{{User: "ada", Times: 0}}), "1 times offline")
	expect(t, check.Offlines(twice, []check.Loss{{User: "ada", Times: 1}}), "2 times offline")
	expect(t, check.Offlines(once[:1], []check.Loss{{User: "ada", Times: 1}}), "0 times offline")
}

func TestStreams(t *testing.T) {
	entries := []check.Entry{
		entry(1, "available", ""), {User: "ada", Commit: 2, Revision: 1, Status: "available"}, entry(3, "busy", "a"), entry(5, "busy", "b"), entry(6, "away", "b"),
	}
	gap := slices.Delete(slices.Clone(entries), 2, 3)
	gap[2].Gap = true
	all := []check.Entry{entries[0], entries[2], entries[3], entries[4]}
	edit := func(fn func(*check.Stream)) check.Stream {
		s := check.Stream{Name: "a stream", Events: slices.Clone(all)}
		fn(&s)
		return s
	}
	for name, c := range map[string]struct {
		stream check.Stream
		want   string
	}{
		"everything":           {edit(func(*check.Stream) {}), ""},
		"one left out":         {edit(func(s *check.Stream) { s.Events = slices.Delete(s.Events, 1, 2) }), ""},
		"one repeated":         {edit(func(s *check.Stream) { s.Events = slices.Insert(s.Events, 2, s.Events[1]) }), ""},
		"the last one missing": {edit(func(s *check.Stream) { s.Events = s.Events[:3] }), "ada is at revision 5, and in the log at 6"},
		"nothing received":     {edit(func(s *check.Stream) { s.Events = nil }), "ada is at revision 0, and in the log at 6"},
		"one invented":         {edit(func(s *check.Stream) { s.Events[1].Revision = 4 }), "a stream: "},
		"another status":       {edit(func(s *check.Stream) { s.Events[1].Status = "away" }), "is \"away\""},
		"back to an older one": {edit(func(s *check.Stream) { s.Events = append(s.Events, all[2], all[3]) }), "back to 5"},
		"a reset":              {edit(func(s *check.Stream) { s.Resets = 1 }), "1 resets"},
		"one of no change":     {edit(func(s *check.Stream) { s.Events[0].Revision = 2 }), "a stream: "},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, check.Streams([]check.Stream{c.stream}, entries, map[string]uint64{"ada": 6}), c.want)
		})
	}
	expect(t, check.Streams([]check.Stream{{Events: all}}, gap, map[string]uint64{"ada": 6}), "")
	gap[2].Gap, gap[3].Gap = false, true
	expect(t, check.Streams([]check.Stream{{Events: all}}, gap, map[string]uint64{"ada": 6}), "ada has revision 3, which the log does not have")
	expect(t, check.Log(entries), "")
	expect(t, check.Log(append(entries, entry(5, "busy", "fork"))), "revision 5 twice")
}

func TestConsumer(t *testing.T) {
	entries := []check.Entry{entry(1, "available", ""), entry(3, "busy", ""), entry(5, "away", "")} // the last one is not due
	one, three := check.Delivery{User: "ada", Commit: 1, ID: "x"}, check.Delivery{User: "ada", Commit: 3, ID: "y"}
	other := check.Delivery{User: "ada", Commit: 3, ID: "z"}
	for name, c := range map[string]struct {
		deliveries []check.Delivery
		want       string
	}{
		"each once":           {[]check.Delivery{one, three}, ""},
		"one that is not due": {[]check.Delivery{one, three, {User: "ada", Commit: 5, ID: "v"}}, ""},
		"one again":           {[]check.Delivery{one, three, three}, ""},
		"two again":           {[]check.Delivery{one, one, three, three}, "2 entries were handed over again"},
		"another id":          {[]check.Delivery{one, three, other}, "as y and as z"},
		"one too many":        {[]check.Delivery{one, three, {User: "ada", Commit: 4, ID: "w"}}, "does not concern"},
		"of somebody else":    {[]check.Delivery{one, three, {User: "grace", Commit: 3, ID: "w"}}, "grace: revision 3"},
		"nothing at all":      {nil, "was not handed over"},
		"one, out of order":   {[]check.Delivery{three, one}, ""},
	} {
		t.Run(name, func(t *testing.T) { expect(t, check.Consumer(c.deliveries, entries[:2], entries, 1), c.want) })
	}
}

func TestValidity(t *testing.T) {
	var operations []check.Span
	for second := range 10 {
		operations = append(operations, span(float64(second), float64(second)+0.5))
	}
	for name, c := range map[string]struct {
		run  check.Run
		want string
	}{
		"enough":              {check.Run{Operations: operations, Least: 10, Fault: span(3, 6)}, ""},
		"many before it":      {check.Run{Operations: operations, Least: 5, Fault: span(9, 12)}, ""},
		"too few":             {check.Run{Operations: operations, Least: 11, Fault: span(3, 6)}, "only 10 operations"},
		"no fault":            {check.Run{Operations: operations, Least: 10}, "the fault did not happen"},
		"a fault at the end":  {check.Run{Operations: operations, Least: 10, Fault: span(9, 12)}, "only 1 of 10 operations overlapped"},
		"a fault in a second": {check.Run{Operations: operations, Least: 10, Fault: span(3, 3.1)}, "only 1 of 10 operations overlapped"},
	} {
		t.Run(name, func(t *testing.T) {
			found := check.Validity(&c.run)
			expect(t, found, c.want)
			for _, f := range found {
				if !strings.HasPrefix(f, "INVALID: ") {
					t.Errorf("%q does not say that the run is invalid", f)
				}
			}
		})
	}
}
