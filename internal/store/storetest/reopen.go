package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

var reopenTests = []namedTest{
	{"StatesSurvive", statesSurvive},
	{"PositionsContinue", positionsContinue},
	{"DocsSurvive", docsSurvive},
	{"DueSurvives", dueSurvives},
	{"CallsAfterClose", callsAfterClose},
}

// fullState sets every field of a state.
func fullState(s *presence.State) {
	at := s.At
	s.Sessions = []presence.Session{
		{ID: "s1", Client: presence.Desktop, Version: "5.17.0", Since: at - 5, IdleAt: at + 900e6, EndsAt: at + 120e6, Lease: 2 * time.Minute, App: "app"},
		{ID: "s2", Client: "", Since: at, EndsAt: at + 1, Lease: 1},
	}
	s.Claims = []presence.Claim{
		{ID: "m", Source: presence.Meeting, Status: presence.InMeeting, Note: "Grüße \x00\n", Since: at - 1, Until: at + 1e9, App: "app"},
		{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.Busy, Since: at},
	}
	s.Note = presence.Note{Text: "own", Until: at + 3600e6}
	s.AvailableAt, s.UpdatedAt, s.DampedSince = at-1, at-2, at-3
	s.Shown = presence.Shown{Status: presence.InMeeting, Since: at - 7, StatusRevision: s.Revision, Revision: s.Revision - 1}
	s.UserState = presence.UserDeactivated
	s.Answers = []presence.Answer{
		{Key: [16]byte{1, 255}, Body: [16]byte{2}, At: at, Revision: s.Revision, Result: "s1"},
		{Key: [16]byte{3}, Body: [16]byte{0}, At: at - 9, Revision: 1},
	}
}

func statesSurvive(x *suite) {
	want := x.update(user("whole"), fullState)
	bare := x.update(user("bare"), noEdit)
	epoch := x.Store.Epoch()
	x.Store = x.Reopen(x.T)
	records, _ := x.read(users("whole", "bare")...)
	if len(records) != 2 {
		x.Fatalf("%d records after reopening", len(records))
	}
	if !reflect.DeepEqual(*records[0].State, *want.State) || records[0].At != want.At {
		x.Errorf("the state is\n%+v, it was\n%+v", *records[0].State, *want.State)
	}
	if !reflect.DeepEqual(*records[1].State, *bare.State) {
		x.Errorf("the bare state is %+v, it was %+v", *records[1].State, *bare.State)
	}
	if x.Store.Epoch() != epoch {
		x.Errorf("a clean close changed the epoch from %q to %q", epoch, x.Store.Epoch())
	}
}

func positionsContinue(x *suite) {
	var last store.Record
	for range 5 {
		last = x.update(user("u"), noEdit)
	}
	_, cursor := x.read(user("u"))
	x.Store = x.Reopen(x.T)
	if records, _ := x.changed(cursor, user("u")); len(records) != 0 {
		x.Errorf("Read has changes, but nothing changed while the store was closed: %+v", records)
	}
	next := x.update(user("u"), noEdit)
	if next.At <= last.At || next.State.Revision <= last.State.Revision {
		x.Errorf("after reopening: position %d after %d, revision %d after %d", next.At, last.At, next.State.Revision, last.State.Revision)
	}
	if records, _ := x.changed(cursor, user("u")); len(records) != 1 {
		x.Errorf("changed since reopening: %+v, want one record", records)
	}
}

func docsSurvive(x *suite) {
	x.write(acme, doc("c", "k", "v"), doc("c", "gone", "v"))
	before := x.loadOne(key("c", "k"))
	gone := x.loadOne(key("c", "gone"))
	gone.Value = nil
	x.write(acme, gone)
	x.Store = x.Reopen(x.T)
	after := x.loadOne(key("c", "k"))
	if !reflect.DeepEqual(before, after) {
		x.Errorf("the document is %+v, it was %+v", after, before)
	}
	if docs := x.load(acme, key("c", "gone")); len(docs) != 0 {
		x.Errorf("a deleted document exists: %+v", docs)
	}
	after.Value = []byte("w")
	x.write(acme, after)
	x.wantConflict(before)
}

func dueSurvives(x *suite) {
	passed, ahead := x.outIn(user("passed"), x.Ahead), x.outIn(user("ahead"), 4*x.Ahead)
	x.pause(instant(2 * x.Ahead))
	x.Store = x.Reopen(x.T)
	fired, _ := x.runDue(clearClaims)
	instants := map[store.User]time.Time{user("passed"): passed, user("ahead"): ahead}
	for len(instants) > 0 { // in any order: both are due if opening took long
		f := receive(x, fired, "the firing of a user")
		if due, ok := instants[f.user]; !ok || f.at.Before(due) {
			x.Errorf("%s fired twice, or too early", f.user.ID)
		}
		delete(instants, f.user)
	}
}

func callsAfterClose(x *suite) {
	x.update(user("u"), noEdit)
	ended := make(chan error, 2)
	go func() { ended <- x.Store.Feed(x.ctx, 0, func([]store.Entry) error { return nil }) }()
	go func() { ended <- x.Store.Due(x.ctx, func([]store.User) error { return nil }) }()
	if err := x.Store.Close(); err != nil {
		x.Fatalf("Close: %v", err)
	}
	if err := x.Store.Close(); err != nil {
		x.Errorf("a second Close: %v", err)
	}
	for range 2 {
		if err := receive(x, ended, "the end of a reader"); !errors.Is(err, store.ErrClosed) {
			x.Errorf("a reader of a closed store ended with %v", err)
		}
	}
	_, update := x.Store.Update(x.ctx, user("u"), UpdateFunc(store.By{}, edit(noEdit)))
	_, _, read := x.Store.Read(x.ctx, users("other"), store.Freshness{})
	_, load := x.Store.Load(x.ctx, acme, key("c", "k"))
	_, list := x.Store.List(x.ctx, acme, "c", "", 1)
	_, begin := x.begin(user("u"), edit(noEdit)).wait()
	for what, err := range map[string]error{
		"Update": update, "Begin": begin, "Read": read, "Load": load, "List": list,
		"Write": x.Store.Write(x.ctx, acme, doc("c", "k", "v")),
		"Feed":  x.Store.Feed(x.ctx, 0, func([]store.Entry) error { return nil }),
		"Due":   x.Store.Due(x.ctx, func([]store.User) error { return nil }),
		"Check": x.Store.Check(x.ctx),
	} {
		if !errors.Is(err, store.ErrClosed) {
			x.Errorf("%s of a closed store: %v, want ErrClosed", what, err)
		}
	}
	select {
	case <-x.Store.Failed():
		x.Error("a closed store reports a failure")
	default:
	}
	if got := fmt.Sprint(x.Store.Epoch()); got == "" {
		x.Error("a closed store has no epoch")
	}
}
