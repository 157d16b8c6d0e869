package directory

import (
	"context"
	"errors"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
)

// A Filter selects users who have all that it names. The zero value selects everybody.
type Filter struct {
	// Query is words. Each of them is part of one of the user's names or of the e-mail
	// address, in any letter case.
	Query  string
	Email  string // the whole address, compared as the directory compares addresses
	Group  string // the name of a group, compared by GroupKey
	Role   *Role
	Active *bool
}

// Users are scanned in pages of scanPage, at most maxScanned for each call.
const (
	scanPage   = 1000
	maxScanned = 5_000
)

// Search pages by id: users above after who match f, at most limit. next is where to
// continue; "" is the end. A page may have fewer users than limit, or none, before the
// end, because a call reads at most maxScanned of the account's users: what a filter asks
// for is stored with the users.
func (d *Directory) Search(
	ctx context.Context, account presence.AccountID, f *Filter, after presence.UserID, limit int,
) (found []User, next presence.UserID, err error) {
	switch {
	case *f == Filter{}:
		return d.scan(ctx, account, after, limit, limit+1, func(*User) bool { return true })
	case f.Email != "":
		found, err = d.searchEmail(ctx, account, f, after)
		return found, "", err
	}
	match, err := d.matcher(ctx, account, f)
	if err != nil || match == nil {
		return nil, "", err
	}
	return d.scan(ctx, account, after, limit, scanPage, match)
}

// searchEmail is Search for one address, which needs no scan.
func (d *Directory) searchEmail(ctx context.Context, account presence.AccountID, f *Filter, after presence.UserID) ([]User, error) {
	if !isEmail(f.Email) {
		return nil, nil
	}
	u, err := d.Find(ctx, account, f.Email)
	if errors.Is(err, ErrNoUser) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	match, err := d.matcher(ctx, account, f)
	if err != nil || match == nil || u.ID <= after || !match(&u) {
		return nil, err
	}
	return []User{u}, nil
}

// matcher reports whether a user has what f names, except the address; nil: nobody has.
func (d *Directory) matcher(ctx context.Context, account presence.AccountID, f *Filter) (func(*User) bool, error) {
	var group *Group
	if f.Group != "" {
		g, err := d.GroupByName(ctx, account, f.Group)
		if errors.Is(err, ErrNoGroup) {
			return nil, nil //nolint:nilnil // it is no error that nobody is in such a group
		}
		if err != nil {
			return nil, err
		}
		group = &g
	}
	words := strings.Fields(folded(f.Query))
	return func(u *User) bool {
		return (f.Role == nil || u.Role == *f.Role) && (f.Active == nil || u.Active == *f.Active) &&
			(group == nil || group.HasMember(u)) && u.hasWords(words)
	}, nil
}

func (u *User) hasWords(words []string) bool {
	if len(words) == 0 {
		return true
	}
	text := folded(u.DisplayName + "\n" + u.FirstName + " " + u.LastName + "\n" + u.Email)
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// scan is users above after that match, at most limit, in pages of step.
func (d *Directory) scan(
	ctx context.Context, account presence.AccountID, after presence.UserID, limit, step int, match func(*User) bool,
) (found []User, next presence.UserID, err error) {
	for scanned := 0; scanned < maxScanned; scanned += step {
		users, err := d.Users(ctx, account, after, step)
		if err != nil {
			return nil, "", err
		}
		for i := range users {
			if !match(&users[i]) {
				continue
			}
			if len(found) == limit {
				return found, found[limit-1].ID, nil
			}
			found = append(found, users[i])
		}
		if len(users) < step {
			return found, "", nil
		}
		after = users[len(users)-1].ID
	}
	return found, after, nil
}
