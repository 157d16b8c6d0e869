package zoomapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// The paths of Zoom's contacts. Its "me" is no parameter.
const (
	companyContacts = "/v2/contacts"
	chatContacts    = "/v2/chat/users/me/contacts"
	chatContact     = "/v2/chat/users/me/contacts/{identifier}"
)

var (
	maySearch = grant{scope: auth.ContactRead, label: medium, names: []string{"contact:read:list_contacts", "contact:read:list_contacts:admin"}}
	mayList   = grant{scope: auth.ContactRead, label: medium, names: []string{"team_chat:read:list_contacts"}}
	mayLookUp = grant{scope: auth.ContactRead, label: medium, names: []string{"team_chat:read:contact"}}
)

// A person is what all of Zoom's contacts have.
type person struct {
	ID        presence.UserID `json:"id"`
	MemberID  presence.UserID `json:"member_id"`
	Email     string          `json:"email"`
	FirstName string          `json:"first_name"`
	LastName  string          `json:"last_name"`
}

func personOf(u *directory.User) person { return person{u.ID, u.ID, u.Email, u.FirstName, u.LastName} }

// A found is an item of the search.
type found struct {
	person
	DisplayName    string `json:"display_name"`
	Dept           string `json:"dept"`
	ContactType    int    `json:"contact_type"`
	UserStatus     string `json:"user_status"`
	PresenceStatus string `json:"presence_status,omitempty"` // when asked for
}

// sameAccount is Zoom's contact type of a user of one's own account: this server
// has no others.
const sameAccount = 1

func foundOf(u *directory.User) found {
	f := found{person: personOf(u), DisplayName: u.DisplayName, Dept: u.Department, ContactType: sameAccount, UserStatus: "inactive"}
	if u.Active {
		f.UserStatus = "active"
	}
	return f
}

// envelope is a page of contacts in Zoom's form.
type envelope[T any] struct {
	Contacts      []T    `json:"contacts"`
	NextPageToken string `json:"next_page_token"`
	PageSize      int    `json:"page_size"`
}

func answerJSON(w http.ResponseWriter, body any) error {
	return answerJSONAs(w, http.StatusOK, body)
}

func answerJSONAs(w http.ResponseWriter, status int, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = jsonContent
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a failed write ends the connection
	return nil
}

// searchContacts is Zoom's "Search company contacts".
func (a *API) searchContacts(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &maySearch)
	if err != nil {
		return err
	}
	asked, err := a.readSearch(r, p)
	if err != nil {
		return err
	}
	users, next, err := a.search(r.Context(), p.Account, &asked)
	if err != nil {
		return err
	}
	page := envelope[found]{Contacts: make([]found, 0, len(users)), PageSize: asked.size}
	for i := range users {
		page.Contacts = append(page.Contacts, foundOf(&users[i]))
	}
	if asked.presence {
		if err := a.addPresence(r.Context(), p, page.Contacts); err != nil {
			return err
		}
	}
	page.NextPageToken = a.pageToken(p, asked.bound, next)
	return answerJSON(w, &page)
}

const (
	scanPage = 500
	maxScan  = 20_000 // users that one request reads
)

// search finds a page of users. A page may be short, and even empty, if many users did not
// match.
func (a *API) search(ctx context.Context, account presence.AccountID, s *search) (hits []directory.User, next presence.UserID, err error) {
	return a.scan(ctx, account, &scan{after: s.after, size: s.size, chunk: scanPage, most: maxScan, selects: s.matches})
}

// A scan looks for users in the order of their ids.
type scan struct {
	after   presence.UserID
	size    int // users to find at most
	chunk   int // users to read at once
	most    int // users to read at most; 0: all
	selects func(*directory.User) bool
}

// scan returns the users that s selects. next is where the next page begins, "" after the
// last user.
func (a *API) scan(ctx context.Context, account presence.AccountID, s *scan) (hits []directory.User, next presence.UserID, err error) {
	at := s.after
	for scanned := 0; s.most == 0 || scanned < s.most; scanned += s.chunk {
		users, err := a.Directory.Users(ctx, account, at, s.chunk)
		if err != nil {
			return nil, "", err
		}
		for i := range users {
			if s.selects(&users[i]) {
				if len(hits) == s.size {
					return hits, hits[s.size-1].ID, nil
				}
				hits = append(hits, users[i])
			}
			at = users[i].ID
		}
		if len(users) < s.chunk {
			return hits, "", nil
		}
	}
	return hits, at, nil
}

func (s *search) matches(u *directory.User) bool {
	if !s.sameAccount || s.status == "active" && !u.Active || s.status == "inactive" && u.Active {
		return false
	}
	for _, text := range [...]string{u.Email, u.DisplayName, u.FirstName + " " + u.LastName, u.Department} {
		if strings.Contains(strings.ToLower(text), s.key) {
			return true
		}
	}
	return false
}

// addPresence fills in the presence of each, as the principal sees it.
func (a *API) addPresence(ctx context.Context, p *auth.Principal, all []found) error {
	ids := make([]presence.UserID, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	views, _, err := a.Views.Query(ctx, p.Account, ids, p)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].PresenceStatus = searchWords[presence.Offline]
		if len(views) > 0 && views[0].User == all[i].ID {
			all[i].PresenceStatus = searchWords[views[0].Presence.Status]
			views = views[1:]
		}
	}
	return nil
}

// listContacts is Zoom's "List user's contacts": whom the token's user follows.
func (a *API) listContacts(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayList)
	if err != nil {
		return err
	}
	asked, err := a.readList(r, p)
	if err != nil {
		return err
	}
	if p.User == "" {
		return directory.ErrNoUser // an account without an owner
	}
	page := envelope[person]{Contacts: []person{}, PageSize: asked.size}
	if !asked.external {
		var next presence.UserID
		if page.Contacts, next, err = a.contacts(r.Context(), p, &asked); err != nil {
			return err
		}
		page.NextPageToken = a.pageToken(p, asked.bound, next)
	}
	return answerJSON(w, &page)
}

// contacts is a page of those whom p follows, less who was deleted meanwhile.
func (a *API) contacts(ctx context.Context, p *auth.Principal, asked *list) (page []person, next presence.UserID, err error) {
	contacts, err := a.Directory.Contacts(ctx, p.Account, p.User)
	if err != nil {
		return nil, "", err
	}
	var ids []presence.UserID
	for i := range contacts.List {
		if contacts.List[i].User <= asked.after {
			continue
		}
		if len(ids) == asked.size {
			next = ids[asked.size-1]
			break
		}
		ids = append(ids, contacts.List[i].User)
	}
	users, err := a.Directory.UsersByID(ctx, p.Account, ids)
	if err != nil {
		return nil, "", err
	}
	page = make([]person, 0, len(users))
	for _, id := range ids {
		if u, ok := users[id]; ok {
			page = append(page, personOf(&u))
		}
	}
	return page, next, nil
}

// getContact is Zoom's "Get user's contact details". To Zoom every user of the
// account is a company contact.
func (a *API) getContact(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayLookUp)
	if err != nil {
		return err
	}
	q, err := readParameters(r)
	if err != nil {
		return err
	}
	ask, err := q.flag("query_presence_status")
	if err != nil {
		return err
	}
	u, err := a.Directory.Find(r.Context(), p.Account, wire.UserRef(r, "identifier"))
	if err != nil {
		return err
	}
	details := struct {
		person
		PresenceStatus string `json:"presence_status,omitempty"`
	}{person: personOf(&u)}
	if ask {
		view, _, err := a.Views.Read(r.Context(), p.Account, u.ID, p)
		if err != nil {
			return err
		}
		details.PresenceStatus = StatusWord(view.Presence.Status)
	}
	return answerJSON(w, &details)
}
