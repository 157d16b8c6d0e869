package zoomapi

import (
	"context"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// Lists have the number of all users, which the directory does not keep: they have to be
// read and counted. A count of few users is made for each request; a larger one is kept
// for a while, the longer the more users there are, so that counting never takes much of
// the time.
const (
	exactCount = 1000 // up to as many users a count is exact
	countLasts = time.Minute
	countPer   = 100_000 // users for each of which a count lasts countLasts longer
	maxCounts  = 64
	mark       = 100
)

type countKey struct {
	account presence.AccountID
	userFilter
}

// A count is how many users a filter selects, and after whom each hundred of them begins,
// which finds numbered pages.
type count struct {
	total   int
	marks   []presence.UserID // of the users before number 100, 200, …
	members map[string]int    // of each group, by its key
	scanned int
	expires time.Time
}

// page is a user before the one with this number, and how many to skip after it.
func (c *count) page(offset int) (after presence.UserID, skip int) {
	hundreds := min(offset/mark, len(c.marks))
	if hundreds == 0 {
		return "", offset
	}
	return c.marks[hundreds-1], offset - hundreds*mark
}

// counts are those that were made lately.
type counts struct {
	mu    sync.Mutex
	known map[countKey]*count // guarded by mu
}

func (c *counts) get(key countKey, now time.Time) *count {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := c.known[key]; found != nil && now.Before(found.expires) {
		return found
	}
	return nil
}

// put keeps a count until it expires, in place of one that expires first if there are too
// many.
func (c *counts) put(key countKey, made *count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[countKey]*count)
	}
	if _, again := c.known[key]; !again && len(c.known) >= maxCounts {
		first := key
		for k, v := range c.known {
			if first == key || v.expires.Before(c.known[first].expires) {
				first = k
			}
		}
		delete(c.known, first)
	}
	c.known[key] = made
}

// count counts the users that a filter selects, unless that was done lately.
func (a *API) count(ctx context.Context, key countKey, selects func(*directory.User) bool) (*count, error) {
	if found := a.Users.counts.get(key, a.Clock()); found != nil {
		return found, nil
	}
	made := &count{members: make(map[string]int)}
	for after := presence.UserID(""); ; {
		users, err := a.Directory.Users(ctx, key.account, after, scanPage)
		if err != nil {
			return nil, err
		}
		for i := range users {
			after = users[i].ID
			if !selects(&users[i]) {
				continue
			}
			made.total++
			for _, name := range users[i].Groups {
				made.members[directory.GroupKey(name)]++
			}
			if made.total%mark == 0 {
				made.marks = append(made.marks, after)
			}
		}
		made.scanned += len(users)
		if len(users) < scanPage {
			break
		}
	}
	if made.scanned > exactCount {
		made.expires = a.Clock().Add(countLasts * time.Duration(1+made.scanned/countPer))
		a.Users.counts.put(key, made)
	}
	return made, nil
}

// countMembers counts the members of each group, as count does.
func (a *API) countMembers(ctx context.Context, p *auth.Principal) (*count, error) {
	key := countKey{account: p.Account}
	if found := a.Users.counts.get(key, a.Clock()); found != nil {
		return found, nil
	}
	done, err := a.Users.Reads.Take(ctx, p.TurnKey())
	if err != nil {
		return nil, err
	}
	defer done()
	return a.count(ctx, key, func(*directory.User) bool { return true })
}
