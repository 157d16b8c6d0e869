// Package notify is where presence goes out to those who look: plain reads, and
// with realtime the followers and their queues.
//
// It is separate from publish so that nothing can be told that is not durable:
// the two meet in the store only. It guarantees that each watcher is told what
// presence.View lets it see, and nothing more.
package notify

import (
	"context"
	"runtime"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Looker says as whom a request looks at a user; *auth.Principal is one.
type Looker interface {
	Watcher(target presence.UserID) presence.Watcher
}

// Views answers plain reads.
type Views struct {
	Store store.Store
	// Known says whether the directory has a user of whom nothing is recorded:
	// nil, or the error to answer.
	Known func(context.Context, store.User) error
	// ErrGone is the answer for a deleted user: that of an unknown one.
	ErrGone error
}

// A View is what one watcher sees of one user.
type View struct {
	User     presence.UserID
	Presence presence.Presence
	// State is the record behind it, for those who may see the truth; nil for
	// others.
	State *presence.State
}

// Read is what looker sees of one user.
func (v *Views) Read(ctx context.Context, account presence.AccountID, id presence.UserID, looker Looker) (View, store.Cursor, error) {
	u := store.User{Account: account, ID: id}
	records, cursor, err := v.Store.Read(ctx, []store.User{u})
	if err != nil {
		return View{}, cursor, err
	}
	if len(records) == 0 {
		if err := v.Known(ctx, u); err != nil {
			return View{}, cursor, err
		}
		return View{User: id}, cursor, nil
	}
	if records[0].State.Standing == presence.Deleted {
		return View{}, cursor, v.ErrGone
	}
	return see(&records[0], looker), cursor, nil
}

// Query is what looker sees of many users, in their order. Users of whom nothing
// is recorded, and deleted ones, are left out.
func (v *Views) Query(ctx context.Context, account presence.AccountID, ids []presence.UserID, looker Looker) ([]View, store.Cursor, error) {
	views := make([]View, 0, len(ids))
	var from store.Cursor                                    // of the first part, so that it is no newer than any
	for n := 0; n == 0 || n < len(ids); n += queriedAtOnce { // nobody has a cursor too
		part := ids[n:min(n+queriedAtOnce, len(ids))]
		users := make([]store.User, len(part))
		for i, id := range part {
			users[i] = store.User{Account: account, ID: id}
		}
		records, cursor, err := v.Store.Read(ctx, users)
		if err != nil {
			return nil, cursor, err
		}
		if n == 0 {
			from = cursor
		}
		for i := range records {
			if records[i].State.Standing != presence.Deleted {
				views = append(views, see(&records[i], looker))
			}
		}
		runtime.Gosched() // a request that is ready does not wait for all parts
	}
	return views, from, nil
}

// queriedAtOnce is how many users of a query are read at once.
const queriedAtOnce = 500

func see(r *store.Record, looker Looker) View {
	watcher := looker.Watcher(r.User.ID)
	view := View{User: r.User.ID, Presence: presence.View(r.Shown, r.State.Rules, watcher)}
	if watcher.Truth {
		view.State = r.State
	}
	return view
}
