package signin

import (
	"context"
	"errors"
	"slices"
	"strings"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
)

// An Attempt is what a person enters to sign in.
type Attempt struct {
	Email, Password string
	Account         presence.AccountID // "": the only one that can be meant
	From
}

// A person is whom an attempt may be by. The zero person is nobody.
type person struct {
	account presence.AccountID // may be known of a person who is not
	user    directory.User
	exists  bool
	// barred: the person may not sign in.
	barred bool
	credentialValue
}

// why is the reason for the audit log.
func (p *person) why() string {
	switch {
	case !p.exists:
		return "unknown e-mail address"
	case p.barred:
		return "the user is deactivated or the account is suspended"
	case p.Hash == "":
		return "the user has no password"
	default:
		return "wrong password"
	}
}

// SignIn signs a person in who has the right password. ErrRefused, ErrRefusedHere, ErrBusy,
// ErrPasswordOff or a *ThrottledError.
func (r *Registry) SignIn(ctx context.Context, a *Attempt) (*SignedIn, error) {
	if r.noPasswords {
		return nil, ErrPasswordOff
	}
	who, refusal, err := r.find(ctx, a)
	if err != nil {
		return nil, err
	}
	form := directory.EmailForm(a.Email)
	counts := limitsOf(form, a.Network, who.knows(who.user.ID, a.Network))
	if err := r.failures.begin(counts); err != nil {
		return nil, err
	}
	matches, better, err := r.hasher.check(ctx, a.Network.String(), who.Hash, normal(a.Password))
	if err != nil {
		r.failures.unbegin(counts)
		return nil, err
	}
	if !matches || who.barred || !who.exists {
		r.deny(who, a)
		return nil, refusal
	}
	r.failures.succeed(counts)
	if err := r.note(ctx, who, a, better); err != nil {
		return nil, err
	}
	made, err := r.begin(ctx, who, &a.From, "password")
	if err != nil {
		return nil, err
	}
	if err := r.checkUnchanged(ctx, who, made); err != nil {
		return nil, err
	}
	return made, nil
}

// checkUnchanged ends a sign-in whose password was replaced while it was made. Whoever
// replaces a password ends the sign-ins after that, and may have come before this one.
func (r *Registry) checkUnchanged(ctx context.Context, who *person, made *SignedIn) error {
	now, _, err := r.credential(ctx, who.account, who.user.ID)
	if err == nil && !now.Set.Equal(who.Set) {
		err = ErrRefused
	}
	if err == nil {
		return nil
	}
	if failed := r.authority.RevokeSignIn(ctx, who.account, who.user.ID, made.Token.ID); !errors.Is(failed, auth.ErrNoSuchSignIn) {
		err = errors.Join(err, failed)
	}
	return err
}

// note keeps what a successful attempt shows: the network, and a better hash.
func (r *Registry) note(ctx context.Context, who *person, a *Attempt, better string) error {
	if err := r.list(ctx, who.user.Email, place{who.account, who.user.ID}); err != nil {
		return err
	}
	latest := len(who.Known) > 0 && a.Network.IsValid() && who.Known[len(who.Known)-1] == networkDigest(who.user.ID, a.Network)
	if better == "" && (latest || !a.Network.IsValid()) {
		return nil
	}
	return r.edit(ctx, who.account, who.user.ID, func(v *credentialValue) error {
		if v.Hash != who.Hash {
			return ErrRefused // the password was changed meanwhile
		}
		if better != "" {
			v.Hash = better
		}
		v.remember(who.user.ID, a.Network)
		return nil
	})
}

// deny records a refused attempt. It does not wait: the time of an answer must not depend
// on whether there is an account in whose audit log the attempt belongs.
func (r *Registry) deny(who *person, a *Attempt) {
	if who.account == "" {
		return
	}
	e := &audit.Event{Action: "sign-in.fail", By: a.By, Denied: true, Reason: who.why()}
	if who.exists {
		e.Target = "user/" + string(who.user.ID)
	}
	r.audit.Repeated(who.account, e, audit.EachMinute)
}

// find is whom an attempt may be by, and how it is refused. It makes the same reads for
// somebody who exists and somebody who does not.
func (r *Registry) find(ctx context.Context, a *Attempt) (who *person, refusal, err error) {
	accounts, refusal, err := r.accountsOf(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	who = new(person)
	var found []person
	for _, account := range accounts {
		p, err := r.personIn(ctx, account, a.Email)
		if err != nil {
			return nil, nil, err
		}
		if p.exists {
			found = append(found, p)
		}
		if len(accounts) == 1 {
			who.account = p.account // "" if there is none, whatever a client names
		}
	}
	if len(found) == 1 {
		who = &found[0]
	}
	id := who.user.ID
	if !who.exists {
		id = nobody
	}
	if who.credentialValue, _, err = r.credential(ctx, who.account, id); err != nil {
		return nil, nil, err
	}
	return who, refusal, nil
}

// accountsOf are those in which the person may be.
func (r *Registry) accountsOf(ctx context.Context, a *Attempt) (accounts []presence.AccountID, refusal, err error) {
	if a.Account != "" {
		return []presence.AccountID{a.Account}, ErrRefused, nil
	}
	some, err := r.directory.Accounts(ctx, "", 2)
	if err != nil {
		return nil, nil, err
	}
	if len(some) == 1 {
		return []presence.AccountID{some[0].ID}, ErrRefused, nil
	}
	docs, err := r.docs.Load(ctx, system, addressKey(directory.EmailForm(a.Email)))
	if err != nil || len(docs) == 0 {
		return nil, ErrRefusedHere, err
	}
	var v addressValue
	if err := document.Decode(&docs[0], &v); err != nil {
		return nil, nil, err
	}
	for _, at := range v.Users {
		if !slices.Contains(accounts, at.Account) {
			accounts = append(accounts, at.Account)
		}
	}
	return accounts, ErrRefusedHere, nil
}

// personIn is the user of an account with an e-mail address.
func (r *Registry) personIn(ctx context.Context, account presence.AccountID, email string) (person, error) {
	p := person{account: account}
	at, err := r.directory.Account(ctx, account)
	if errors.Is(err, directory.ErrNoAccount) {
		return person{}, nil
	}
	if err != nil {
		return p, err
	}
	p.user, err = r.findUser(ctx, account, email)
	if errors.Is(err, directory.ErrNoUser) {
		return p, nil
	}
	p.exists = err == nil
	p.barred = at.Suspended || !p.user.Active
	return p, err
}

// nobody is an id that no user has.
const nobody presence.UserID = "nobodynobodynobodynobo"

// findUser reads as much for an address that nobody has. Not every reference to a user is
// an e-mail address.
func (r *Registry) findUser(ctx context.Context, account presence.AccountID, email string) (directory.User, error) {
	id, err := r.directory.Resolve(ctx, account, email)
	if !strings.Contains(email, "@") {
		id, err = "", directory.ErrNoUser
	}
	if errors.Is(err, directory.ErrNoUser) {
		id, err = nobody, nil
	}
	if err != nil {
		return directory.User{}, err
	}
	return r.directory.User(ctx, account, id)
}

// SetPassword replaces the password of a person who knows the present one, and ends all
// sign-ins but the one whose id is kept.
func (r *Registry) SetPassword(ctx context.Context, by *auth.Principal, from *From, current, password string) error {
	if r.noPasswords {
		return ErrPasswordOff
	}
	u, err := r.directory.User(ctx, by.Account, by.User)
	if err != nil {
		return err
	}
	text, err := r.policy.check("new", password, u.Email)
	if err != nil {
		return err
	}
	before, _, err := r.credential(ctx, by.Account, by.User)
	if err != nil {
		return err
	}
	hash, err := r.exchange(ctx, by, from, before.Hash, current, text)
	if err != nil {
		return err
	}
	err = r.edit(ctx, by.Account, by.User, func(v *credentialValue) error {
		if v.Hash != before.Hash {
			return errWrongCurrent() // changed meanwhile
		}
		v.Hash, v.Set, v.Invitation = hash, r.clock().UTC(), ""
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.list(ctx, u.Email, place{by.Account, by.User}); err != nil {
		return err
	}
	if _, err := r.authority.RevokeSignIns(ctx, by.Account, by.User, by.TokenID); err != nil {
		return err
	}
	return r.audit.Record(ctx, by.Account, &audit.Event{Action: "password.set", Target: "user/" + string(by.User), By: from.By})
}

// exchange is the hash of the new password, if the present one is right.
func (r *Registry) exchange(ctx context.Context, by *auth.Principal, from *From, stored, current, password string) (string, error) {
	counts := []counted{{"current", string(by.Account) + " " + string(by.User), 5, maxDelay}}
	if err := r.failures.begin(counts); err != nil {
		return "", err
	}
	matches, _, err := r.hasher.check(ctx, from.Network.String(), stored, normal(current))
	if err != nil {
		r.failures.unbegin(counts)
		return "", err
	}
	if !matches {
		return "", errWrongCurrent()
	}
	r.failures.succeed(counts)
	return r.hasher.new(ctx, from.Network.String(), password)
}

func errWrongCurrent() error {
	return &presence.FieldError{Field: "current", Reason: "is not the current password"}
}

// user is a user as a person, with the credential.
func (r *Registry) user(ctx context.Context, account presence.AccountID, id presence.UserID) (*person, error) {
	p := &person{account: account}
	at, err := r.directory.Account(ctx, account)
	if errors.Is(err, directory.ErrNoAccount) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.user, err = r.directory.User(ctx, account, id)
	if errors.Is(err, directory.ErrNoUser) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.exists, p.barred = true, at.Suspended || !p.user.Active
	p.credentialValue, _, err = r.credential(ctx, account, id)
	return p, err
}
