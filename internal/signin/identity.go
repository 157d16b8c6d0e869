package signin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/store"
)

// Users are created and changed; *provision.Provisioner does it.
type Users interface {
	Create(ctx context.Context, by *provision.By, asked directory.User) (directory.User, error)
	Update(ctx context.Context, by *provision.By, id presence.UserID, change *provision.Change) (directory.User, error)
}

// An identityValue is a document of an account that links a person of a provider with a
// user. Its key is the digest of issuer and subject: an e-mail address may change hands, a
// subject never does.
type identityValue struct {
	document.Format
	User   presence.UserID `json:"user"`
	Issuer string          `json:"issuer"`
	// Groups and Admin are what the provider gave the user at the last sign-in. What others
	// gave stays.
	Groups []string `json:"groups,omitempty"`
	Admin  bool     `json:"admin,omitempty"`
}

func (p *Provider) linkKey(subject string) string {
	return digest(p.Issuer + "\n" + subject)
}

// signIn signs in the user whom the claims are about.
func (p *Provider) signIn(ctx context.Context, c *claims, from *From) (*SignedIn, error) {
	account, err := p.account(ctx)
	if err != nil {
		return nil, err
	}
	by := &provision.By{Actor: from.By, Account: account}
	by.App = auth.SignInApp
	id, err := p.userOf(ctx, by, c)
	if err != nil {
		return nil, p.denied(account, from, err)
	}
	who, err := p.Registry.user(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if !who.exists || who.barred {
		return nil, p.denied(account, from, &IdentityError{Reason: "your user is deactivated"})
	}
	if err := p.follow(ctx, by, who, c); err != nil {
		return nil, err
	}
	return p.Registry.begin(ctx, who, from, "oidc")
}

func (p *Provider) denied(account presence.AccountID, from *From, err error) error {
	if errors.Is(err, ErrIdentity) {
		p.Registry.audit.Repeated(account, &audit.Event{Action: "sign-in.fail", By: from.By, Denied: true, Reason: err.Error()}, audit.EachMinute)
	}
	return err
}

// userOf is the user who is linked with the subject, else the one with the verified
// address, else a new one.
func (p *Provider) userOf(ctx context.Context, by *provision.By, c *claims) (presence.UserID, error) {
	link, _, err := p.link(ctx, by.Account, c.Subject)
	if err != nil {
		return "", err
	}
	if link.User != "" {
		_, err := p.Registry.directory.User(ctx, by.Account, link.User)
		if !errors.Is(err, directory.ErrNoUser) {
			return link.User, err
		}
	}
	switch {
	case c.Email == "" || !bool(c.EmailVerified):
		return "", &IdentityError{Reason: "it has not verified your e-mail address"}
	case !p.allows(c.Email):
		return "", &IdentityError{Reason: "people with your e-mail address are not users of this server"}
	}
	u, err := p.Registry.directory.Find(ctx, by.Account, c.Email)
	if errors.Is(err, directory.ErrNoUser) {
		u, err = p.create(ctx, by, c)
	}
	if err != nil {
		return "", err
	}
	return u.ID, p.connect(ctx, by, u.ID, c.Subject)
}

func (p *Provider) create(ctx context.Context, by *provision.By, c *claims) (directory.User, error) {
	if !p.CreateUsers {
		return directory.User{}, &IdentityError{Reason: "an administrator has to add you first"}
	}
	u := directory.User{Email: c.Email, FirstName: c.GivenName, LastName: c.FamilyName, DisplayName: c.Name}
	made, err := p.Users.Create(ctx, by, u)
	if _, invalid := errors.AsType[*presence.FieldError](err); invalid { // a name that is none here
		return p.Users.Create(ctx, by, directory.User{Email: c.Email})
	}
	return made, err
}

func (p *Provider) link(ctx context.Context, account presence.AccountID, subject string) (v identityValue, version string, err error) {
	docs, err := p.Registry.docs.Load(ctx, account, identityKey(p.linkKey(subject)))
	if err != nil {
		return v, "", fmt.Errorf("read identity: %w", err)
	}
	if len(docs) == 0 {
		return v, "", nil
	}
	return v, docs[0].Version, document.Decode(&docs[0], &v)
}

// connect links a user with a subject. A user has one subject of an issuer: another person
// who has got the e-mail address since is not the user.
func (p *Provider) connect(ctx context.Context, by *provision.By, id presence.UserID, subject string) error {
	key := p.linkKey(subject)
	err := document.Again(func() error {
		credential, version, err := p.Registry.credential(ctx, by.Account, id)
		if err != nil {
			return err
		}
		if err := p.checkNotLinked(ctx, by.Account, id, credential.Identities, key); err != nil {
			return err
		}
		old, oldVersion, err := p.link(ctx, by.Account, subject)
		if err != nil {
			return err
		}
		if old.User != id {
			old = identityValue{Format: document.Current(), User: id, Issuer: p.Issuer}
		}
		if !slices.Contains(credential.Identities, key) {
			credential.Identities = append(credential.Identities, key)
		}
		credential.Format = document.Current()
		return p.Registry.docs.Write(ctx, by.Account,
			document.New(credentialKey(id), version, credential), document.New(identityKey(key), oldVersion, old))
	})
	if err != nil {
		return err
	}
	return p.Registry.audit.Record(ctx, by.Account, &audit.Event{Action: "identity.link", Target: "user/" + string(id), By: by.Actor})
}

// checkNotLinked refuses a user who is linked with another subject of the issuer.
func (p *Provider) checkNotLinked(ctx context.Context, account presence.AccountID, id presence.UserID, keys []string, except string) error {
	var docKeys []store.Key
	for _, key := range keys {
		if key != except {
			docKeys = append(docKeys, identityKey(key))
		}
	}
	docs, err := p.Registry.docs.Load(ctx, account, docKeys...)
	if err != nil {
		return fmt.Errorf("read identities: %w", err)
	}
	for i := range docs {
		var v identityValue
		if err := document.Decode(&docs[i], &v); err != nil {
			return err
		}
		if v.User == id && v.Issuer == p.Issuer {
			return &IdentityError{Reason: "the user with your e-mail address belongs to another person at the provider; an administrator has to delete that user, or change the address"}
		}
	}
	return nil
}

// follow gives the user the groups and the role that the provider says, and takes back what
// it gave before.
func (p *Provider) follow(ctx context.Context, by *provision.By, who *person, c *claims) error {
	groups, known := p.groups(c)
	if !known {
		return nil
	}
	link, version, err := p.link(ctx, by.Account, c.Subject)
	if err != nil {
		return err
	}
	admin := p.AdminGroup != "" && slices.Contains(groups, p.AdminGroup)
	owner, err := p.owns(ctx, by.Account, who.user.ID)
	if err != nil {
		return err
	}
	// What the provider gave and gives is written first: after a crash in between, the next
	// sign-in takes back all that it should.
	before := link
	link.Groups, link.Admin = merged(before.Groups, nil, groups), admin || before.Admin
	if err := p.writeLink(ctx, by.Account, c.Subject, &link, version); err != nil {
		return err
	}
	who.user, err = p.Users.Update(ctx, by, who.user.ID, &provision.Change{Edit: func(u *directory.User) error {
		u.Groups = merged(u.Groups, before.Groups, groups)
		switch {
		case owner: // is an administrator in any case, and not by the provider
		case admin:
			u.Role = directory.Admin
		case before.Admin:
			u.Role = directory.Member
		}
		return nil
	}})
	if err != nil {
		return err
	}
	if link, version, err = p.link(ctx, by.Account, c.Subject); err != nil {
		return err
	}
	link.Groups, link.Admin = groups, admin && !owner
	return p.writeLink(ctx, by.Account, c.Subject, &link, version)
}

func (p *Provider) owns(ctx context.Context, account presence.AccountID, id presence.UserID) (bool, error) {
	found, err := p.Registry.directory.Account(ctx, account)
	return err == nil && found.Owner == id, err
}

func (p *Provider) writeLink(ctx context.Context, account presence.AccountID, subject string, v *identityValue, version string) error {
	v.Format = document.Current()
	if err := p.Registry.docs.Write(ctx, account, document.New(identityKey(p.linkKey(subject)), version, *v)); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}

// merged are the groups of a user without those that the provider gave before, and with
// those that it gives now. Names that differ only in case are one group.
func merged(have, before, now []string) []string {
	in := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(other string) bool { return strings.EqualFold(other, name) })
	}
	var result []string
	for _, name := range have {
		if !in(before, name) || in(now, name) {
			result = append(result, name)
		}
	}
	for _, name := range now {
		if !in(result, name) {
			result = append(result, name)
		}
	}
	return result
}
