package httpapi

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/view"
)

// statusFilter is the parameter with the statuses to list. It may be repeated.
const statusFilter = "status"

// Bounds of one list request: the users that it examines at most, and those that it reads
// in one step. A page that reaches maxExamined may have fewer items than its limit, or
// none.
const (
	maxExamined = 5_000
	examineStep = 500
	minStep     = 100 // also for a smaller page, which may follow many inactive users
)

// A presenceFilter selects users of a list.
type presenceFilter struct {
	statuses []presence.Status // none: any
	group    string            // its key; "": any
}

func (f *presenceFilter) all() bool { return len(f.statuses) == 0 && f.group == "" }

func (f *presenceFilter) matches(v *view.View) bool {
	return len(f.statuses) == 0 || slices.Contains(f.statuses, v.Presence.Status)
}

// listPresence serves GET /v1/presence: the active users of the account, by id, as the
// caller may see them.
func (a *API) listPresence(c *call) error {
	q, err := c.query(statusFilter, "group", "limit", "page_token", consistencyParam, atLeastParam)
	if err != nil {
		return err
	}
	pg, err := PageOf(q, "page_token")
	if err != nil {
		return err
	}
	filter, err := filterOf(q)
	if err != nil {
		return err
	}
	examined := maxExamined
	if filter.all() {
		examined = pg.Limit
	}
	var list *api.PresencePage
	err = a.withTurn(c, examined, func() (err error) {
		if err := a.reach(c, q); err != nil {
			return err
		}
		list, err = a.presencePage(c, pg, &filter)
		return err
	})
	if err != nil {
		return err
	}
	return c.writeDigested(list)
}

func filterOf(q url.Values) (presenceFilter, error) {
	var f presenceFilter
	for _, text := range q[statusFilter] {
		for word := range strings.SplitSeq(text, ",") {
			status, ok := presence.ParseStatus(word)
			if !ok {
				return f, &presence.FieldError{Field: statusFilter, Reason: fmt.Sprintf("%q is not a status", word)}
			}
			f.statuses = append(f.statuses, status)
		}
	}
	if !q.Has("group") {
		return f, nil
	}
	key, err := GroupKey(q.Get("group"))
	f.group = key
	return f, err
}

// GroupKey returns the key of the group that a request names.
func GroupKey(name string) (string, error) {
	name, err := directory.GroupName("group", name)
	if err == nil && name == "" {
		err = &presence.FieldError{Field: "group", Reason: "must not be empty"}
	}
	return directory.GroupKey(name), err
}

// presencePage reads one page.
func (a *API) presencePage(c *call, pg Page, filter *presenceFilter) (*api.PresencePage, error) {
	step := examineStep
	if filter.all() {
		step = min(step, max(pg.Limit, minStep))
	}
	list := &api.PresencePage{Presences: []api.UserPresence{}}
	after := presence.UserID(pg.After)
	for examined := 0; examined < maxExamined; {
		users, err := a.Directory.Users(c.r.Context(), c.p.Account, after, step+1)
		if err != nil {
			return nil, err
		}
		more := len(users) > step
		users = users[:min(len(users), step)]
		matching, err := a.matching(c.r.Context(), c, users, filter)
		if err != nil {
			return nil, err
		}
		if left := pg.Limit - len(list.Presences); len(matching) > left || len(matching) == left && more {
			list.Presences = append(list.Presences, matching[:left]...)
			list.NextPageToken = list.Presences[pg.Limit-1].User
			return list, nil
		}
		list.Presences = append(list.Presences, matching...)
		if !more {
			return list, nil
		}
		after = users[len(users)-1].ID
		examined += len(users)
	}
	list.NextPageToken = string(after)
	return list, nil
}

// matching returns the items of the active users that match the filter.
func (a *API) matching(ctx context.Context, c *call, users []directory.User, filter *presenceFilter) ([]api.UserPresence, error) {
	byID := make(map[presence.UserID]*directory.User, len(users))
	ids := make([]presence.UserID, 0, len(users))
	for i := range users {
		if u := &users[i]; u.Active && (filter.group == "" || u.InGroup(filter.group)) {
			byID[u.ID] = u
			ids = append(ids, u.ID)
		}
	}
	views, err := a.Views.Active(ctx, c.p.Account, ids, c.p)
	if err != nil {
		return nil, err
	}
	items := make([]api.UserPresence, 0, len(views))
	for i := range views {
		if filter.matches(&views[i]) {
			items = append(items, asUserPresence(byID[views[i].User], &views[i].Presence))
		}
	}
	return items, nil
}

func asUserPresence(u *directory.User, p *presence.Presence) api.UserPresence {
	return api.UserPresence{
		User: string(u.ID), DisplayName: u.DisplayName, Email: u.Email, Groups: append([]string{}, u.Groups...),
		Status: api.Status(p.Status.String()), Note: p.Note, Since: at(p.Since), Until: at(p.Until), Revision: uint64(p.Revision),
	}
}
