package cli

import (
	"cmp"
	"context"
	"iter"
	"sync"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// names looks up the names to show for users and apps, or the id if the token may not
// read them. It is safe for concurrent use.
type names struct {
	client *client.Client

	mu         sync.Mutex
	users      map[string]api.User
	apps       map[string]string
	wanted     map[string]bool // the users whose names a list will need
	prefetched bool
	denied     bool
}

// of returns the name in the request, else the e-mail address, else the id.
func (n *names) of(ctx context.Context, p *api.Presence) string {
	if p.AskedAs != "" {
		return p.AskedAs
	}
	return n.email(ctx, p.User)
}

// email returns the e-mail address of a user, else the id.
func (n *names) email(ctx context.Context, id string) string {
	if user := n.user(ctx, id); user.Email != "" {
		return user.Email
	}
	return id
}

// person returns the e-mail address and the display name of a user, for two columns.
func (n *names) person(ctx context.Context, id string) []string {
	return []string{cmp.Or(n.email(ctx, id), "-"), cmp.Or(n.user(ctx, id).DisplayName, "-")}
}

func (n *names) user(ctx context.Context, id string) api.User {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.prefetch(ctx)
	user, ok := n.users[id]
	if ok || n.denied || id == "" {
		return user
	}
	user, err := n.client.User(ctx, id)
	n.denied = err != nil && !client.Is(err, &api.NoUser) // a removed user does not mean that the token may not read others
	n.remember(id, user)
	if n.denied {
		n.readPresences(ctx)
	}
	return n.users[id]
}

func (n *names) remember(id string, user api.User) {
	if n.users == nil {
		n.users = make(map[string]api.User)
	}
	n.users[id] = user
}

// manyNames is up to how many users are read one by one; more are read from the directory.
const manyNames = 10

// readPresences reads the names that a list needs from the presences. A caller that may
// not read the directory may read those.
func (n *names) readPresences(ctx context.Context) {
	left := 10_000 // a bound on the time
	for p, err := range n.client.List(ctx, client.ListOptions{}) {
		if err != nil || left == 0 || len(n.wanted) == 0 {
			return
		}
		left--
		if n.wanted[p.User] {
			n.remember(p.User, api.User{ID: p.User, Email: p.Email, DisplayName: p.DisplayName})
			delete(n.wanted, p.User)
		}
	}
}

// prefetch reads the directory if a list needs many names.
func (n *names) prefetch(ctx context.Context) {
	if n.prefetched || len(n.wanted) <= manyNames {
		return
	}
	n.prefetched = true
	for user, err := range n.client.Users(ctx) {
		if err != nil {
			return
		}
		if n.wanted[user.ID] {
			n.remember(user.ID, user)
			delete(n.wanted, user.ID)
		}
		if len(n.wanted) == 0 {
			return
		}
	}
}

// withNames records which names a list will need.
func withNames[T any](n *names, items iter.Seq2[T, error], user func(*T) string) iter.Seq2[T, error] {
	n.wanted = make(map[string]bool)
	return func(yield func(T, error) bool) {
		for item, err := range items {
			if id := user(&item); err == nil && id != "" {
				n.wanted[id] = true
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// app returns the name of an app, else its id.
func (n *names) app(ctx context.Context, id string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.apps == nil {
		n.apps = make(map[string]string)
		for app, err := range n.client.Apps(ctx) {
			if err != nil {
				if me, err := n.client.Me(ctx); err == nil {
					n.apps[me.App] = me.AppName
				}
				break
			}
			n.apps[app.ID] = app.Name
		}
	}
	return cmp.Or(n.apps[id], id, "-")
}
