package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Unlogged is a change of a user's profile that may not be in the user's log yet. It
// is written together with the change and removed by MarkLogged, so that a server that
// stops before it has logged the change can do so later.
type Unlogged struct {
	User                   presence.UserID
	Renamed, Email, Groups bool
	// Profiles are those after the change and before it.
	presence.Profiles
	version string
}

type unloggedValue struct {
	document.Format
	Renamed bool          `json:"renamed,omitempty"`
	Email   bool          `json:"email,omitempty"`
	Groups  bool          `json:"groups,omitempty"`
	After   *profileValue `json:"after,omitempty"`
	Before  *profileValue `json:"before,omitempty"`
}

// A profileValue is a profile in a document.
type profileValue struct {
	Email       string   `json:"email"`
	FirstName   string   `json:"first_name,omitempty"`
	LastName    string   `json:"last_name,omitempty"`
	DisplayName string   `json:"display_name,omitempty"`
	Department  string   `json:"department,omitempty"`
	Groups      []string `json:"groups,omitempty"`
}

const unloggedCollection = "unlogged"

func unloggedKey(id presence.UserID) store.Key {
	return store.Key{Collection: unloggedCollection, Key: string(id)}
}

// Unlogged reads the changes of a user that may not be in the log yet.
func (d *Directory) Unlogged(ctx context.Context, account presence.AccountID, id presence.UserID) (Unlogged, error) {
	docs, err := d.docs.Load(ctx, account, unloggedKey(id))
	if err != nil {
		return Unlogged{}, fmt.Errorf("read what is not logged of user %s: %w", id, err)
	}
	if len(docs) == 0 {
		return Unlogged{User: id}, nil
	}
	return unloggedOf(&docs[0])
}

// AllUnlogged pages through the unlogged changes of an account's users: those of users
// above after, at most limit.
func (d *Directory) AllUnlogged(ctx context.Context, account presence.AccountID, after presence.UserID, limit int) ([]Unlogged, error) {
	docs, err := d.docs.List(ctx, account, unloggedCollection, string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list what is not logged: %w", err)
	}
	return document.All(docs, unloggedOf)
}

// ClaimUnlogged claims the logging of u for this caller. It reports false if another caller has
// claimed it, or u has been logged or changed. It returns what MarkLogged needs then.
func (d *Directory) ClaimUnlogged(ctx context.Context, account presence.AccountID, u Unlogged) (claimed Unlogged, ok bool, err error) {
	docs, err := d.docs.Load(ctx, account, unloggedKey(u.User))
	if err != nil || len(docs) == 0 || docs[0].Version != u.version {
		return u, false, err
	}
	err = d.docs.Write(ctx, account, docs[0]) // which gives it another version
	if errors.Is(err, store.ErrConflict) {
		return u, false, nil
	}
	if err == nil {
		claimed, err = d.Unlogged(ctx, account, u.User)
	}
	if err != nil {
		return u, false, fmt.Errorf("claim the unlogged change of user %s: %w", u.User, err)
	}
	return claimed, true, nil
}

// MarkLogged removes u once it is in the log. It does nothing if there was another
// change after u was read.
func (d *Directory) MarkLogged(ctx context.Context, account presence.AccountID, u Unlogged) error {
	if u.version == "" {
		return nil
	}
	err := d.docs.Write(ctx, account, store.Doc{Key: unloggedKey(u.User), Version: u.version})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("drop what was not logged of user %s: %w", u.User, err)
	}
	return nil
}

// unlogged is the document that is written with a change from before to u; none if
// the profile is unchanged.
func (d *Directory) unlogged(ctx context.Context, account presence.AccountID, before, u *User) ([]store.Doc, error) {
	changed := Unlogged{Renamed: before.names() != u.names(), Email: before.Email != u.Email, Groups: !slices.Equal(before.Groups, u.Groups)}
	if changed == (Unlogged{}) {
		return nil, nil
	}
	was, err := d.Unlogged(ctx, account, u.ID)
	if err != nil {
		return nil, err
	}
	earliest := before.Profile()
	if was.ProfileBefore != nil {
		earliest = was.ProfileBefore
	}
	v := unloggedValue{
		Format: document.Current(), Renamed: changed.Renamed || was.Renamed, Email: changed.Email || was.Email, Groups: changed.Groups || was.Groups,
		After: (*profileValue)(u.Profile()), Before: (*profileValue)(earliest),
	}
	return []store.Doc{document.New(unloggedKey(u.ID), was.version, v)}, nil
}

// Profile is what the log keeps of the user with changes of the directory.
func (u *User) Profile() *presence.Profile {
	return &presence.Profile{
		Email: u.Email, FirstName: u.FirstName, LastName: u.LastName, DisplayName: u.DisplayName, Department: u.Department, Groups: u.Groups,
	}
}

func (u *User) names() [4]string {
	return [4]string{u.FirstName, u.LastName, u.DisplayName, u.Department}
}

func unloggedOf(doc *store.Doc) (Unlogged, error) {
	var v unloggedValue
	if err := document.Decode(doc, &v); err != nil {
		return Unlogged{}, err
	}
	return Unlogged{
		User: presence.UserID(doc.Key.Key), Renamed: v.Renamed, Email: v.Email, Groups: v.Groups, version: doc.Version,
		Profiles: presence.Profiles{Profile: (*presence.Profile)(v.After), ProfileBefore: (*presence.Profile)(v.Before)},
	}, nil
}
