package signin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Kind is what a link is for.
type Kind string

// The kinds.
const (
	// Invitation lets a person choose a first password.
	Invitation Kind = "invitation"
	// Reset lets a person choose another one, and ends everything that acts for them.
	Reset Kind = "password-reset"
)

// lasts is how long a link can be used.
func (k Kind) lasts() time.Duration {
	if k == Reset {
		return time.Hour
	}
	return 72 * time.Hour
}

// knownAfter is how long an expired link is distinguished from an unknown one.
const knownAfter = 7 * 24 * time.Hour

// An invitationValue is a document of the system whose key is the digest of a link's
// secret. The link is open while the user's credential has the same digest.
type invitationValue struct {
	document.Format
	place

	Kind    Kind      `json:"kind"`
	Expires time.Time `json:"expires"`
	// Appoints: whoever made the link may do all that an administrator may. Without that,
	// the link does not work for administrators, also if its user became one later.
	Appoints bool `json:"appoints,omitempty"`
}

func invitationKey(digest string) store.Key {
	return store.Key{Collection: "invitation", Key: digest}
}

// Invite makes the secret of a link with which a user can choose a password, once. It
// replaces the link that the user had. appoints is whether the caller may do all that an
// administrator may.
func (r *Registry) Invite(
	ctx context.Context, account presence.AccountID, id presence.UserID, kind Kind, appoints bool, by audit.Actor,
) (secret string, expires time.Time, err error) {
	if r.noPasswords {
		return "", expires, ErrPasswordOff
	}
	u, err := r.directory.User(ctx, account, id)
	if err != nil {
		return "", expires, err
	}
	if !u.Active {
		return "", expires, presence.ErrDeactivated
	}
	secret, expires = newSecret(), r.clock().UTC().Truncate(time.Millisecond).Add(kind.lasts())
	d := digest(secret)
	doc := document.New(invitationKey(d), "", invitationValue{document.Current(), place{account, id}, kind, expires, appoints})
	doc.Until = expires.Add(knownAfter)
	if err := r.docs.Write(ctx, system, doc); err != nil {
		return "", expires, fmt.Errorf("make a link: %w", err)
	}
	err = r.edit(ctx, account, id, func(v *credentialValue) error {
		v.Invitation = d
		return nil
	})
	if err != nil {
		return "", expires, err
	}
	event := &audit.Event{Action: string(kind) + ".create", Target: "user/" + string(id), By: by, After: audit.Fields{"expires": expires}}
	return secret, expires, r.audit.Record(ctx, account, event)
}

// Accept sets the password of a person who has a link, uses the link up, and signs the
// person in.
func (r *Registry) Accept(ctx context.Context, secret, password string, from *From) (*SignedIn, error) {
	if r.noPasswords {
		return nil, ErrPasswordOff
	}
	d := digest(secret)
	link, who, err := r.invited(ctx, d)
	if err != nil {
		return nil, err
	}
	text, err := r.policy.check("password", password, who.user.Email)
	if err != nil {
		return nil, err
	}
	if who.Invitation != d {
		return nil, ErrInvitationUsed
	}
	hash, err := r.hasher.new(ctx, from.Network.String(), text)
	if err != nil {
		return nil, err
	}
	if err := r.replace(ctx, link, who, d, hash); err != nil {
		return nil, err
	}
	if err := r.checkStillReaches(ctx, link); err != nil {
		return nil, err
	}
	by := from.By
	by.User = who.user.ID
	err = r.audit.Record(ctx, who.account, &audit.Event{Action: "password.set", Target: "user/" + string(who.user.ID), By: by, After: audit.Fields{"method": string(link.Kind)}})
	if err != nil {
		return nil, err
	}
	return r.begin(ctx, who, from, string(link.Kind))
}

// replace sets the password. What the old password gave away ends before and after, so that
// neither a crash in between nor a sign-in at the same time leaves anything.
func (r *Registry) replace(ctx context.Context, link *invitationValue, who *person, d, hash string) error {
	replaces := link.Kind == Reset || who.Hash != ""
	if replaces {
		if err := r.authority.RevokeUser(ctx, link.Account, link.User); err != nil {
			return err
		}
	}
	err := r.edit(ctx, link.Account, link.User, func(v *credentialValue) error {
		if v.Invitation != d {
			return ErrInvitationUsed // at the same time
		}
		v.Hash, v.Set, v.Invitation, v.Known = hash, r.clock().UTC(), "", nil
		return nil
	})
	if err != nil {
		return err
	}
	if replaces {
		if err := r.authority.RevokeUser(ctx, link.Account, link.User); err != nil {
			return err
		}
	}
	return r.list(ctx, who.user.Email, link.place)
}

// invited is a link that has not expired, and whom it is for.
func (r *Registry) invited(ctx context.Context, d string) (*invitationValue, *person, error) {
	docs, err := r.docs.Load(ctx, system, invitationKey(d))
	if err != nil {
		return nil, nil, fmt.Errorf("read a link: %w", err)
	}
	if len(docs) == 0 {
		return nil, nil, ErrNoInvitation
	}
	link := new(invitationValue)
	if err := document.Decode(&docs[0], link); err != nil {
		return nil, nil, err
	}
	if !r.clock().Before(link.Expires) {
		return nil, nil, ErrInvitationExpired
	}
	who, err := r.user(ctx, link.Account, link.User)
	if err != nil {
		return nil, nil, err
	}
	if !who.exists || who.barred {
		return nil, nil, ErrNoInvitation
	}
	return link, who, r.checkReaches(ctx, link, who)
}

// checkReaches refuses a link for an administrator whose maker could not act as one.
func (r *Registry) checkReaches(ctx context.Context, link *invitationValue, who *person) error {
	if link.Appoints {
		return nil
	}
	privileged, err := r.authority.IsAdministrator(ctx, link.Account, &who.user)
	if err == nil && privileged {
		err = ErrNoInvitation
	}
	return err
}

// checkStillReaches removes the password that was set with a link if its user became an
// administrator meanwhile.
func (r *Registry) checkStillReaches(ctx context.Context, link *invitationValue) error {
	who, err := r.user(ctx, link.Account, link.User)
	if err == nil {
		err = r.checkReaches(ctx, link, who)
	}
	if !errors.Is(err, ErrNoInvitation) {
		return err
	}
	return errors.Join(err, r.edit(ctx, link.Account, link.User, func(v *credentialValue) error {
		v.Hash = ""
		return nil
	}))
}
