package store_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// instants are small, large, zero and negative.
func instants() *rapid.Generator[presence.Instant] {
	return rapid.Map(rapid.OneOf(
		rapid.Just(int64(0)), rapid.Int64Range(-10, 10), rapid.Int64Range(1.7e15, 1.8e15), rapid.Int64Range(-1<<60, 1<<60),
	), func(n int64) presence.Instant { return presence.Instant(n) })
}

func revisions() *rapid.Generator[presence.Revision] {
	return rapid.Map(rapid.Uint64(), func(n uint64) presence.Revision { return presence.Revision(n) })
}

func statuses() *rapid.Generator[presence.Status] { return rapid.SampledFrom(presence.Statuses()) }

func sessions(t *rapid.T) presence.Session {
	text, at := rapid.String(), instants()
	return presence.Session{
		ID: presence.SessionID(text.Draw(t, "id")), Client: presence.ClientType(text.Draw(t, "client")),
		Version: text.Draw(t, "version"), Since: at.Draw(t, "since"), IdleAt: at.Draw(t, "idle"), EndsAt: at.Draw(t, "ends"),
		Lease: time.Duration(rapid.Int64().Draw(t, "lease")), App: presence.AppID(text.Draw(t, "app")), Via: presence.AppID(text.Draw(t, "via")),
		Holder: text.Draw(t, "holder"),
	}
}

func claims(t *rapid.T) presence.Claim {
	text, at := rapid.String(), instants()
	return presence.Claim{
		ID: presence.ClaimID(text.Draw(t, "id")), Source: presence.Source(text.Draw(t, "source")), Status: statuses().Draw(t, "status"),
		Note: text.Draw(t, "note"), Since: at.Draw(t, "since"), Until: at.Draw(t, "until"), App: presence.AppID(text.Draw(t, "app")), Via: presence.AppID(text.Draw(t, "via")),
	}
}

func answers(t *rapid.T) presence.Answer {
	a := presence.Answer{App: presence.AppID(rapid.String().Draw(t, "app"))}
	copy(a.Key[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
	copy(a.Body[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "body"))
	a.At, a.Revision, a.Result = instants().Draw(t, "at"), revisions().Draw(t, "revision"), rapid.String().Draw(t, "result")
	return a
}

func replaced(t *rapid.T) presence.Replaced {
	return presence.Replaced{ID: presence.SessionID(rapid.String().Draw(t, "id")), EndsAt: instants().Draw(t, "ends")}
}

// some draws a list of up to 4, nil if empty, as the decoder returns it.
func some[T any](t *rapid.T, one func(*rapid.T) T, label string) []T {
	list := rapid.SliceOfN(rapid.Custom(one), 0, 4).Draw(t, label)
	if len(list) == 0 {
		return nil
	}
	return list
}

func rule(t *rapid.T) presence.VisibilityRule {
	return presence.VisibilityRule{
		Visibility: presence.Visibility(rapid.Byte().Draw(t, "level") % 3), Since: instants().Draw(t, "since"),
		Revision: revisions().Draw(t, "revision"), LiftedRevision: revisions().Draw(t, "veiled"), Default: rapid.Bool().Draw(t, "default"),
	}
}

func watcherRules(t *rapid.T) presence.WatcherRule {
	return presence.WatcherRule{User: presence.UserID(rapid.String().Draw(t, "watcher")), VisibilityRule: rule(t)}
}

// rules draws no rules, empty rules, or some.
func rules(t *rapid.T) *presence.VisibilityRules {
	switch rapid.IntRange(0, 2).Draw(t, "rules") {
	case 0:
		return nil
	case 1:
		return &presence.VisibilityRules{}
	default:
		return &presence.VisibilityRules{Everyone: rule(t), Watchers: some(t, watcherRules, "watchers")}
	}
}

func states(t *rapid.T) presence.State {
	at := instants()
	return presence.State{
		Revision: revisions().Draw(t, "revision"), At: at.Draw(t, "at"),
		Sessions: some(t, sessions, "sessions"), Claims: some(t, claims, "claims"), Answers: some(t, answers, "answers"),
		Replaced:    some(t, replaced, "replaced"),
		Note:        presence.Note{Text: rapid.String().Draw(t, "note"), Until: at.Draw(t, "note until")},
		AvailableAt: at.Draw(t, "available"), UpdatedAt: at.Draw(t, "updated"), DampedSince: at.Draw(t, "stirred"),
		Shown: presence.Shown{
			Status: statuses().Draw(t, "shown"), Since: at.Draw(t, "since"),
			StatusRevision: revisions().Draw(t, "status revision"), Revision: revisions().Draw(t, "shown revision"),
		},
		UserState: presence.UserState(rapid.Byte().Draw(t, "standing")),
		Rules:     rules(t),
	}
}

func presences(t *rapid.T) presence.Presence {
	return presence.Presence{
		Status: statuses().Draw(t, "status"), Note: rapid.String().Draw(t, "note"),
		Since: instants().Draw(t, "since"), Until: instants().Draw(t, "until"), Handheld: rapid.Bool().Draw(t, "handheld"), Active: rapid.Bool().Draw(t, "active"),
		Revision: revisions().Draw(t, "revision"), StatusRevision: revisions().Draw(t, "status revision"),
	}
}

func userFacts(t *rapid.T) store.UserFacts {
	return store.UserFacts{State: presence.UserState(rapid.Byte().Draw(t, "state")), Note: rapid.String().Draw(t, "own note")}
}

func sessionFacts(t *rapid.T) store.SessionFacts {
	text := rapid.String()
	return store.SessionFacts{
		ID: presence.SessionID(text.Draw(t, "id")), Client: presence.ClientType(text.Draw(t, "client")),
		Version: text.Draw(t, "version"), App: presence.AppID(text.Draw(t, "app")),
	}
}

func profile(t *rapid.T) *presence.Profile {
	text := rapid.String()
	return &presence.Profile{
		Email: text.Draw(t, "email"), FirstName: text.Draw(t, "first name"), LastName: text.Draw(t, "last name"),
		DisplayName: text.Draw(t, "display name"), Department: text.Draw(t, "department"), Groups: some(t, func(t *rapid.T) string { return text.Draw(t, "group") }, "groups"),
	}
}

func TestStateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := states(t)
		data := store.AppendState([]byte("before"), &want)
		got, err := store.DecodeState(data[len("before"):])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	})
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		want := store.Entry{
			User:     store.User{Account: presence.AccountID(text.Draw(t, "account")), ID: presence.UserID(text.Draw(t, "user"))},
			Revision: revisions().Draw(t, "revision"), Time: instants().Draw(t, "time").Time(),
			By: store.By{Cause: store.Cause(rapid.Byte().Draw(t, "cause")), Actor: store.Actor{
				User: presence.UserID(text.Draw(t, "actor")), App: presence.AppID(text.Draw(t, "app")),
			}},
			Before: presences(t), After: presences(t), UserBefore: userFacts(t), UserAfter: userFacts(t),
		}
		if rapid.Bool().Draw(t, "of a claim") {
			want.Origin.Claim, want.Origin.Source = presence.ClaimID(text.Draw(t, "claim")), presence.Source(text.Draw(t, "source"))
		}
		if rapid.Bool().Draw(t, "of a client") {
			want.Origin.Client = presence.Client{
				Type: presence.ClientType(text.Draw(t, "client")), Version: text.Draw(t, "version"), Status: statuses().Draw(t, "own status"),
			}
		}
		want.Began, want.Ended = some(t, sessionFacts, "began"), some(t, sessionFacts, "ended")
		if rapid.Bool().Draw(t, "of the directory") {
			want.Profile = profile(t)
		}
		if rapid.Bool().Draw(t, "of a profile") {
			want.ProfileBefore = profile(t)
		}
		if rapid.IntRange(0, 4).Draw(t, "erased") == 0 {
			want = store.Anonymize(want)
		}
		got, err := store.DecodeEntry(store.AppendEntry(nil, &want))
		if err != nil || !reflect.DeepEqual(any(got), any(want)) {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	})
}

// TestTruncated: a truncated value is refused, and so is one with trailing bytes.
func TestTruncated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states(t)
		data := store.AppendState(nil, &s)
		n := rapid.IntRange(0, len(data)-1).Draw(t, "length")
		if _, err := store.DecodeState(data[:n]); !errors.Is(err, store.ErrFormat) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
		if _, err := store.DecodeState(append(data, 0)); !errors.Is(err, store.ErrFormat) {
			t.Fatalf("a byte after the end: %v", err)
		}
	})
}

func TestUnknownFormat(t *testing.T) {
	for _, data := range [][]byte{{4}, {0}, {255, 1, 1}} {
		_, err := store.DecodeState(data)
		_, err2 := store.DecodeEntry(data)
		if !errors.Is(err, store.ErrFormat) || !errors.Is(err2, store.ErrFormat) {
			t.Errorf("%v: %v, %v; want ErrFormat", data, err, err2)
		}
	}
	_, err := store.DecodeState([]byte{9})
	if want := "stored bytes cannot be read: state has format 9, and this porchlight knows formats up to 4"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestUnknownEntryParts: an entry with bits that this version does not know is refused,
// and so is an erased one with parts.
func TestUnknownEntryParts(t *testing.T) {
	erased := store.AppendEntry(nil, &store.Entry{Erased: true})
	for _, head := range []byte{0x03, 0x11, 0x80} {
		erased[len(erased)-1] = head
		if _, err := store.DecodeEntry(erased); !errors.Is(err, store.ErrFormat) {
			t.Errorf("%#x: %v", head, err)
		}
	}
}

// TestErasedIsSmall: an erased entry takes little space.
func TestErasedIsSmall(t *testing.T) {
	e := goldenEventEntry()
	whole := len(store.AppendEntry(nil, &e))
	e = store.Anonymize(e)
	if erased := len(store.AppendEntry(nil, &e)); erased > 40 || erased >= whole/2 {
		t.Errorf("%d bytes erased, %d before", erased, whole)
	}
}

// TestHostileLists: a list length without data behind it allocates nothing.
func TestHostileLists(t *testing.T) {
	empty := store.AppendState(nil, &presence.State{})
	ruled := store.AppendState(nil, &presence.State{Rules: &presence.VisibilityRules{}})
	lists := len(empty) - 5 // the lengths of four empty lists stand last, before the byte for rules
	for i, before := range [][]byte{empty[:lists], empty[:lists+1], empty[:lists+2], empty[:lists+3], ruled[:len(ruled)-1]} {
		data := append(bytes.Clone(before), 0xff, 0xff, 0xff, 0xff, 0x7f)
		allocated := testing.AllocsPerRun(10, func() {
			if _, err := store.DecodeState(data); !errors.Is(err, store.ErrFormat) {
				t.Errorf("list %d: %v", i, err)
			}
		})
		if allocated > 10 {
			t.Errorf("list %d: %v allocations", i, allocated)
		}
	}
}

// TestUnknownRules: a rule with bits that this version does not know is refused.
func TestUnknownRules(t *testing.T) {
	ruled := store.AppendState(nil, &presence.State{Rules: &presence.VisibilityRules{}})
	for _, head := range []byte{0x03, 0x40, 0x80} {
		ruled[len(ruled)-2] = head // everyone's stands before the number of watchers
		if _, err := store.DecodeState(ruled); !errors.Is(err, store.ErrFormat) {
			t.Errorf("%#x: %v", head, err)
		}
	}
}

// TestRulesAreSmall: a watcher takes little more space than its id, and a user without
// rules takes none.
func TestRulesAreSmall(t *testing.T) {
	s := presence.State{Revision: 1_700_000_000_000_000, At: 1_700_000_000_000_000}
	plain := len(store.AppendState(nil, &s))
	s.Rules = &presence.VisibilityRules{Watchers: []presence.WatcherRule{{User: "12345678"}}}
	if data := store.AppendState(nil, &s); len(data) != plain+1+1+10 || data[0] != 4 {
		t.Errorf("%d bytes with a watcher, %d without", len(data), plain)
	}
}

// FuzzDecodeState: no input makes the decoder panic, and what it decodes survives a round
// trip.
func FuzzDecodeState(f *testing.F) {
	f.Add(store.AppendState(nil, &presence.State{}))
	f.Add(store.AppendState(nil, &presence.State{
		Revision: 7, At: 1_700_000_000_000_000,
		Sessions: []presence.Session{{ID: "s", EndsAt: 1_700_000_120_000_000}},
		Claims:   []presence.Claim{{ID: "c", Status: presence.Busy}}, Answers: []presence.Answer{{Result: "r"}},
	}))
	f.Add(store.AppendState(nil, &presence.State{Revision: 7, At: 1_700_000_000_000_000, Rules: &presence.VisibilityRules{
		Everyone: presence.VisibilityRule{Visibility: presence.VisibilityStatus, Revision: 5},
		Watchers: []presence.WatcherRule{{User: "w", VisibilityRule: presence.VisibilityRule{Visibility: presence.VisibilityOffline, Since: 9, Revision: 6, LiftedRevision: 7, Default: true}}},
	}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := store.DecodeState(data)
		if err != nil {
			if !errors.Is(err, store.ErrFormat) {
				t.Fatalf("unexpected error: %v", err)
			}
			return
		}
		again, err := store.DecodeState(store.AppendState(nil, &s))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v is decoded as %+v, %v", s, again, err)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(store.AppendEntry(nil, &store.Entry{}))
	f.Add(store.AppendEntry(nil, &store.Entry{
		User: store.User{Account: "a", ID: "u"}, Revision: 9, Time: time.UnixMicro(1_700_000_000_000_000),
		After: presence.Presence{Status: presence.Away, Note: "n", Handheld: true, Revision: 9},
	}))
	all := goldenEventEntry()
	erased := store.Anonymize(all)
	f.Add(store.AppendEntry(nil, &all))
	f.Add(store.AppendEntry(nil, &erased))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := store.DecodeEntry(data)
		if err != nil {
			if !errors.Is(err, store.ErrFormat) {
				t.Fatalf("unexpected error: %v", err)
			}
			return
		}
		again, err := store.DecodeEntry(store.AppendEntry(nil, &e))
		if err != nil || !reflect.DeepEqual(any(again), any(e)) {
			t.Fatalf("%+v is decoded as %+v, %v", e, again, err)
		}
	})
}

func BenchmarkState(b *testing.B) {
	at := presence.InstantOf(time.Now())
	s := presence.State{
		Revision: presence.Revision(at), At: at,
		Sessions: []presence.Session{{ID: "3f2504e0-4f89-11d3", Client: presence.Desktop, Version: "5.17.5", Since: at - 1e9, IdleAt: at + 1e9, EndsAt: at + 1e8, Lease: 2 * time.Minute}, {ID: "7d444840-9dc0-11d1", Client: presence.Mobile, Since: at, EndsAt: at + 1e8, Lease: time.Minute}},
		Claims:   []presence.Claim{{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.Busy, Since: at, Until: at + 864e8}},
	}
	data := store.AppendState(nil, &s)
	b.Run("append", func(b *testing.B) {
		b.ReportMetric(float64(len(data)), "bytes")
		var buf []byte
		for b.Loop() {
			buf = store.AppendState(buf[:0], &s)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := store.DecodeState(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
