package store_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// The golden bytes are the encodings of these values in each released format, in
// hexadecimal, in testdata/golden/<state or entry>-<format byte>.hex. They are written
// once, by hand, from the message of the failing test, and never changed: this version
// must read them.

// goldenState has every feature of the first format.
func goldenState() presence.State {
	const at = presence.Instant(1_795_334_400_000_000)
	return presence.State{
		Revision: 1_795_334_400_000_007, At: at,
		Sessions: []presence.Session{
			{ID: "s1", Client: presence.Desktop, Version: "5.17.5", App: "zoom", Since: at - 5, IdleAt: at + 900e6, EndsAt: at + 120e6, Lease: 2 * time.Minute},
			{ID: "s2", Client: presence.Mobile, Since: at, EndsAt: at + 1},
		},
		Claims: []presence.Claim{
			{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.Busy, Note: "ñ\x00", Since: at, Until: at + 86_400e6, App: "a"},
			{ID: "m", Source: presence.Meeting, Status: presence.InMeeting, Since: at - 1},
		},
		Note:        presence.Note{Text: "own", Until: at + 60e6},
		AvailableAt: at - 3600e6, UpdatedAt: at, DampedSince: at - 1,
		Shown:     presence.Shown{Status: presence.InMeeting, Since: at - 2, StatusRevision: 1_795_334_400_000_000, Revision: 1_795_334_400_000_007},
		UserState: presence.UserDeactivated,
		Answers: []presence.Answer{{
			Key: [16]byte{0: 1, 15: 0xff}, Body: [16]byte{0: 2, 15: 0xfe}, At: at - 10, Revision: 1_795_334_300_000_000, Result: "made",
		}},
	}
}

// goldenRules are added by states of format 2.
func goldenRules() *presence.VisibilityRules {
	const at, revision = presence.Instant(1_795_334_400_000_000), presence.Revision(1_795_334_400_000_007)
	return &presence.VisibilityRules{
		Everyone: presence.VisibilityRule{Visibility: presence.VisibilityStatus, Revision: revision},
		Watchers: []presence.WatcherRule{
			{User: "friend"},
			{User: "veiled", VisibilityRule: presence.VisibilityRule{Since: at - 60e6, Revision: revision - 9, LiftedRevision: revision - 2, Default: true}},
			{User: "ñ\x00", VisibilityRule: presence.VisibilityRule{Visibility: presence.VisibilityOffline, Since: at, Revision: revision}},
		},
	}
}

// goldenOrigins are added by states of format 3.
func goldenOrigins() presence.State {
	s := goldenState()
	s.Sessions[1].Via, s.Claims[1].Via, s.Answers[0].App = "phone", "sync", "bot"
	s.Replaced = []presence.Replaced{{ID: "s0", EndsAt: s.At + 30e6}}
	return s
}

// goldenHolders are added by states of format 4.
func goldenHolders() presence.State {
	s := goldenOrigins()
	s.Sessions[0].Holder, s.Sessions[0].IdleAt, s.Sessions[0].EndsAt = "run-1", 0, 0
	return s
}

func goldenEntry() store.Entry {
	const at = presence.Instant(1_795_334_400_000_000)
	return store.Entry{
		User: store.User{Account: "acme", ID: "u\x00ñ"}, Revision: 1_795_334_400_000_007, Time: at.Time(),
		By:     store.By{Cause: store.CauseClaim, Actor: store.Actor{User: "other", App: "app"}},
		Before: presence.Presence{Status: presence.Available, Since: at - 5, Active: true, Revision: 7, StatusRevision: 6},
		After: presence.Presence{
			Status: presence.Busy, Note: "note", Since: at, Until: at + 60e6, Handheld: true,
			Revision: 1_795_334_400_000_007, StatusRevision: 1_795_334_400_000_007,
		},
	}
}

// goldenOriginEntry is added by entries of format 2.
func goldenOriginEntry() store.Entry {
	e := goldenEntry()
	e.Origin = presence.Origin{
		Claim: "m", Source: presence.Meeting,
		Client: presence.Client{Type: presence.Mobile, Version: "5.17.5", Status: presence.Away},
	}
	e.UserBefore = store.UserFacts{State: presence.UserDeactivated, Note: "own"}
	e.UserAfter = store.UserFacts{Note: "ñ"}
	return e
}

// goldenEventEntry is added by entries of format 3.
func goldenEventEntry() store.Entry {
	e := goldenOriginEntry()
	e.Began = []store.SessionFacts{{ID: "s1", Client: presence.Desktop, Version: "5.17.5", App: "app"}, {ID: "s2"}}
	e.Ended = []store.SessionFacts{{ID: "s3", Client: "ñ\x00"}}
	e.Profile = &presence.Profile{
		Email: "ada@example.com", FirstName: "Ada", LastName: "Lovelace", DisplayName: "Ada L.", Department: "R&D", Groups: []string{"a", "ñ"},
	}
	e.ProfileBefore = &presence.Profile{Email: "ada@example.org"}
	return e
}

// golden reads the golden bytes of each format.
func golden(t *testing.T, kind string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "golden", kind+"-*.hex"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]byte)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		found[path] = data
	}
	return found
}

func TestGoldenState(t *testing.T) {
	plain, ruled, origins, origin, holders, all := goldenState(), goldenState(), goldenOrigins(), goldenOrigins(), goldenHolders(), goldenHolders()
	ruled.Rules, origin.Rules, all.Rules = goldenRules(), goldenRules(), goldenRules()
	states := map[string]*presence.State{"1": &plain, "2": &ruled, "3": &origin, "3-plain": &origins, "4": &all, "4-plain": &holders}
	written := [][]byte{store.AppendState(nil, &holders), store.AppendState(nil, &all)}
	for path, data := range golden(t, "state") {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "state-"), ".hex")
		if len(data) == 0 || name[0] != '0'+data[0] || states[name] == nil {
			t.Fatalf("%s has an unknown format", path)
		}
		want := *states[name]
		got, err := store.DecodeState(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is\n%+v, %v, want\n%+v", path, got, err, want)
		}
		written = slices.DeleteFunc(written, func(w []byte) bool { return bytes.Equal(w, data) })
	}
	for _, data := range written {
		t.Errorf("format %d has no golden bytes: add these\n%x", data[0], data)
	}
}

func TestGoldenEntry(t *testing.T) {
	plain, origin, all := goldenEntry(), goldenOriginEntry(), goldenEventEntry()
	erased := store.Anonymize(all)
	entries := map[string]*store.Entry{"1": &plain, "2": &origin, "2-erased": &erased, "3": &all, "3-erased": &erased}
	written := [][]byte{store.AppendEntry(nil, &all), store.AppendEntry(nil, &erased)}
	for path, data := range golden(t, "entry") {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "entry-"), ".hex")
		if len(data) == 0 || name[0] != '0'+data[0] || entries[name] == nil {
			t.Fatalf("%s has an unknown format", path)
		}
		got, err := store.DecodeEntry(data)
		if want := *entries[name]; err != nil || !reflect.DeepEqual(any(got), any(want)) {
			t.Errorf("%s is\n%+v, %v, want\n%+v", path, got, err, want)
		}
		written = slices.DeleteFunc(written, func(w []byte) bool { return bytes.Equal(w, data) })
	}
	for _, data := range written {
		t.Errorf("format %d has no golden bytes: add these\n%x", data[0], data)
	}
}

// These numbers are in stored values and are never reused: append a new one to the end
// of its list, here and where it is defined.
func TestStoredNumbers(t *testing.T) {
	for name, row := range map[string]struct {
		stored []string
		name   func(int) string
	}{
		"statuses": {[]string{
			"offline", "available", "away", "busy", "do_not_disturb", "in_calendar_event",
			"in_meeting", "presenting", "on_call", "out_of_office",
		}, func(n int) string { return presence.Status(n).String() }},
		"causes": {[]string{
			"unknown", "sign_in", "refresh", "sign_out", "claim", "end_claim", "note", "user_state", "time", "visibility",
			"renamed", "email", "created", "activated", "deactivated", "deleted",
		}, func(n int) string { return store.Cause(n).String() }},
		"user states": {[]string{"active", "deactivated", "deleted"}, func(n int) string {
			return map[presence.UserState]string{
				presence.UserActive: "active", presence.UserDeactivated: "deactivated", presence.UserDeleted: "deleted",
			}[presence.UserState(n)]
		}},
		"rules of visibility": {[]string{"all", "status", "offline"}, func(n int) string {
			return map[presence.Visibility]string{
				presence.VisibilityAll: "all", presence.VisibilityStatus: "status", presence.VisibilityOffline: "offline",
			}[presence.Visibility(n)]
		}},
	} {
		for n, want := range row.stored {
			if got := row.name(n); got != want {
				t.Errorf("%s: %d is %q, but was stored as %q", name, n, got, want)
			}
		}
	}
	if n := len(presence.Statuses()); n != 10 {
		t.Errorf("%d statuses: append the new ones above", n)
	}
}
