package zoomapi

import (
	"context"
	"net/http"
	"strconv"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
)

// A userFilter selects the users to list.
type userFilter struct {
	status string // active, inactive or pending
	role   string // the id of one of Zoom's roles; "": any
	group  string // the id of a group, whose members are listed whatever their state
}

func (f *userFilter) selects(u *directory.User, owner presence.UserID) bool {
	return stateWord(u) == f.status && (f.role == "" || f.role == roleOf(u, owner).id)
}

// A userList is what GET /v2/users asks for.
type userList struct {
	part
	userFilter
	number int // of the page; a next_page_token takes precedence
}

func (a *API) readUserList(r *http.Request, p *auth.Principal) (l userList, err error) {
	q, err := readQuery(r)
	if err != nil {
		return l, err
	}
	if l.status, err = q.word("status", userActive, userInactive, userPending); err != nil {
		return l, err
	}
	l.role = q.Get("role_id")
	if l.number, err = q.pageNumber(); err != nil {
		return l, err
	}
	size, err := q.size(30, 2000)
	if err != nil {
		return l, err
	}
	l.part, err = a.part(p, q, size, usersPath, l.status, l.role)
	return l, err
}

// A pageHead is what pages of users and of members have beside them.
type pageHead struct {
	NextPageToken string `json:"next_page_token"`
	PageCount     int    `json:"page_count"`
	PageNumber    int    `json:"page_number"`
	PageSize      int    `json:"page_size"`
	TotalRecords  int    `json:"total_records"`
}

func (a *API) pageHead(p *auth.Principal, asked *userList, next presence.UserID, total int) pageHead {
	return pageHead{
		NextPageToken: a.pageToken(p, asked.bound, next), PageNumber: asked.number, PageSize: asked.size,
		PageCount: (total + asked.size - 1) / asked.size, TotalRecords: total,
	}
}

// listUsers is Zoom's "List users". Users come in the order of their ids, which never
// change: with next_page_token, a user who is there all the time is on exactly one page,
// whoever else comes and goes.
func (a *API) listUsers(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayListUsers)
	if err != nil {
		return err
	}
	asked, err := a.readUserList(r, p)
	if err != nil {
		return err
	}
	account, err := a.Directory.Account(r.Context(), p.Account)
	if err != nil {
		return err
	}
	selects := func(u *directory.User) bool { return asked.selects(u, account.Owner) }
	users, next, total, err := a.readUsers(r.Context(), p, &asked, selects)
	if err != nil {
		return err
	}
	page := struct {
		pageHead
		Users []userItem `json:"users"`
	}{a.pageHead(p, &asked, next, total), make([]userItem, 0, len(users))}
	for i := range users {
		page.Users = append(page.Users, userItemOf(&users[i], account.Owner))
	}
	if err := a.addGroupIDs(r.Context(), p.Account, users, page.Users); err != nil {
		return err
	}
	return answerJSON(w, &page)
}

// readUsers reads a page, and counts all users that the filter selects. next is where the
// next page begins, "" after the last user.
func (a *API) readUsers(ctx context.Context, p *auth.Principal, asked *userList, selects func(*directory.User) bool) (
	users []directory.User, next presence.UserID, total int, err error,
) {
	if asked.status == userPending {
		return nil, "", 0, nil
	}
	key := countKey{p.Account, asked.userFilter}
	counted := a.Users.counts.get(key, a.Clock())
	if counted == nil || asked.size > quota.LightRead {
		done, err := a.Users.Reads.Take(ctx, p.TurnKey())
		if err != nil {
			return nil, "", 0, err
		}
		defer done()
	}
	if counted, err = a.count(ctx, key, selects); err != nil {
		return nil, "", 0, err
	}
	s := scan{after: asked.after, size: asked.size, chunk: min(asked.size+1, scanPage), most: maxScan, selects: selects}
	if asked.after == "" && asked.number > 1 {
		var skip int
		s.after, skip = counted.page((asked.number - 1) * asked.size)
		s.size, s.most = s.size+skip, 0
		users, next, err = a.scan(ctx, p.Account, &s)
		return users[min(skip, len(users)):], next, counted.total, err
	}
	users, next, err = a.scan(ctx, p.Account, &s)
	return users, next, counted.total, err
}

// maxPageNumber bounds page_number.
const maxPageNumber = 1_000_000

// pageNumber reads page_number.
func (q parameters) pageNumber() (int, error) {
	text := q.Get("page_number")
	if text == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPageNumber {
		return 0, invalid("page_number", "It must be a number from 1.")
	}
	return n, nil
}
