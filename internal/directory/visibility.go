package directory

import (
	"context"
	"fmt"
	"slices"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Visibility is a user's declaration of who sees what of its presence. It takes
// effect when the caller publishes its Rules to the user's record.
type Visibility struct {
	Everyone presence.Visibility
	Groups   map[string]presence.Visibility // of the user's contacts
	Watchers map[presence.UserID]presence.Visibility

	Version string // of the document; opaque
}

// Rules are a Visibility resolved with the user's contacts: one rule for each watcher.
// A rule for a watcher overrides one for its group.
type Rules struct {
	Everyone   presence.Visibility
	Watchers   map[presence.UserID]presence.Visibility
	UsesGroups bool   // the rules depend on groups of contacts
	Version    string // of contacts and declaration together; opaque
}

type visibilityValue struct {
	document.Format
	Everyone presence.Visibility                     `json:"everyone"`
	Groups   map[string]presence.Visibility          `json:"groups,omitempty"`
	Watchers map[presence.UserID]presence.Visibility `json:"watchers,omitempty"`
}

func visibilityKey(user presence.UserID) store.Key {
	return store.Key{Collection: "visibility", Key: string(user)}
}

// Visibility is what user declared; the zero value, all to everyone, without a
// declaration.
func (d *Directory) Visibility(ctx context.Context, account presence.AccountID, user presence.UserID) (Visibility, error) {
	_, v, err := d.contactsAndVisibility(ctx, account, user)
	return v, err
}

// Rules are the user's declared visibility, resolved now.
func (d *Directory) Rules(ctx context.Context, account presence.AccountID, user presence.UserID) (Rules, error) {
	contacts, v, err := d.contactsAndVisibility(ctx, account, user)
	if err != nil {
		return Rules{}, err
	}
	return Rules{v.Everyone, v.expand(contacts.List), len(v.Groups) > 0, contacts.Version + " " + v.Version}, nil
}

// A VisibilityCheck forbids a change of what was declared, by an error.
type VisibilityCheck func(before *Visibility) error

// SetVisibility replaces user's declaration, if checks allow it. Watchers must be
// users of the account; groups need not exist yet. Groups, and watchers with those of
// groups, are bounded: [presence.LimitError].
func (d *Directory) SetVisibility(ctx context.Context, account presence.AccountID, user presence.UserID, v Visibility, checks ...VisibilityCheck) error {
	if err := v.Check(); err != nil {
		return err
	}
	if err := d.checkWatchers(ctx, account, user, &v); err != nil {
		return err
	}
	return document.Again(func() error {
		contacts, before, err := d.contactsAndVisibility(ctx, account, user)
		if err != nil {
			return err
		}
		if err := runChecks(checks, &before); err != nil {
			return err
		}
		if err := checkWatcherCount(v.expand(contacts.List)); err != nil {
			return err
		}
		v.Version = before.Version
		changes := []store.Doc{v.doc(user)}
		if len(v.Groups) > 0 { // see editContacts
			changes = append(changes, contacts.doc(user))
		}
		if err := d.docs.Write(ctx, account, changes...); err != nil {
			return fmt.Errorf("set the visibility of %s: %w", user, err)
		}
		return nil
	})
}

// RemoveVisibility removes user's declaration, if there is one and checks allow it.
func (d *Directory) RemoveVisibility(ctx context.Context, account presence.AccountID, user presence.UserID, checks ...VisibilityCheck) error {
	return document.Again(func() error {
		_, v, err := d.contactsAndVisibility(ctx, account, user)
		if err == nil {
			err = runChecks(checks, &v)
		}
		if err != nil || v.Version == "" {
			return err
		}
		if err := d.docs.Write(ctx, account, store.Doc{Key: visibilityKey(user), Version: v.Version}); err != nil {
			return fmt.Errorf("remove the visibility of %s: %w", user, err)
		}
		return nil
	})
}

// contactsAndVisibility reads a user's contacts and declaration in one snapshot.
func (d *Directory) contactsAndVisibility(ctx context.Context, account presence.AccountID, user presence.UserID) (c Contacts, v Visibility, err error) {
	if !isValidID(string(user)) {
		return c, v, nil
	}
	docs, err := d.docs.Load(ctx, account, contactsKey(user), visibilityKey(user))
	if err != nil {
		return c, v, fmt.Errorf("read contacts and visibility: %w", err)
	}
	for i := range docs {
		if docs[i].Key == contactsKey(user) {
			c, err = contactsOf(&docs[i])
		} else {
			v, err = visibilityOf(&docs[i])
		}
		if err != nil {
			return c, v, err
		}
	}
	return c, v, nil
}

// Check checks a declaration and normalises the names of groups, as SetVisibility
// does.
func (v *Visibility) Check() error {
	if len(v.Groups) > MaxContactGroups {
		return &presence.LimitError{What: "groups in rules of visibility", Limit: MaxContactGroups}
	}
	if err := checkWatcherCount(v.Watchers); err != nil {
		return err
	}
	groups := make(map[string]presence.Visibility, len(v.Groups))
	for given, level := range v.Groups {
		name, err := GroupName("groups", given)
		if err != nil {
			return err
		}
		if _, again := groups[name]; again || name == "" {
			return &presence.FieldError{Field: "groups", Reason: "must have names that are not empty, each once"}
		}
		groups[name] = level
	}
	v.Groups = groups
	return nil
}

func checkWatcherCount(watchers map[presence.UserID]presence.Visibility) error {
	if len(watchers) > presence.MaxRules {
		return &presence.LimitError{What: "watchers in rules of visibility, by themselves and through groups", Limit: presence.MaxRules}
	}
	return nil
}

// checkWatchers checks that user and all watchers exist.
func (d *Directory) checkWatchers(ctx context.Context, account presence.AccountID, user presence.UserID, v *Visibility) error {
	if _, ok := v.Watchers[user]; ok {
		return &presence.FieldError{Field: "watchers", Reason: "names the user, who always sees all"}
	}
	ids := []presence.UserID{user}
	for watcher := range v.Watchers {
		ids = append(ids, watcher)
	}
	slices.Sort(ids[1:])
	known, err := d.UsersByID(ctx, account, ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if _, ok := known[id]; !ok && i == 0 {
			return ErrNoUser
		} else if !ok {
			return UnknownWatcher(string(id))
		}
	}
	return nil
}

// UnknownWatcher is the error for a watcher in rules who is no user of the account.
func UnknownWatcher(ref string) error {
	if !isValidID(ref) {
		ref = "somebody"
	}
	return &presence.FieldError{Field: "watchers", Reason: fmt.Sprintf("names %q, who is no user of this account", ref)}
}

// expand is the rule for each watcher.
func (v *Visibility) expand(contacts []Contact) map[presence.UserID]presence.Visibility {
	all := make(map[presence.UserID]presence.Visibility, len(v.Watchers))
	for i := range contacts {
		// A contact is in one group, so none is stricter than another.
		if level, ok := v.Groups[contacts[i].Group]; ok {
			all[contacts[i].User] = level
		}
	}
	for watcher, level := range v.Watchers {
		all[watcher] = level
	}
	return all
}

func (v *Visibility) doc(user presence.UserID) store.Doc {
	return document.New(visibilityKey(user), v.Version, visibilityValue{document.Current(), v.Everyone, v.Groups, v.Watchers})
}

func visibilityOf(doc *store.Doc) (Visibility, error) {
	var value visibilityValue
	if err := document.Decode(doc, &value); err != nil {
		return Visibility{}, err
	}
	return Visibility{value.Everyone, value.Groups, value.Watchers, doc.Version}, nil
}
