package zoomapi

import (
	"errors"
	"net/http"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/provision"
)

// A userEdit is the body of "Update a user". Members that this server has no data for are
// ignored.
type userEdit struct {
	FirstName   *string `json:"first_name"`
	LastName    *string `json:"last_name"`
	DisplayName *string `json:"display_name"`
	Dept        *string `json:"dept"`
	Type        *int    `json:"type"`
}

// apply changes the fields of a user that the body has.
func (e *userEdit) apply(u *directory.User) error {
	for _, field := range []struct{ to, from *string }{
		{&u.FirstName, e.FirstName}, {&u.LastName, e.LastName}, {&u.DisplayName, e.DisplayName}, {&u.Department, e.Dept},
	} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
	return nil
}

// updateUser is Zoom's "Update a user".
func (a *API) updateUser(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayEditUser)
	if err != nil {
		return err
	}
	var asked userEdit
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if err := checkType("type", asked.Type); err != nil {
		return err
	}
	u, err := a.targetUser(r, p, auth.DirectoryWrite)
	if err != nil {
		return err
	}
	if _, err := a.Users.Provisioner.Update(r.Context(), by(w, p), u.ID, &provision.Change{Edit: asked.apply}); err != nil {
		return refusedUser(err, "", "")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deleteUser is Zoom's "Delete a user". Disassociating a user does the same: there is no
// account that the user could keep.
func (a *API) deleteUser(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &mayDeleteUser)
	if err != nil {
		return err
	}
	q, err := readQuery(r)
	if err != nil {
		return err
	}
	if _, err := q.word("action", "disassociate", "delete"); err != nil {
		return err
	}
	u, err := a.targetUser(r, p, auth.DirectoryWrite)
	if err != nil {
		return err
	}
	err = a.Users.Provisioner.Delete(r.Context(), by(w, p), u.ID, nil, nil)
	if errors.Is(err, provision.ErrOwner) {
		return errDeleteOwner
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setUserState is Zoom's "Update user status", which is not the presence status.
func (a *API) setUserState(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &maySetState)
	if err != nil {
		return err
	}
	var asked struct {
		Action string `json:"action"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	switch asked.Action {
	case "activate", "deactivate", "clock_in", "clock_out":
	case "":
		return invalid("action", "It is required.")
	default:
		return invalid("action", "It must be activate or deactivate.")
	}
	u, err := a.targetUser(r, p, auth.DirectoryWrite)
	if err != nil {
		return err
	}
	if asked.Action == "clock_in" || asked.Action == "clock_out" {
		return errNoClock
	}
	active := asked.Action == "activate"
	_, err = a.Users.Provisioner.Update(r.Context(), by(w, p), u.ID, &provision.Change{Active: &active})
	if errors.Is(err, provision.ErrOwner) {
		return errDeactivateOwner
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setEmail is Zoom's "Update a user's email". It takes effect at once.
func (a *API) setEmail(w http.ResponseWriter, r *http.Request) error {
	p, err := a.admit(w, r, &maySetEmail)
	if err != nil {
		return err
	}
	var asked struct {
		Email string `json:"email"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if asked.Email == "" {
		return invalid("email", "It is required.")
	}
	u, err := a.targetUser(r, p, auth.DirectoryWrite)
	if err != nil {
		return err
	}
	account, err := a.Directory.Account(r.Context(), p.Account)
	if err != nil {
		return err
	}
	if u.ID == account.Owner {
		return errOwnerEmail
	}
	_, err = a.Users.Provisioner.Update(r.Context(), by(w, p), u.ID, &provision.Change{
		Edit:  func(u *directory.User) error { u.Email = asked.Email; return nil },
		Check: func(u *directory.User) error { return a.checkEmailChange(p, u) },
	})
	if err != nil {
		return refusedUser(err, asked.Email, "")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// checkEmailChange refuses to change the address of a deactivated user, as Zoom does, and
// of an administrator by somebody who could thereby sign in with more rights.
func (a *API) checkEmailChange(p *auth.Principal, u *directory.User) error {
	switch {
	case u.Role == directory.Admin && !a.Users.Authority.MayAppoint(p):
		return errNoPermission
	case !u.Active:
		return errInactive
	default:
		return nil
	}
}
