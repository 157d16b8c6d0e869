package storetest

import (
	"fmt"
	"reflect"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// largestRecord: the largest record that the limits of package presence allow can be
// stored and read.
func largestRecord(x *suite) {
	var want presence.State
	r := x.update(user("u"), func(s *presence.State) {
		fillToLimits(s)
		want = *s
	})
	if size := len(store.AppendState(nil, r.State)); size > store.MaxStateBytes {
		x.Errorf("the largest record has %d bytes, more than the %d of the contract", size, store.MaxStateBytes)
	}
	records, _ := x.read(user("u"))
	if len(records) != 1 || !reflect.DeepEqual(records[0].State.Claims, want.Claims) || !reflect.DeepEqual(records[0].State.Sessions, want.Sessions) {
		x.Error("the record that was read differs")
	}
}

// fillToLimits fills a state up to every limit, with text of the largest size in bytes.
func fillToLimits(s *presence.State) {
	id := func(kind string, i int) string {
		begin := fmt.Sprint(kind, i, "-")
		return begin + strings.Repeat("x", presence.MaxIDBytes-len(begin))
	}
	word, note := strings.Repeat("w", 32), strings.Repeat("\U0001F300", presence.MaxNoteRunes)
	app := presence.AppID(id("app", 0))
	at, later := s.At, s.At.Add(presence.MaxClaimLasts)
	s.Note = presence.Note{Text: note, Until: later}
	s.Sessions, s.Replaced, s.Claims, s.Answers = nil, nil, nil, nil
	for i := range presence.MaxSessions {
		s.Sessions = append(s.Sessions, presence.Session{
			ID: presence.SessionID(id("s", i)), Client: presence.ClientType(word), Version: strings.Repeat("v", 64), App: app,
			Since: at, IdleAt: later, EndsAt: later, Lease: presence.MaxLease, Holder: strings.Repeat("h", 32),
		})
	}
	for i := range presence.MaxReplaced {
		s.Replaced = append(s.Replaced, presence.Replaced{ID: presence.SessionID(id("r", i)), EndsAt: later})
	}
	for i := range presence.MaxClaims + 1 { // one more: the manual claim
		s.Claims = append(s.Claims, presence.Claim{
			ID: presence.ClaimID(id("c", i)), Source: presence.Source(word), Status: presence.Busy, Note: note, Since: at, Until: later, App: app,
		})
	}
	for range presence.MaxAnswers {
		s.Answers = append(s.Answers, presence.Answer{App: app, At: at, Result: id("made", 0)})
	}
	rule := presence.VisibilityRule{Visibility: presence.VisibilityOffline, Since: at, Revision: 1, LiftedRevision: 1}
	s.Rules = &presence.VisibilityRules{Everyone: rule}
	for i := range 2 * presence.MaxRules {
		s.Rules.Watchers = append(s.Rules.Watchers, presence.WatcherRule{User: presence.UserID(id("w", i)), VisibilityRule: rule})
	}
}
