package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Errors of groups.
var (
	ErrNoGroup    = errors.New("no such group in this account")
	ErrGroupTaken = errors.New("the name is used by another group of this account")
)

// A Group is a named set of users. The names in [User.Groups] say who is in it; the group
// itself has what they do not: an id, and a life without members. A group is created
// with the first user who is given its name.
type Group struct {
	ID         string // made by CreateGroup
	Name       string // unique by its GroupKey
	ExternalID string // of the identity provider that manages the group; "" for none
	Created    time.Time
	// Was is the former name while a rename is being carried out: members may have either.
	Was string
	// Deleting: the group is being deleted, and takes no new members.
	Deleting bool
	Version  string // of the document; opaque
}

type groupValue struct {
	document.Format
	Name       string    `json:"name"`
	ExternalID string    `json:"external_id,omitempty"`
	Created    time.Time `json:"created"`
	Was        string    `json:"was,omitempty"`
	Deleting   bool      `json:"deleting,omitempty"`
}

// A groupNameValue is the document whose key is the key of a group's name. It makes the
// name unique.
type groupNameValue struct {
	document.Format
	Group string `json:"group"`
	// Now is the new name while the group is being renamed; users who are given the former
	// one get this.
	Now      string `json:"now,omitempty"`
	Deleting bool   `json:"deleting,omitempty"`
}

const groupCollection = "group"

func groupKey(id string) store.Key { return store.Key{Collection: groupCollection, Key: id} }
func groupNameKey(key string) store.Key {
	return store.Key{Collection: "groupname", Key: key}
}

// HasMember reports whether a user is in the group.
func (g *Group) HasMember(u *User) bool {
	return u.InGroup(GroupKey(g.Name)) || g.Was != "" && u.InGroup(GroupKey(g.Was))
}

// Equal reports whether two groups have the same content and version.
func (g *Group) Equal(o *Group) bool {
	same := *o
	same.Created = g.Created
	return *g == same && g.Created.Equal(o.Created)
}

// CreateGroup adds a group without members. It uses Name and ExternalID of g alone.
func (d *Directory) CreateGroup(ctx context.Context, account presence.AccountID, g Group) (Group, error) {
	g = Group{ID: NewID(), Name: g.Name, ExternalID: g.ExternalID, Created: d.now()}
	if err := g.clean(); err != nil {
		return Group{}, err
	}
	if _, err := d.Account(ctx, account); err != nil {
		return Group{}, err
	}
	if err := d.adoptGroups(ctx, account); err != nil {
		return Group{}, err
	}
	err := document.Again(func() error {
		switch _, err := d.groupName(ctx, account, GroupKey(g.Name)); {
		case err == nil:
			return ErrGroupTaken
		case !errors.Is(err, ErrNoGroup):
			return err
		}
		return d.docs.Write(ctx, account, g.doc(), g.nameDoc())
	})
	if err != nil {
		return Group{}, fmt.Errorf("create group: %w", err)
	}
	return d.Group(ctx, account, g.ID)
}

// Group reads a group by id, or returns ErrNoGroup.
func (d *Directory) Group(ctx context.Context, account presence.AccountID, id string) (Group, error) {
	if !isValidID(id) {
		return Group{}, ErrNoGroup
	}
	if err := d.adoptGroups(ctx, account); err != nil {
		return Group{}, err
	}
	docs, err := d.docs.Load(ctx, account, groupKey(id))
	if err != nil {
		return Group{}, fmt.Errorf("read group: %w", err)
	}
	if len(docs) == 0 {
		return Group{}, ErrNoGroup
	}
	return groupOf(&docs[0])
}

// GroupByName reads a group by its name, compared by GroupKey, or returns ErrNoGroup.
func (d *Directory) GroupByName(ctx context.Context, account presence.AccountID, name string) (Group, error) {
	name, err := GroupName("name", name)
	if err != nil || name == "" {
		return Group{}, ErrNoGroup
	}
	if err := d.adoptGroups(ctx, account); err != nil {
		return Group{}, err
	}
	found, err := d.groupName(ctx, account, GroupKey(name))
	if err != nil {
		return Group{}, err
	}
	return d.Group(ctx, account, found.Group)
}

// Groups pages by id: those above after, at most limit.
func (d *Directory) Groups(ctx context.Context, account presence.AccountID, after string, limit int) ([]Group, error) {
	if err := d.adoptGroups(ctx, account); err != nil {
		return nil, err
	}
	docs, err := d.docs.List(ctx, account, groupCollection, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	return document.All(docs, groupOf)
}

// Members pages by id: members of g above after, at most limit, as Search does.
func (d *Directory) Members(
	ctx context.Context, account presence.AccountID, g *Group, after presence.UserID, limit int,
) (members []User, next presence.UserID, err error) {
	return d.scan(ctx, account, after, limit, scanPage, g.HasMember)
}

// UpdateGroup replaces a group's ExternalID under its Version: store.ErrConflict if it has
// another by now.
func (d *Directory) UpdateGroup(ctx context.Context, account presence.AccountID, g Group) (Group, error) {
	before, err := d.Group(ctx, account, g.ID)
	if err != nil {
		return Group{}, err
	}
	before.ExternalID, before.Version = g.ExternalID, g.Version
	if err := before.clean(); err != nil {
		return Group{}, err
	}
	if err := d.docs.Write(ctx, account, before.doc()); err != nil {
		return Group{}, fmt.Errorf("update group %s: %w", g.ID, err)
	}
	return d.Group(ctx, account, g.ID)
}

// BeginRename gives a group another name, under its Version. The caller then renames it in
// all members and calls FinishRename. From now on users who are given the former name
// get the new one. A group that is being renamed already needs FinishRename first.
func (d *Directory) BeginRename(ctx context.Context, account presence.AccountID, g Group, name string) (Group, error) {
	after := g
	after.Name, after.Was = name, g.Name
	if err := after.clean(); err != nil {
		return Group{}, err
	}
	switch {
	case g.Deleting:
		return Group{}, ErrNoGroup
	case g.Was != "":
		return Group{}, fmt.Errorf("rename group %s: %w", g.ID, store.ErrConflict)
	}
	changes := []store.Doc{after.doc()}
	if GroupKey(after.Name) != GroupKey(g.Name) {
		moved, err := d.moveName(ctx, account, &g, &after)
		if err != nil {
			return Group{}, err
		}
		changes = append(changes, moved...)
	}
	if err := d.docs.Write(ctx, account, changes...); err != nil {
		return Group{}, fmt.Errorf("rename group %s: %w", g.ID, err)
	}
	return d.Group(ctx, account, g.ID)
}

// moveName lets the former name of a group refer to the new one, which must be free.
func (d *Directory) moveName(ctx context.Context, account presence.AccountID, before, after *Group) ([]store.Doc, error) {
	switch _, err := d.groupName(ctx, account, GroupKey(after.Name)); {
	case err == nil:
		return nil, ErrGroupTaken
	case !errors.Is(err, ErrNoGroup):
		return nil, err
	}
	former, err := d.groupName(ctx, account, GroupKey(before.Name))
	if err != nil {
		return nil, err
	}
	former.Now = after.Name
	return []store.Doc{after.nameDoc(), former.to(former.version)}, nil
}

// FinishRename ends a rename: the former name is free.
func (d *Directory) FinishRename(ctx context.Context, account presence.AccountID, id string) (Group, error) {
	err := document.Again(func() error {
		g, err := d.Group(ctx, account, id)
		if err != nil || g.Was == "" {
			return err
		}
		var changes []store.Doc
		if GroupKey(g.Was) != GroupKey(g.Name) {
			if changes, err = d.freeNames(ctx, account, g.Was); err != nil {
				return err
			}
		}
		g.Was = ""
		return d.docs.Write(ctx, account, append(changes, g.doc())...)
	})
	if err != nil {
		return Group{}, fmt.Errorf("rename group %s: %w", id, err)
	}
	return d.Group(ctx, account, id)
}

// BeginDeleteGroup marks a group for deletion under its Version, so that it takes no more
// members. The caller then removes all members and calls FinishDeleteGroup.
func (d *Directory) BeginDeleteGroup(ctx context.Context, account presence.AccountID, g Group) (Group, error) {
	if g.Deleting {
		return g, nil
	}
	g.Deleting = true
	changes := []store.Doc{g.doc()}
	name, err := d.groupName(ctx, account, GroupKey(g.Name))
	if err != nil {
		return Group{}, err
	}
	name.Deleting = true
	if err := d.docs.Write(ctx, account, append(changes, name.to(name.version))...); err != nil {
		return Group{}, fmt.Errorf("delete group %s: %w", g.ID, err)
	}
	return d.Group(ctx, account, g.ID)
}

// FinishDeleteGroup removes a group that has no members any more. Its name is free.
func (d *Directory) FinishDeleteGroup(ctx context.Context, account presence.AccountID, id string) error {
	err := document.Again(func() error {
		g, err := d.Group(ctx, account, id)
		if err != nil {
			return err
		}
		changes, err := d.freeNames(ctx, account, g.Name, g.Was)
		if err != nil {
			return err
		}
		return d.docs.Write(ctx, account, append(changes, store.Doc{Key: groupKey(id), Version: g.Version})...)
	})
	if err != nil {
		return fmt.Errorf("delete group %s: %w", id, err)
	}
	return nil
}

// freeNames are the deletions of the documents of names.
func (d *Directory) freeNames(ctx context.Context, account presence.AccountID, names ...string) ([]store.Doc, error) {
	var keys []store.Key
	for _, name := range names {
		if key := groupNameKey(GroupKey(name)); name != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	docs, err := d.docs.Load(ctx, account, keys...)
	for i := range docs {
		docs[i] = document.Deletion(&docs[i])
	}
	return docs, err
}

// A groupNameDoc is a name with the key and version of its document.
type groupNameDoc struct {
	groupNameValue
	key, version string
}

// groupName reads the document of a name, by its key, or returns ErrNoGroup.
func (d *Directory) groupName(ctx context.Context, account presence.AccountID, key string) (groupNameDoc, error) {
	found, err := d.groupNames(ctx, account, []string{key})
	if err == nil && len(found) == 0 {
		err = ErrNoGroup
	}
	return found[key], err
}

// groupNames reads the documents of names, by their keys.
func (d *Directory) groupNames(ctx context.Context, account presence.AccountID, keys []string) (map[string]groupNameDoc, error) {
	load := make([]store.Key, len(keys))
	for i, key := range keys {
		load[i] = groupNameKey(key)
	}
	docs, err := d.docs.Load(ctx, account, load...)
	if err != nil {
		return nil, fmt.Errorf("read names of groups: %w", err)
	}
	found := make(map[string]groupNameDoc, len(docs))
	for i := range docs {
		name := groupNameDoc{key: docs[i].Key.Key, version: docs[i].Version}
		if err := document.Decode(&docs[i], &name.groupNameValue); err != nil {
			return nil, err
		}
		found[name.key] = name
	}
	return found, nil
}

func (n *groupNameDoc) to(version string) store.Doc {
	return document.New(groupNameKey(n.key), version, n.groupNameValue)
}

func (g *Group) nameDoc() store.Doc {
	return document.New(groupNameKey(GroupKey(g.Name)), "", groupNameValue{Format: document.Current(), Group: g.ID})
}

func (g *Group) doc() store.Doc {
	return document.New(groupKey(g.ID), g.Version, groupValue{document.Current(), g.Name, g.ExternalID, g.Created, g.Was, g.Deleting})
}

func groupOf(doc *store.Doc) (Group, error) {
	var v groupValue
	err := document.Decode(doc, &v)
	return Group{doc.Key.Key, v.Name, v.ExternalID, v.Created, v.Was, v.Deleting, doc.Version}, err
}

// clean normalizes and checks the fields of a group.
func (g *Group) clean() (err error) {
	if g.Name, err = GroupName("name", g.Name); err != nil {
		return err
	}
	if g.Name == "" {
		return &presence.FieldError{Field: "name", Reason: "must not be empty"}
	}
	g.ExternalID, err = cleanName("external_id", g.ExternalID)
	return err
}
