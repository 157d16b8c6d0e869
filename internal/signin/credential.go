package signin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A credentialValue is a document of the user's account with what proves who a user is.
type credentialValue struct {
	document.Format
	Hash string    `json:"argon2id,omitempty"` // of the password; "" for none
	Set  time.Time `json:"set,omitzero"`       // when the password was chosen
	// Invitation is the digest of the link that is open; "" for none.
	Invitation string `json:"invitation_sha256,omitempty"`
	// Known are digests of the networks from which the person signed in, the latest last.
	Known []string `json:"known,omitempty"`
	// Identities are the keys of documents that link the user with an OpenID provider.
	Identities []string `json:"identities,omitempty"`
}

// maxKnown bounds the networks of a user that are remembered.
const maxKnown = 10

func credentialKey(id presence.UserID) store.Key {
	return store.Key{Collection: "credential", Key: string(id)}
}

// A place is a user of an account.
type place struct {
	Account presence.AccountID `json:"account"`
	User    presence.UserID    `json:"user"`
}

// An addressValue is a document of the system whose key is the digest of an e-mail
// address. It has the users with that address who have a password, so that somebody on a
// server with several accounts need not name theirs. An entry counts only if its user has
// the address now.
type addressValue struct {
	document.Format
	Users []place `json:"users"`
}

// maxPlaces bounds the accounts that have one address.
const maxPlaces = 100

func addressKey(form string) store.Key {
	return store.Key{Collection: "sign-in-email", Key: digest(form)}
}

// credential reads a user's credential and the version of its document.
func (r *Registry) credential(ctx context.Context, account presence.AccountID, id presence.UserID) (v credentialValue, version string, err error) {
	docs, err := r.docs.Load(ctx, account, credentialKey(id))
	if err != nil {
		return v, "", fmt.Errorf("read credential: %w", err)
	}
	if len(docs) == 0 {
		return v, "", nil
	}
	return v, docs[0].Version, document.Decode(&docs[0], &v)
}

func (r *Registry) writeCredential(ctx context.Context, account presence.AccountID, id presence.UserID, v *credentialValue, version string) error {
	v.Format = document.Current()
	if err := r.docs.Write(ctx, account, document.New(credentialKey(id), version, *v)); err != nil {
		return fmt.Errorf("write credential: %w", err)
	}
	return nil
}

// edit changes a user's credential. change may run again, and may refuse.
func (r *Registry) edit(ctx context.Context, account presence.AccountID, id presence.UserID, change func(*credentialValue) error) error {
	return document.Again(func() error {
		v, version, err := r.credential(ctx, account, id)
		if err == nil {
			err = change(&v)
		}
		if err != nil {
			return err
		}
		return r.writeCredential(ctx, account, id, &v, version)
	})
}

// networkDigest names a network in a user's credential.
func networkDigest(id presence.UserID, network netip.Prefix) string {
	return digest(string(id) + " " + network.String())[:16]
}

func (v *credentialValue) knows(id presence.UserID, network netip.Prefix) bool {
	return network.IsValid() && slices.Contains(v.Known, networkDigest(id, network))
}

func (v *credentialValue) remember(id presence.UserID, network netip.Prefix) {
	if !network.IsValid() {
		return
	}
	d := networkDigest(id, network)
	v.Known = slices.DeleteFunc(v.Known, func(known string) bool { return known == d })
	v.Known = append(v.Known, d)
	v.Known = v.Known[max(0, len(v.Known)-maxKnown):]
}

// list adds a user with a password to those of an address.
func (r *Registry) list(ctx context.Context, email string, who place) error {
	return r.editAddress(ctx, email, func(v *addressValue) bool {
		if slices.Contains(v.Users, who) || len(v.Users) >= maxPlaces {
			return false
		}
		v.Users = append(v.Users, who)
		return true
	})
}

// unlist removes a user from those of an address.
func (r *Registry) unlist(ctx context.Context, email string, who place) error {
	return r.editAddress(ctx, email, func(v *addressValue) bool {
		n := len(v.Users)
		v.Users = slices.DeleteFunc(v.Users, func(p place) bool { return p == who })
		return len(v.Users) != n
	})
}

func (r *Registry) editAddress(ctx context.Context, email string, change func(*addressValue) bool) error {
	key := addressKey(directory.EmailForm(email))
	return document.Again(func() error {
		docs, err := r.docs.Load(ctx, system, key)
		if err != nil {
			return fmt.Errorf("read the users of an address: %w", err)
		}
		var v addressValue
		version := ""
		if len(docs) > 0 {
			version = docs[0].Version
			if err := document.Decode(&docs[0], &v); err != nil {
				return err
			}
		}
		if !change(&v) {
			return nil
		}
		v.Format = document.Current()
		doc := document.New(key, version, v)
		if len(v.Users) == 0 {
			doc = document.Deletion(&docs[0])
		}
		if err := r.docs.Write(ctx, system, doc); err != nil {
			return fmt.Errorf("write the users of an address: %w", err)
		}
		return nil
	})
}

// Moved follows a change of a user's e-mail address.
func (r *Registry) Moved(ctx context.Context, account presence.AccountID, id presence.UserID, from, to string) error {
	v, _, err := r.credential(ctx, account, id)
	if err != nil || v.Hash == "" || directory.EmailForm(from) == directory.EmailForm(to) {
		return err
	}
	who := place{account, id}
	return errors.Join(r.list(ctx, to, who), r.unlist(ctx, from, who))
}

// Forget deletes what is known of a user who is being deleted.
func (r *Registry) Forget(ctx context.Context, account presence.AccountID, id presence.UserID, email string) error {
	if err := r.unlist(ctx, email, place{account, id}); err != nil {
		return err
	}
	return document.Again(func() error {
		v, version, err := r.credential(ctx, account, id)
		if err != nil || version == "" {
			return err
		}
		keys := make([]store.Key, 0, len(v.Identities))
		for _, key := range v.Identities {
			keys = append(keys, identityKey(key))
		}
		links, err := r.docs.Load(ctx, account, keys...)
		if err != nil {
			return fmt.Errorf("read identities: %w", err)
		}
		changes := []store.Doc{{Key: credentialKey(id), Version: version}}
		for i := range links {
			changes = append(changes, document.Deletion(&links[i]))
		}
		if err := r.docs.Write(ctx, account, changes...); err != nil {
			return fmt.Errorf("delete credential: %w", err)
		}
		return nil
	})
}

// identityKey is the document of a link with a person at an OpenID provider.
func identityKey(key string) store.Key { return store.Key{Collection: "identity", Key: key} }
