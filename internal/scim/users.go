package scim

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) userRoutes() []route {
	return []route{
		{"GET", "/Users", func(c *call) error { return a.listUsers(c, (*call).readQuery) }},
		{"POST", "/Users/.search", func(c *call) error { return a.listUsers(c, (*call).readSearch) }},
		{"POST", "/Users", a.createUser},
		{"GET", "/Users/{user}", a.readUser},
		{"PUT", "/Users/{user}", a.replaceUser},
		{"PATCH", "/Users/{user}", a.patchUser},
		{"DELETE", "/Users/{user}", a.deleteUser},
	}
}

func (c *call) userID() presence.UserID { return presence.UserID(c.r.PathValue("user")) }

func (a *API) readUser(c *call) error {
	wanted, err := c.projection(userType())
	if err != nil {
		return err
	}
	asks, err := wire.ReadCondition(c.r)
	if err != nil {
		return err
	}
	u, err := a.Directory.User(c.ctx(), c.p.Account, c.userID())
	if err != nil {
		return err
	}
	tag := versionOf(u.Version)
	if !asks.Matched(tag, true) {
		return presence.ErrPrecondition
	}
	if asks.Excluded(tag, true) {
		c.w.Header()["Etag"] = []string{tag}
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return a.answerUser(c, http.StatusOK, &u, wanted)
}

func (c *call) projection(t *resourceType) (*projection, error) {
	q, err := wire.Query(c.r)
	return t.projectionOf(q), err
}

// createUser serves POST /Users. A user who is to be inactive is active for a moment.
func (a *API) createUser(c *call) error {
	wanted, err := c.projection(userType())
	if err != nil {
		return err
	}
	given, err := readObject(c.w, c.r)
	if err != nil {
		return err
	}
	asked, err := userType().clean(given)
	if err != nil {
		return err
	}
	var u directory.User
	if err := editUser(&u, withDisplayName(asked)); err != nil {
		return err
	}
	u, err = a.Provisioner.Create(c.ctx(), c.by(), u)
	if err != nil {
		return err
	}
	if active, ok := asked["active"].(bool); ok && !active {
		if u, err = a.Provisioner.Update(c.ctx(), c.by(), u.ID, &provision.Change{Active: &active}); err != nil {
			return err
		}
	}
	return a.answerUser(c, http.StatusCreated, &u, wanted)
}

func (a *API) answerUser(c *call, status int, u *directory.User, wanted *projection) error {
	all, err := a.userResources(c, []directory.User{*u}, wanted.wants("groups"))
	if err != nil {
		return err
	}
	return c.writeResource(status, all[0], wanted)
}

// replaceUser serves PUT /Users/{user}. Without active, the user's state stays as it is.
func (a *API) replaceUser(c *call) error {
	given, err := readObject(c.w, c.r)
	if err != nil {
		return err
	}
	asked, err := userType().clean(given)
	if err != nil {
		return err
	}
	asked = withDisplayName(asked)
	return a.changeUser(c, func(object) (object, error) { return asked, nil })
}

// patchUser serves PATCH /Users/{user}.
func (a *API) patchUser(c *call) error {
	body, err := readObject(c.w, c.r)
	if err != nil {
		return err
	}
	t := userType()
	operations, err := t.parsePatch(body)
	if err != nil {
		return err
	}
	return a.changeUser(c, func(o object) (object, error) {
		before := text(o, "userName")
		err := t.apply(o, operations)
		if emails := list(o, "emails"); len(emails) == 1 && text(asObject(emails[0]), "value") == before && strings.Contains(text(o, "userName"), "@") {
			delete(o, "emails") // the user name was the address, and the address follows it
		}
		return o, err
	})
}

// changeUser changes a user. edit gets the attributes that clients may set, except
// active, and returns those that the user is to have; it runs again if another change
// comes first.
func (a *API) changeUser(c *call, edit func(object) (object, error)) error {
	wanted, err := c.projection(userType())
	if err != nil {
		return err
	}
	check, err := c.userCondition()
	if err != nil {
		return err
	}
	owner, err := a.owner(c)
	guarded := !a.Authority.MayAppoint(c.p)
	if err != nil {
		return err
	}
	u, err := a.Directory.User(c.ctx(), c.p.Account, c.userID())
	if err != nil {
		return err
	}
	// Whether the request says anything of active does not depend on the user.
	o, err := edit(editable(&u))
	if err != nil {
		return err
	}
	change := &provision.Change{Check: check, Edit: func(u *directory.User) error {
		before := *u
		o, err := edit(editable(u))
		if err == nil {
			err = editUser(u, o)
		}
		if err == nil && guarded && (before.Role == directory.Admin || before.ID == owner) && !strings.EqualFold(before.Email, u.Email) {
			err = errPrivileged
		}
		return err
	}}
	if active, ok := o["active"].(bool); ok {
		change.Active = &active
	}
	u, err = a.Provisioner.Update(c.ctx(), c.by(), u.ID, change)
	if err != nil {
		return err
	}
	return a.answerUser(c, http.StatusOK, &u, wanted)
}

// errPrivileged: whoever receives an administrator's mail could become that administrator.
var errPrivileged = &Error{
	Status: http.StatusForbidden,
	Detail: "The e-mail address of an administrator or of the account's owner cannot be changed by SCIM: change it with porchlight user update, then provision again.",
}

func (a *API) owner(c *call) (presence.UserID, error) {
	account, err := a.Directory.Account(c.ctx(), c.p.Account)
	return account.Owner, err
}

// userCondition checks the request's conditions on a user; nil: it has none.
func (c *call) userCondition() (func(*directory.User) error, error) {
	asks, err := wire.ReadCondition(c.r)
	if err != nil || len(c.r.Header["If-Match"])+len(c.r.Header["If-None-Match"]) == 0 {
		return nil, err
	}
	return func(u *directory.User) error {
		if tag := versionOf(u.Version); !asks.Matched(tag, true) || asks.Excluded(tag, true) {
			return presence.ErrPrecondition
		}
		return nil
	}, nil
}

func (a *API) deleteUser(c *call) error {
	check, err := c.userCondition()
	if err != nil {
		return err
	}
	if err := a.Provisioner.Delete(c.ctx(), c.by(), c.userID(), check, nil); err != nil {
		return err
	}
	return c.noContent()
}

// versionOf is the entity tag of a version of a document.
func versionOf(version string) string {
	const digestBytes = 9
	sum := sha256.Sum256([]byte(version))
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:digestBytes]) + `"`
}

// editable are the attributes of a user that clients may set, except active.
func editable(u *directory.User) object {
	o := make(object)
	for name, value := range map[string]string{"userName": userName(u), "externalId": u.ExternalID, "displayName": u.DisplayName} {
		if value != "" {
			o[name] = value
		}
	}
	name := make(object)
	for member, value := range map[string]string{"givenName": u.FirstName, "familyName": u.LastName} {
		if value != "" {
			name[member] = value
		}
	}
	if len(name) > 0 {
		o["name"] = name
	}
	if u.Department != "" {
		o[enterpriseURN] = object{"department": u.Department}
	}
	o["emails"] = []any{object{"value": u.Email, "type": "work", "primary": true}}
	return o
}

func userName(u *directory.User) string {
	if u.UserName != "" {
		return u.UserName
	}
	return u.Email
}

// withDisplayName adds the displayName that follows from the name, if there is none.
func withDisplayName(o object) object {
	name := part(o, "name")
	if text(o, "displayName") == "" {
		shown := text(name, "formatted")
		if shown == "" {
			shown = strings.TrimSpace(text(name, "givenName") + " " + text(name, "familyName"))
		}
		setText(o, "displayName", shown)
	}
	return o
}

func setText(o object, name, value string) {
	if value != "" {
		o[name] = value
	}
}

// editUser sets the fields of a user, except Active, to those of a resource. Without an
// address, the user name must be one.
func editUser(u *directory.User, o object) error {
	name, email := text(o, "userName"), emailOf(list(o, "emails"))
	switch {
	case name == "":
		return invalid(invalidValue, "The attribute \"userName\" is required.")
	case email == "" && !strings.Contains(name, "@"):
		return invalid(invalidValue, "The attribute \"emails\" is required if \"userName\" is not an e-mail address: have your identity provider send the user's address.")
	case email == "":
		email = name
	}
	parts := part(o, "name")
	u.Email, u.UserName = email, name
	u.FirstName, u.LastName = text(parts, "givenName"), text(parts, "familyName")
	u.DisplayName, u.ExternalID = text(o, "displayName"), text(o, "externalId")
	u.Department = text(part(o, enterpriseURN), "department")
	return nil
}

// emailOf is the address that counts: the last primary one, which an operation may have
// added, or else the first of type work, or else the first.
func emailOf(emails []any) string {
	var first, work, primary string
	for _, item := range emails {
		item := asObject(item)
		value := text(item, "value")
		if first == "" {
			first = value
		}
		if work == "" && strings.EqualFold(text(item, "type"), "work") {
			work = value
		}
		if item["primary"] == true && value != "" {
			primary = value
		}
	}
	for _, value := range []string{primary, work, first} {
		if value != "" {
			return value
		}
	}
	return ""
}

// userResources are users as clients see them, with or without their groups.
func (a *API) userResources(c *call, users []directory.User, withGroups bool) ([]object, error) {
	all, known := make([]object, 0, len(users)), make(map[string]object)
	for i := range users {
		o := c.describeUser(&users[i])
		if withGroups {
			groups, err := a.groupsOf(c, &users[i], known)
			if err != nil {
				return nil, err
			}
			if len(groups) > 0 {
				o["groups"] = groups
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// groupsOf are the groups of a user as the user's resource has them. known has those that
// were found before, by their names.
func (a *API) groupsOf(c *call, u *directory.User, known map[string]object) (groups []any, err error) {
	for _, name := range u.Groups {
		o, ok := known[name]
		if !ok {
			g, err := a.Directory.GroupByName(c.ctx(), c.p.Account, name)
			switch {
			case err == nil && !g.Deleting:
				o = object{"value": g.ID, "display": g.Name, "$ref": c.base + "/Groups/" + g.ID, "type": "direct"}
			case err != nil && !errors.Is(err, directory.ErrNoGroup):
				return nil, err
			}
			known[name] = o
		}
		if o != nil {
			groups = append(groups, o)
		}
	}
	return groups, nil
}

// describeUser is a user without its groups.
func (c *call) describeUser(u *directory.User) object {
	o := editable(u)
	schemas := []any{userURN}
	if u.Department != "" {
		schemas = append(schemas, enterpriseURN)
	}
	if formatted := u.FullName(); formatted != "" {
		part(o, "name")["formatted"] = formatted
	}
	o["schemas"], o["id"], o["active"] = schemas, string(u.ID), u.Active
	o["meta"] = c.meta(userType(), string(u.ID), u.Version, u.Created, u.Modified)
	return o
}

func (c *call) meta(t *resourceType, id, version string, created, modified time.Time) object {
	return object{
		"resourceType": t.name, "location": c.base + t.endpoint + "/" + id, "version": versionOf(version),
		"created": instant(created), "lastModified": instant(modified),
	}
}

func instant(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// listUsers serves the lists of users.
func (a *API) listUsers(c *call, read func(*call, *resourceType) (*query, error)) error {
	asked, err := read(c, userType())
	if err != nil {
		return err
	}
	found := &page[directory.User]{asked: asked}
	indexed := map[string]bool{"id": true, "userName": true, "externalId": true, "emails.value": true}
	if by, ok := lookups(asked.filter, indexed); ok {
		err = a.lookUpUsers(c, by, found)
	} else {
		err = a.withTurn(c, func() error { return a.scanUsers(c, found) })
	}
	if err != nil {
		return err
	}
	resources, err := a.userResources(c, found.items, asked.projection.wants("groups"))
	if err != nil {
		return err
	}
	return writePage(c, found, resources)
}

// lookUpUsers reads the users that indexes select.
func (a *API) lookUpUsers(c *call, by []lookup, found *page[directory.User]) error {
	seen := make(map[presence.UserID]bool)
	for _, l := range by {
		u, err := a.lookUpUser(c.ctx(), c.p.Account, l)
		if errors.Is(err, directory.ErrNoUser) {
			continue
		}
		if err != nil {
			return err
		}
		if !seen[u.ID] {
			seen[u.ID] = true
			if err := a.match(c, []directory.User{u}, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *API) lookUpUser(ctx context.Context, account presence.AccountID, by lookup) (directory.User, error) {
	switch by.key {
	case "id":
		return a.Directory.User(ctx, account, presence.UserID(by.value))
	case "externalId":
		return a.Directory.FindByExternalID(ctx, account, by.value)
	case "userName":
		return a.Directory.FindByUserName(ctx, account, by.value)
	default:
		if !strings.Contains(by.value, "@") {
			return directory.User{}, directory.ErrNoUser
		}
		return a.Directory.Find(ctx, account, by.value)
	}
}

// scanUsers reads all users of the account.
func (a *API) scanUsers(c *call, found *page[directory.User]) error {
	return a.eachStep(c, func(users []directory.User) error { return a.match(c, users, found) })
}

// eachUser calls with each user of the account.
func (a *API) eachUser(c *call, with func(*directory.User)) error {
	return a.eachStep(c, func(users []directory.User) error {
		for i := range users {
			with(&users[i])
		}
		return nil
	})
}

// eachStep calls with all users of the account, a step at a time.
func (a *API) eachStep(c *call, with func([]directory.User) error) error {
	var after presence.UserID
	for scanned := 0; ; {
		users, err := a.Directory.Users(c.ctx(), c.p.Account, after, scanStep)
		if err != nil {
			return err
		}
		if scanned += len(users); scanned > a.maxScanned() {
			return errTooMany
		}
		if err := with(users); err != nil || len(users) < scanStep {
			return err
		}
		after = users[len(users)-1].ID
	}
}

// match adds the users that the filter selects.
func (a *API) match(c *call, users []directory.User, found *page[directory.User]) error {
	if found.asked.filter == nil {
		for i := range users {
			found.add(users[i])
		}
		return nil
	}
	resources, err := a.userResources(c, users, uses(found.asked.filter, "groups"))
	if err != nil {
		return err
	}
	for i := range users {
		if found.asked.filter.matches(resources[i]) {
			found.add(users[i])
		}
	}
	return nil
}
