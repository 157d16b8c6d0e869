package zoomapi

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// The paths of Zoom's users.
const (
	usersPath      = "/v2/users"
	userPath       = "/v2/users/{userId}"
	userStatusPath = "/v2/users/{userId}/status"
	userEmailPath  = "/v2/users/{userId}/email"
	emailCheckPath = "/v2/users/email"
)

var (
	mayListUsers  = grant{scope: auth.DirectoryRead, admin: true, label: medium, names: []string{"user:read:list_users:admin"}}
	mayReadUser   = grant{scope: auth.DirectoryRead, label: light, names: []string{"user:read:user", "user:read:user:admin"}}
	mayCheckEmail = grant{scope: auth.DirectoryRead, admin: true, label: light, names: []string{"user:read:email:admin"}}
	mayCreateUser = grant{scope: auth.DirectoryWrite, admin: true, label: light, names: []string{"user:write:user:admin"}}
	mayEditUser   = grant{scope: auth.DirectoryWrite, label: light, names: []string{"user:update:user", "user:update:user:admin"}}
	mayDeleteUser = grant{scope: auth.DirectoryWrite, admin: true, label: light, names: []string{"user:delete:user:admin"}}
	maySetState   = grant{scope: auth.DirectoryWrite, admin: true, label: light, names: []string{"user:update:status:admin"}}
	maySetEmail   = grant{scope: auth.DirectoryWrite, admin: true, label: light, names: []string{"user:update:email:admin"}}
)

// Users are the parts of the API that concern the users of an account.
type Users struct {
	Provisioner *provision.Provisioner
	Authority   *auth.Authority
	// Reads admits requests that read many users; nil admits all at once.
	Reads *quota.Turns

	counts counts
}

func (a *API) mountUsers(rt *wire.Router) {
	rt.Handle(http.MethodGet, usersPath, a, a.listUsers)
	rt.Handle(http.MethodPost, usersPath, a, a.createUser)
	rt.Handle(http.MethodGet, emailCheckPath, a, a.checkEmail)
	rt.Handle(http.MethodGet, userPath, a, a.getUser)
	rt.Handle(http.MethodPatch, userPath, a, a.updateUser)
	rt.Handle(http.MethodDelete, userPath, a, a.deleteUser)
	rt.Handle(http.MethodPut, userStatusPath, a, a.setUserState)
	rt.Handle(http.MethodPut, userEmailPath, a, a.setEmail)
	a.mountGroups(rt)
}

// Zoom's words for the state of a user.
const (
	userActive   = "active"
	userInactive = "inactive"
	userPending  = "pending" // this server has none
)

func stateWord(u *directory.User) string {
	if u.Active {
		return userActive
	}
	return userInactive
}

// A zoomRole is one of the roles that each of Zoom's accounts has.
type zoomRole struct{ id, name string }

var (
	roleOwner  = zoomRole{"0", "Owner"}
	roleAdmin  = zoomRole{"1", "Admin"}
	roleMember = zoomRole{"2", "Member"}
)

func roleOf(u *directory.User, owner presence.UserID) zoomRole {
	switch {
	case u.ID == owner:
		return roleOwner
	case u.Role == directory.Admin:
		return roleAdmin
	default:
		return roleMember
	}
}

// A userItem is a user as lists have it.
type userItem struct {
	ID          presence.UserID `json:"id"`
	Email       string          `json:"email"`
	FirstName   string          `json:"first_name"`
	LastName    string          `json:"last_name"`
	DisplayName string          `json:"display_name"`
	Type        int             `json:"type"`
	Status      string          `json:"status"`
	Dept        string          `json:"dept"`
	RoleID      string          `json:"role_id"`
	CreatedAt   string          `json:"created_at"`
	UserCreated string          `json:"user_created_at"`
	GroupIDs    []string        `json:"group_ids"`
}

func userItemOf(u *directory.User, owner presence.UserID) userItem {
	created := dateTime(u.Created)
	return userItem{
		ID: u.ID, Email: u.Email, FirstName: u.FirstName, LastName: u.LastName, Type: basicUser, Status: stateWord(u), Dept: u.Department,
		DisplayName: cmp.Or(u.DisplayName, u.FullName()),
		RoleID:      roleOf(u, owner).id, CreatedAt: created, UserCreated: created, GroupIDs: []string{},
	}
}

func dateTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// getUser is Zoom's "Get a user".
func (a *API) getUser(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayReadUser)
	if err != nil {
		return err
	}
	u, err := a.targetUser(r, p, auth.DirectoryRead)
	if err != nil {
		return err
	}
	account, err := a.Directory.Account(r.Context(), p.Account)
	if err != nil {
		return err
	}
	items := []userItem{userItemOf(&u, account.Owner)}
	if err := a.addGroupIDs(r.Context(), p.Account, []directory.User{u}, items); err != nil {
		return err
	}
	return answerJSON(w, &struct {
		userItem
		RoleName  string             `json:"role_name"`
		AccountID presence.AccountID `json:"account_id"`
	}{items[0], roleOf(&u, account.Owner).name, p.Account})
}

// targetUser is the user that the path names, if the token may do this to it. An unknown
// user takes precedence over a missing permission.
func (a *API) targetUser(r *http.Request, p *auth.Principal, scope auth.Scope) (directory.User, error) {
	id, err := a.user(r, p)
	if err != nil {
		return directory.User{}, err
	}
	u, err := a.Directory.Find(r.Context(), p.Account, string(id))
	if err == nil && !p.MayFor(scope, id) {
		err = errNoPermission
	}
	return u, err
}

// checkEmail is Zoom's "Check a user email", within the account.
func (a *API) checkEmail(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayCheckEmail)
	if err != nil {
		return err
	}
	if _, err := wire.Query(r); err != nil {
		return err
	}
	email := wire.QueryAddresses(r, "email")
	if email == "" {
		return errEmailRequired
	}
	exists := false
	if strings.Contains(email, "@") { // not an id
		_, err = a.Directory.Find(r.Context(), p.Account, email)
		exists = err == nil
	}
	if err != nil && !errors.Is(err, directory.ErrNoUser) {
		return err
	}
	return answerJSON(w, &struct {
		Exists bool `json:"existed_email"`
	}{exists})
}

// by is who makes a change.
func by(w http.ResponseWriter, p *auth.Principal) *provision.By {
	return &provision.By{Actor: wire.Actor(w, p), Account: p.Account}
}

// createActions are Zoom's ways to create a user. Here they all do the same.
var createActions = []string{"create", "autoCreate", "custCreate", "ssoCreate"}

// A newUser is the body of "Create users". Members that have no meaning here are ignored.
type newUser struct {
	Action string `json:"action"`
	Info   *struct {
		Email       string  `json:"email"`
		Type        *int    `json:"type"`
		FirstName   string  `json:"first_name"`
		LastName    string  `json:"last_name"`
		DisplayName string  `json:"display_name"`
		Password    *string `json:"password"`
	} `json:"user_info"`
}

func (n *newUser) check() error {
	switch {
	case n.Action == "":
		return invalid("action", "It is required.")
	case !slices.Contains(createActions, n.Action):
		return invalid("action", "It must be one of: "+strings.Join(createActions, ", ")+".")
	case n.Info == nil:
		return invalid("user_info", "It is required.")
	default:
		return checkType("user_info.type", n.Info.Type)
	}
}

// userTypes are Zoom's types of users: basic, licensed, on-premise, without a meetings
// licence, none.
var userTypes = []int{1, 2, 3, 4, 99}

// checkType checks the type that a request gives a user. It has no effect.
func checkType(field string, given *int) error {
	if given != nil && !slices.Contains(userTypes, *given) {
		return invalid(field, "It must be 1, 2, 4 or 99.")
	}
	return nil
}

// createUser is Zoom's "Create users".
func (a *API) createUser(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayCreateUser)
	if err != nil {
		return err
	}
	var asked newUser
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if err := asked.check(); err != nil {
		return err
	}
	info := asked.Info
	u, err := a.Users.Provisioner.Create(r.Context(), by(w, p), directory.User{
		Email: info.Email, FirstName: info.FirstName, LastName: info.LastName, DisplayName: info.DisplayName,
	})
	if err != nil {
		return refusedUser(err, info.Email, "user_info.")
	}
	return answerJSONAs(w, http.StatusCreated, &struct {
		ID        presence.UserID `json:"id"`
		Email     string          `json:"email"`
		FirstName string          `json:"first_name"`
		LastName  string          `json:"last_name"`
		Type      int             `json:"type"`
	}{u.ID, u.Email, u.FirstName, u.LastName, basicUser})
}

// refusedUser puts a refusal of a user's fields into Zoom's words. prefix is where the
// body has them.
func refusedUser(err error, email, prefix string) error {
	if errors.Is(err, directory.ErrEmailTaken) {
		return &emailTakenError{email}
	}
	e, ok := errors.AsType[*presence.FieldError](err)
	if !ok {
		return err
	}
	field := e.Field
	if field == "department" {
		field = "dept"
	}
	return invalid(prefix+field, "It "+e.Reason+".")
}
