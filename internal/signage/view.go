package signage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// A View is what a link shows. It is shared and must not be changed.
type View struct {
	Title  string // the group, or the name of the account
	People []Person
}

// A Person is a user as everybody may see them.
type Person struct {
	Name   string
	Status presence.Status
}

// Show is what is behind an address, at most fresh old when it was read. Requests that come
// while it is read get the same. ErrNoLink is also the answer if the
// account is suspended or deleted.
func (r *Registry) Show(ctx context.Context, address string) (*View, error) {
	owner, secret, ok := strings.Cut(address, ".")
	account := presence.AccountID(owner)
	if !ok || presence.CheckID("account", owner) != nil {
		return nil, ErrNoLink
	}
	link, err := r.link(ctx, account, idOf(secret))
	if err != nil {
		return nil, err
	}
	if known := r.shown.Get(link.ID, r.clock(), fresh); known != nil {
		return known.Value, nil
	}
	// The reading serves all who wait, so it does not end with the request that began it.
	detached := context.WithoutCancel(ctx)
	read := r.reading.DoChan(link.ID, func() (any, error) { return r.refreshSafely(detached, account, &link) })
	select {
	case got := <-read:
		shown, _ := got.Val.(*View)
		return shown, got.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refreshSafely is refresh in a goroutine of its own, where a panic would end the server.
func (r *Registry) refreshSafely(ctx context.Context, account presence.AccountID, link *Link) (shown *View, err error) {
	defer func() {
		if v := recover(); v != nil {
			shown, err = nil, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return r.refresh(ctx, account, link)
}

// refresh reads what a link shows, unless that was done a moment ago, and remembers it.
func (r *Registry) refresh(ctx context.Context, account presence.AccountID, link *Link) (*View, error) {
	now := r.clock()
	if known := r.shown.Get(link.ID, now, fresh); known != nil {
		return known.Value, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	entry := r.shown.Begin(link.ID, now)
	var err error
	if entry.Value, err = r.read(ctx, account, link); err != nil {
		return nil, err
	}
	r.shown.Put(entry)
	return entry.Value, nil
}

// readStep is how many users are read at once.
const readStep = 500

func (r *Registry) read(ctx context.Context, id presence.AccountID, link *Link) (*View, error) {
	account, err := r.directory.Account(ctx, id)
	if errors.Is(err, directory.ErrNoAccount) || err == nil && account.Suspended {
		return nil, ErrNoLink
	}
	if err != nil {
		return nil, err
	}
	shown := &View{Title: link.Group, People: []Person{}}
	if shown.Title == "" {
		shown.Title = account.Name
	}
	for after := presence.UserID(""); ; {
		users, err := r.directory.Users(ctx, id, after, readStep)
		if err != nil {
			return nil, err
		}
		people, err := r.people(ctx, id, directory.GroupKey(link.Group), users)
		if err != nil {
			return nil, err
		}
		shown.People = append(shown.People, people...)
		if len(users) < readStep {
			return shown, nil
		}
		after = users[len(users)-1].ID
	}
}

// people are those of a page of users whom the link shows.
func (r *Registry) people(ctx context.Context, account presence.AccountID, group string, users []directory.User) ([]Person, error) {
	names := make(map[presence.UserID]string, len(users))
	ids := make([]presence.UserID, 0, len(users))
	for i := range users {
		if u := &users[i]; u.Active && (group == "" || u.InGroup(group)) {
			names[u.ID] = nameOf(u)
			ids = append(ids, u.ID)
		}
	}
	views, err := r.views.Active(ctx, account, ids, everyone{})
	if err != nil {
		return nil, err
	}
	people := make([]Person, len(views))
	for i := range views {
		people[i] = Person{Name: names[views[i].User], Status: views[i].Presence.Status}
	}
	return people, nil
}

// nameOf is a user's name, "" if there is none. An e-mail address is not for everybody.
func nameOf(u *directory.User) string {
	return cmp.Or(u.DisplayName, u.FullName())
}

// everyone is a viewer whom no user has named in a rule.
type everyone struct{}

// Watcher implements view.Viewer.
func (everyone) Watcher(presence.UserID) presence.Watcher { return presence.Watcher{} }
