// Package view answers plain reads: what one viewer may see of a user, now.
//
// It is separate from hub because a read keeps no connection, queue or position,
// and because a dialect without streams needs nothing else. It guarantees that
// every viewer sees what presence.View allows, and that a deleted user cannot be
// distinguished from an unknown one.
//
// It must not decide anything about presence, nor write.
package view

import (
	"context"
	"runtime"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Viewer is the party on whose behalf a user is read; *auth.Principal is one.
type Viewer interface {
	Watcher(target presence.UserID) presence.Watcher
}

// Of is what viewer sees of a record.
func Of(r *store.Record, viewer Viewer) presence.Presence {
	if r.State.Rules == nil {
		return r.Shown // no rules: the same for all, so that thousands of viewers need not be identified
	}
	return presence.View(r.Shown, r.State.Rules, viewer.Watcher(r.User.ID))
}

// A View is what one viewer sees of one user.
type View struct {
	User     presence.UserID
	Presence presence.Presence
	// State is the recorded state if the viewer may see the truth; otherwise nil.
	State *presence.State
}

// A Reader reads views from a store.
type Reader struct {
	Store store.Store
	// Known checks that the directory has a user without a record: nil, or the error
	// to answer.
	Known func(context.Context, store.User) error
	// ErrGone is the answer for a deleted user: that of an unknown one.
	ErrGone error
}

// Reach has all reads that follow be at least as new as fresh asks.
func (r *Reader) Reach(ctx context.Context, fresh store.Freshness) error {
	_, _, err := r.Store.Read(ctx, nil, fresh)
	return err
}

// Read is what viewer sees of one user.
func (r *Reader) Read(ctx context.Context, account presence.AccountID, id presence.UserID, viewer Viewer) (View, store.Cursor, error) {
	u := store.User{Account: account, ID: id}
	records, cursor, err := r.Store.Read(ctx, []store.User{u}, store.Freshness{})
	if err != nil {
		return View{}, cursor, err
	}
	if len(records) == 0 {
		if err := r.Known(ctx, u); err != nil {
			return View{}, cursor, err
		}
		return View{User: id}, cursor, nil
	}
	if records[0].State.UserState == presence.UserDeleted {
		return View{}, cursor, r.ErrGone
	}
	return withState(&records[0], viewer), cursor, nil
}

// Query is what viewer sees of many users, in their order. Users without a record and
// deleted users are left out.
func (r *Reader) Query(ctx context.Context, account presence.AccountID, ids []presence.UserID, viewer Viewer) ([]View, store.Cursor, error) {
	views := make([]View, 0, len(ids))
	var from store.Cursor                                 // of the first part, so that it is no newer than any
	for n := 0; n == 0 || n < len(ids); n += queryBatch { // an empty query has a cursor too
		part := ids[n:min(n+queryBatch, len(ids))]
		users := make([]store.User, len(part))
		for i, id := range part {
			users[i] = store.User{Account: account, ID: id}
		}
		records, cursor, err := r.Store.Read(ctx, users, store.Freshness{})
		if err != nil {
			return nil, cursor, err
		}
		if n == 0 {
			from = cursor
		}
		for i := range records {
			if records[i].State.UserState != presence.UserDeleted {
				views = append(views, withState(&records[i], viewer))
			}
		}
		runtime.Gosched() // ready requests need not wait for all parts
	}
	return views, from, nil
}

// Active returns what viewer sees of the users whose records are active, in their order.
// A user without a record appears offline.
func (r *Reader) Active(ctx context.Context, account presence.AccountID, ids []presence.UserID, viewer Viewer) ([]View, error) {
	users := make([]store.User, len(ids))
	for i, id := range ids {
		users[i] = store.User{Account: account, ID: id}
	}
	records, _, err := r.Store.Read(ctx, users, store.Freshness{})
	if err != nil {
		return nil, err
	}
	views := make([]View, 0, len(ids))
	for _, id := range ids {
		switch {
		case len(records) == 0 || records[0].User.ID != id:
			views = append(views, View{User: id})
			continue
		case records[0].State.UserState == presence.UserActive:
			views = append(views, View{User: id, Presence: Of(&records[0], viewer)})
		}
		records = records[1:]
	}
	return views, nil
}

// queryBatch is how many users of a query are read at once.
const queryBatch = 500

func withState(r *store.Record, viewer Viewer) View {
	view := View{User: r.User.ID, Presence: Of(r, viewer)}
	if viewer.Watcher(r.User.ID).Truth {
		view.State = r.State
	}
	return view
}
