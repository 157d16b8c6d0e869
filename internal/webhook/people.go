package webhook

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"porchlight.dev/porchlight/internal/cache"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Users reads users of the directory; *directory.Directory is one.
type Users interface {
	User(ctx context.Context, account presence.AccountID, id presence.UserID) (directory.User, error)
}

// DirectoryPeople finds users in the directory, and deleted ones in the log, where they
// are until they are erased or the retention is over: as long as there are events of
// them.
type DirectoryPeople struct {
	users Users
	log   store.Log
	clock func() time.Time
	known *cache.Table[store.User, *Person]
}

// peopleSlots is how many users are remembered, for directory.MaxStale.
const peopleSlots = 1 << 14

// NewPeople finds users in a directory, and deleted ones in a log.
func NewPeople(users Users, log store.Log, clock func() time.Time) *DirectoryPeople {
	return &DirectoryPeople{users: users, log: log, clock: clock, known: cache.New[store.User, *Person](maphash.MakeSeed(), peopleSlots)}
}

var _ People = (*DirectoryPeople)(nil)

// Of implements People. An entry of a change in the directory has the user as of then, so
// that its events are always the same. All other events have the user as of now.
func (p *DirectoryPeople) Of(ctx context.Context, e *store.Entry) (who, actor *Person, err error) {
	if e.Profile != nil {
		p.known.Invalidate(e.User)
		who = personOf(e.User.ID, e.Profile)
	} else if who, err = p.person(ctx, e.User); err != nil {
		return nil, nil, err
	}
	if who == nil {
		who = &Person{ID: e.User.ID}
	}
	switch by := e.By.Actor.User; by {
	case "":
		return who, nil, nil
	case e.User.ID:
		return who, who, nil
	default:
		actor, err = p.person(ctx, store.User{Account: e.User.Account, ID: by})
		return who, actor, err
	}
}

// person is nil if nothing is known of the user.
func (p *DirectoryPeople) person(ctx context.Context, u store.User) (*Person, error) {
	now := p.clock()
	if known := p.known.Get(u, now, directory.MaxStale); known != nil {
		return known.Value, nil
	}
	entry := p.known.Begin(u, now)
	found, err := p.users.User(ctx, u.Account, u.ID)
	switch {
	case err == nil:
		entry.Value = personOf(u.ID, found.Profile())
	case errors.Is(err, directory.ErrNoUser):
		if entry.Value, err = p.deleted(ctx, u); err != nil {
			return nil, err
		}
	default:
		return nil, err
	}
	p.known.Put(entry)
	return entry.Value, nil
}

// deleted finds a user in the entry of the deletion, which is the newest or followed by a
// few that began before it.
func (p *DirectoryPeople) deleted(ctx context.Context, u store.User) (*Person, error) {
	const newest = 10
	entries, err := p.log.History(ctx, u, 0, newest)
	for i := range entries {
		if entries[i].Profile != nil {
			return personOf(u.ID, entries[i].Profile), err
		}
	}
	return nil, err
}

// Profile is the person as the log has people.
func (p *Person) Profile() *presence.Profile {
	return &presence.Profile{
		Email: p.Email, FirstName: p.FirstName, LastName: p.LastName, DisplayName: p.DisplayName, Department: p.Department, Groups: p.Groups,
	}
}

func personOf(id presence.UserID, p *presence.Profile) *Person {
	return &Person{
		ID: id, Email: p.Email, FirstName: p.FirstName, LastName: p.LastName, DisplayName: p.DisplayName, Department: p.Department, Groups: p.Groups,
	}
}
