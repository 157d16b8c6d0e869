package zoomapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// The paths of Zoom's groups.
const (
	groupsPath  = "/v2/groups"
	groupPath   = "/v2/groups/{groupId}"
	membersPath = "/v2/groups/{groupId}/members"
	memberPath  = "/v2/groups/{groupId}/members/{memberId}"
)

var (
	mayListGroups   = grant{scope: auth.DirectoryRead, admin: true, label: medium, names: []string{"group:read:list_groups:admin"}}
	mayReadGroup    = grant{scope: auth.DirectoryRead, admin: true, label: light, names: []string{"group:read:group:admin"}}
	mayListMembers  = grant{scope: auth.DirectoryRead, admin: true, label: medium, names: []string{"group:read:list_members:admin"}}
	mayAddMember    = grant{scope: auth.DirectoryWrite, admin: true, label: light, names: []string{"group:write:member:admin"}}
	mayRemoveMember = grant{scope: auth.DirectoryWrite, admin: true, label: light, names: []string{"group:delete:member:admin"}}
)

func (a *API) mountGroups(rt *wire.Router) {
	rt.Handle(http.MethodGet, groupsPath, a, a.listGroups)
	rt.Handle(http.MethodGet, groupPath, a, a.getGroup)
	rt.Handle(http.MethodGet, membersPath, a, a.listMembers)
	rt.Handle(http.MethodPost, membersPath, a, a.addMembers)
	rt.Handle(http.MethodDelete, memberPath, a, a.removeMember)
}

// A groupItem is a group in a response.
type groupItem struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Members int    `json:"total_members"`
}

func groupItemOf(g *directory.Group, counted *count) groupItem {
	item := groupItem{ID: g.ID, Name: g.Name, Members: counted.members[directory.GroupKey(g.Name)]}
	if was := directory.GroupKey(g.Was); g.Was != "" && was != directory.GroupKey(g.Name) { // it is being renamed
		item.Members += counted.members[was]
	}
	return item
}

// maxGroups is how many groups a page may have, and has by default: some clients do not
// ask for a second page.
const maxGroups = 300

// listGroups is Zoom's "List groups".
func (a *API) listGroups(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayListGroups)
	if err != nil {
		return err
	}
	q, err := readParameters(r)
	if err != nil {
		return err
	}
	size, err := q.size(maxGroups, maxGroups)
	if err != nil {
		return err
	}
	asked, err := a.part(p, q, size, groupsPath)
	if err != nil {
		return err
	}
	counted, err := a.countMembers(r.Context(), p)
	if err != nil {
		return err
	}
	page := struct {
		Groups []groupItem `json:"groups"`
		Total  int         `json:"total_records"`
		Next   string      `json:"next_page_token"`
	}{Groups: []groupItem{}}
	err = a.eachGroup(r.Context(), p.Account, func(g *directory.Group) {
		page.Total++
		switch n := len(page.Groups); {
		case g.ID <= string(asked.after):
		case n < size:
			page.Groups = append(page.Groups, groupItemOf(g, counted))
		case page.Next == "":
			page.Next = a.pageToken(p, asked.bound, presence.UserID(page.Groups[n-1].ID))
		}
	})
	if err != nil {
		return err
	}
	return answerJSON(w, &page)
}

// eachGroup calls visit with the groups of an account, in the order of their ids.
func (a *API) eachGroup(ctx context.Context, account presence.AccountID, visit func(*directory.Group)) error {
	for after := ""; ; {
		groups, err := a.Directory.Groups(ctx, account, after, scanPage)
		if err != nil {
			return err
		}
		for i := range groups {
			after = groups[i].ID
			visit(&groups[i])
		}
		if len(groups) < scanPage {
			return nil
		}
	}
}

// group is the group that the path names.
func (a *API) group(r *http.Request, p *auth.Principal) (directory.Group, error) {
	id := r.PathValue("groupId")
	g, err := a.Directory.Group(r.Context(), p.Account, id)
	if errors.Is(err, directory.ErrNoGroup) {
		err = &noGroupError{id}
	}
	return g, err
}

// getGroup is Zoom's "Get a group".
func (a *API) getGroup(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayReadGroup)
	if err != nil {
		return err
	}
	g, err := a.group(r, p)
	if err != nil {
		return err
	}
	counted, err := a.countMembers(r.Context(), p)
	if err != nil {
		return err
	}
	item := groupItemOf(&g, counted)
	return answerJSON(w, &item)
}

// A memberItem is a member of a group in a response.
type memberItem struct {
	ID        presence.UserID `json:"id"`
	Email     string          `json:"email"`
	FirstName string          `json:"first_name"`
	LastName  string          `json:"last_name"`
	Type      int             `json:"type"`
}

// listMembers is Zoom's "List group members". What listUsers promises about pages holds
// here too.
func (a *API) listMembers(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayListMembers)
	if err != nil {
		return err
	}
	g, err := a.group(r, p)
	if err != nil {
		return err
	}
	asked, err := a.readMemberList(r, p, &g)
	if err != nil {
		return err
	}
	users, next, total, err := a.readUsers(r.Context(), p, &asked, g.HasMember)
	if err != nil {
		return err
	}
	page := struct {
		pageHead
		Members []memberItem `json:"members"`
	}{a.pageHead(p, &asked, next, total), make([]memberItem, 0, len(users))}
	for i := range users {
		u := &users[i]
		page.Members = append(page.Members, memberItem{u.ID, u.Email, u.FirstName, u.LastName, basicUser})
	}
	return answerJSON(w, &page)
}

func (a *API) readMemberList(r *http.Request, p *auth.Principal, g *directory.Group) (l userList, err error) {
	q, err := readQuery(r)
	if err != nil {
		return l, err
	}
	l.group = g.ID
	if l.number, err = q.pageNumber(); err != nil {
		return l, err
	}
	size, err := q.size(30, 2000)
	if err != nil {
		return l, err
	}
	l.part, err = a.part(p, q, size, membersPath, g.ID)
	return l, err
}

// maxNewMembers is how many members a request may add, as with Zoom.
const maxNewMembers = 30

// A memberRef names a user by id or, without one, by e-mail address.
type memberRef struct {
	ID    string `json:"id"`
	Email string `json:"email"`
}

// addMembers is Zoom's "Add group members". Users who do not exist are passed over: the
// answer has the ids of the others.
func (a *API) addMembers(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayAddMember)
	if err != nil {
		return err
	}
	var asked struct {
		Members []memberRef `json:"members"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if n := len(asked.Members); n == 0 || n > maxNewMembers {
		return invalid("members", "It must have 1 to 30 users.")
	}
	g, err := a.group(r, p)
	if err != nil {
		return err
	}
	ids, err := a.existing(r.Context(), p, asked.Members)
	if err != nil {
		return err
	}
	if err := a.Users.Provisioner.ChangeMembers(r.Context(), by(w, p), g.ID, ids, nil); err != nil {
		return noGroup(g.ID, err)
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	return answerJSONAs(w, http.StatusCreated, &struct {
		IDs     string `json:"ids"`
		AddedAt string `json:"added_at"`
	}{strings.Join(names, ","), dateTime(a.Clock())})
}

// existing are the users who exist, each once.
func (a *API) existing(ctx context.Context, p *auth.Principal, refs []memberRef) (ids []presence.UserID, err error) {
	seen := make(map[presence.UserID]bool)
	for _, ref := range refs {
		text := ref.ID
		if text == "" {
			text = ref.Email
		}
		u, err := a.Directory.Find(ctx, p.Account, text)
		switch {
		case errors.Is(err, directory.ErrNoUser) || err == nil && seen[u.ID]:
		case err != nil:
			return nil, err
		default:
			seen[u.ID] = true
			ids = append(ids, u.ID)
		}
	}
	return ids, nil
}

// removeMember is Zoom's "Delete a group member". It does nothing for a user who is no
// member.
func (a *API) removeMember(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayRemoveMember)
	if err != nil {
		return err
	}
	g, err := a.group(r, p)
	if err != nil {
		return err
	}
	ref := wire.UserRef(r, "memberId")
	id, err := a.userOf(r.Context(), p, ref)
	if err == nil {
		err = a.Users.Provisioner.RemoveFromGroup(r.Context(), by(w, p), g.ID, id)
	}
	if errors.Is(err, directory.ErrNoUser) {
		return noMember(ref)
	}
	if err != nil {
		return noGroup(g.ID, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// noGroup puts directory.ErrNoGroup into Zoom's words.
func noGroup(id string, err error) error {
	if errors.Is(err, directory.ErrNoGroup) {
		return &noGroupError{id}
	}
	return err
}

// addGroupIDs fills in the groups of users; items[i] is that of users[i].
func (a *API) addGroupIDs(ctx context.Context, account presence.AccountID, users []directory.User, items []userItem) error {
	ids := map[string]string{}
	for i := range users {
		if len(users[i].Groups) == 0 {
			continue
		}
		if len(ids) == 0 {
			err := a.eachGroup(ctx, account, func(g *directory.Group) {
				ids[directory.GroupKey(g.Name)] = g.ID
				if g.Was != "" {
					ids[directory.GroupKey(g.Was)] = g.ID
				}
			})
			if err != nil {
				return err
			}
		}
		for _, name := range users[i].Groups {
			if id := ids[directory.GroupKey(name)]; id != "" {
				items[i].GroupIDs = append(items[i].GroupIDs, id)
			}
		}
	}
	return nil
}
