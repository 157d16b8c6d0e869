package storetest

import (
	"context"
	"fmt"
	"reflect"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Twice wraps s so that Update and Begin run their function twice, as a backend may, and discards the
// first result. An update fails if its function modifies its argument.
func Twice(s store.Store) store.Store { return twice{s} }

type twice struct{ store.Store }

func (t twice) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	return t.Store.Update(ctx, u, runTwice(fn))
}

func (t twice) Begin(u store.User, fn store.Decide, reply store.Reply) {
	t.Store.Begin(u, runTwice(fn), reply)
}

func runTwice(fn store.Decide) store.Decide {
	return func(was presence.Recorded) (store.Change, error) {
		before := deepCopy(was.State)
		_, _ = fn(was)
		if !reflect.DeepEqual(was.State, before) {
			return store.Change{}, fmt.Errorf("the update function modified its argument: %+v became %+v", before, was.State)
		}
		return fn(was)
	}
}

func deepCopy(s presence.State) presence.State {
	if s.Sessions != nil {
		s.Sessions = append([]presence.Session{}, s.Sessions...)
	}
	if s.Claims != nil {
		s.Claims = append([]presence.Claim{}, s.Claims...)
	}
	if s.Answers != nil {
		s.Answers = append([]presence.Answer{}, s.Answers...)
	}
	return s
}
