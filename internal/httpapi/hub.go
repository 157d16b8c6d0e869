package httpapi

import (
	"context"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// NewHub is a hub whose streams speak this API: it knows users and contacts from
// dir, and who may look from authority. It hears of changes of contacts from dir.
func NewHub(st store.Store, dir *directory.Directory, authority *auth.Authority, reads *quota.Turns, clock func() time.Time, log *slog.Logger) *notify.Hub {
	hub := notify.NewHub(notify.Options{
		Store: st,
		Known: func(ctx context.Context, u store.User) error {
			_, err := dir.User(ctx, u.Account, u.ID)
			return err
		},
		Gone:            directory.ErrNoUser,
		Contacts:        contactLists(dir),
		ContactVersions: dir.ContactVersions,
		Valid: func(ctx context.Context, all []view.Viewer) []error {
			principals := make([]*auth.Principal, len(all))
			for i, l := range all {
				principals[i], _ = l.(*auth.Principal) // all are
			}
			return authority.Recheck(ctx, principals)
		},
		Forbidden: auth.Refused,
		Turn: func(ctx context.Context, l view.Viewer, users int) (func(), error) {
			p, ok := l.(*auth.Principal)
			if !ok || users <= lightRead {
				return func() {}, nil
			}
			return reads.Wait(ctx, turnOf(p)) // as many wait as streams may
		},
		Format: Format{},
		Clock:  clock,
		Log:    log,
	})
	dir.OnContacts(hub.ContactsMoved)
	authority.OnRevoke(func(r *auth.Revocation) {
		hub.EndRevoked(func(l view.Viewer) bool {
			p, ok := l.(*auth.Principal)
			return ok && r.Covers(p)
		})
	})
	return hub
}

func contactLists(dir *directory.Directory) func(context.Context, presence.AccountID, []presence.UserID) (map[presence.UserID]notify.ContactList, error) {
	return func(ctx context.Context, account presence.AccountID, owners []presence.UserID) (map[presence.UserID]notify.ContactList, error) {
		found, err := dir.ContactsOf(ctx, account, owners)
		if err != nil {
			return nil, err
		}
		lists := make(map[presence.UserID]notify.ContactList, len(found))
		for owner, c := range found {
			list := notify.ContactList{Gen: c.Gen, Pruned: c.Pruned, Version: c.Version}
			for _, edge := range c.List {
				list.Edges = append(list.Edges, notify.ContactEdge{User: edge.User, Gen: edge.Gen})
			}
			for _, edge := range c.Ended {
				list.Ended = append(list.Ended, notify.ContactEdge{User: edge.User, Gen: edge.Gen})
			}
			lists[owner] = list
		}
		return lists, nil
	}
}
