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

// newGroups are the documents of the groups that a user of the account is given and that
// do not exist yet. It replaces, in u, names of groups that are being renamed, and
// refuses new membership of a group that is being deleted. before is the user until now.
func (d *Directory) newGroups(ctx context.Context, account presence.AccountID, before, u *User) ([]store.Doc, error) {
	if len(u.Groups) == 0 || slices.Equal(before.Groups, u.Groups) {
		return nil, nil
	}
	known, err := d.groupNames(ctx, account, groupKeys(u.Groups))
	if err != nil {
		return nil, err
	}
	return d.withGroups(known, before, u)
}

// withGroups is newGroups with the names of those groups that exist.
func (d *Directory) withGroups(known map[string]groupNameDoc, before, u *User) (docs []store.Doc, err error) {
	keys := groupKeys(u.Groups)
	u.Groups = slices.Clone(u.Groups)
	for i, key := range keys {
		name, ok := known[key]
		switch {
		case !ok:
			docs = append(docs, d.newGroup(u.Groups[i])...)
		case name.Deleting && !before.InGroup(key):
			return nil, &presence.FieldError{Field: fmt.Sprintf("groups[%d]", i), Reason: "names a group that is being deleted"}
		case name.Now != "":
			u.Groups[i] = name.Now
		}
	}
	u.Groups, err = cleanGroups(u.Groups)
	return docs, err
}

// newGroup is the documents of a group that does not exist yet.
func (d *Directory) newGroup(name string) []store.Doc {
	g := &Group{ID: NewID(), Name: name, Created: d.now()}
	return []store.Doc{g.doc(), g.nameDoc()}
}

func groupKeys(names []string) []string {
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = GroupKey(name)
	}
	return keys
}

type adoptedValue struct {
	document.Format
}

// adoptedKey is a document that exists once all groups of an account have documents.
var adoptedKey = store.Key{Collection: "groups", Key: "adopted"}

// adoptGroups creates the groups that exist only as names of users: those of stores that
// servers wrote which did not keep groups. It reads all users of an account once in
// the life of the store, when somebody asks for groups first.
func (d *Directory) adoptGroups(ctx context.Context, account presence.AccountID) error {
	if _, done := d.adopted.Load(account); done {
		return nil
	}
	d.adopting.Lock()
	defer d.adopting.Unlock()
	docs, err := d.docs.Load(ctx, account, adoptedKey)
	if err == nil && len(docs) == 0 {
		err = d.adopt(ctx, account)
	}
	if err != nil {
		return fmt.Errorf("create the groups of older users: %w", err)
	}
	d.adopted.Store(account, true)
	return nil
}

func (d *Directory) adopt(ctx context.Context, account presence.AccountID) error {
	seen := make(map[string]bool)
	for after := presence.UserID(""); ; {
		users, err := d.Users(ctx, account, after, scanPage)
		if err != nil {
			return err
		}
		var names []string
		for i := range users {
			after = users[i].ID
			for _, name := range users[i].Groups {
				if key := GroupKey(name); !seen[key] {
					seen[key], names = true, append(names, name)
				}
			}
		}
		for some := range slices.Chunk(names, store.MaxWrite/2) {
			if err := document.Again(func() error { return d.createMissing(ctx, account, some) }); err != nil {
				return err
			}
		}
		if len(users) < scanPage {
			break
		}
	}
	err := d.docs.Write(ctx, account, document.New(adoptedKey, "", adoptedValue{document.Current()}))
	if errors.Is(err, store.ErrConflict) { // another node has done the same
		return nil
	}
	return err
}

// createMissing creates those groups that have no documents yet.
func (d *Directory) createMissing(ctx context.Context, account presence.AccountID, names []string) error {
	known, err := d.groupNames(ctx, account, groupKeys(names))
	if err != nil {
		return err
	}
	var docs []store.Doc
	for _, name := range names {
		if _, ok := known[GroupKey(name)]; !ok {
			docs = append(docs, d.newGroup(name)...)
		}
	}
	if len(docs) == 0 {
		return nil
	}
	return d.docs.Write(ctx, account, docs...)
}
