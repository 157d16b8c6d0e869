package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Grant is a person's consent that an app acts for them, within scopes.
type Grant struct {
	App     presence.AppID
	User    presence.UserID
	Scopes  Scopes // all that the person allowed since the grant was made
	Created time.Time
	Changed time.Time // when the app last got access, or more scopes
}

// A grantValue is a document of the account, for a person and an app. It lists the families
// of tokens that the app has, so that they end with it.
type grantValue struct {
	document.Format
	App      presence.AppID  `json:"app"`
	User     presence.UserID `json:"user"`
	Scopes   string          `json:"scopes"`
	Created  time.Time       `json:"created"`
	Changed  time.Time       `json:"changed"`
	Families []string        `json:"families_sha256,omitempty"` // oldest first
}

// maxFamilies is how often an app may have access for one person at a time, such as on
// several devices. Past it, the oldest access ends.
const maxFamilies = 20

var (
	// ErrNoGrant: the person has not allowed this app anything.
	ErrNoGrant = errors.New("the user has granted this app nothing")
	// ErrNothingToAllow: nothing that the app asks for is within what the person may do.
	ErrNothingToAllow = errors.New("the user's role allows nothing that the app asks for")
	// ErrSignInRequired: only a person in a browser may decide this, and no token.
	ErrSignInRequired = errors.New("only a person who signed in with this browser may do this")
)

func grantKey(user presence.UserID, app presence.AppID) store.Key {
	return store.Key{Collection: "grant", Key: grantPrefix(user) + string(app)}
}

// grantPrefix begins the keys of a person's grants, so that they are adjacent in lists.
func grantPrefix(user presence.UserID) string { return string(user) + "/" }

// Consent records that a person allows an app scopes, beside what they allowed before.
func (a *Authority) Consent(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID, scopes Scopes) error {
	return a.changeGrant(ctx, account, user, app, true, func(v *grantValue) {
		all, _ := a.scopes.read(v.Scopes + " " + scopes.String())
		v.Scopes = all.String()
	})
}

// changeGrant changes the document of a grant, which it makes if that is asked for.
// Otherwise ErrNoGrant.
func (a *Authority) changeGrant(
	ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID, create bool, change func(*grantValue),
) error {
	return document.Again(func() error {
		v, doc, err := a.grant(ctx, account, user, app)
		switch {
		case errors.Is(err, ErrNoGrant) && create:
			v, doc = grantValue{Format: document.Current(), App: app, User: user, Created: a.now()}, new(store.Doc)
		case err != nil:
			return err
		}
		v.Changed = a.now()
		change(&v)
		if err := a.docs.Write(ctx, account, document.New(grantKey(user, app), doc.Version, v)); err != nil {
			return fmt.Errorf("record grant: %w", err)
		}
		return nil
	})
}

// grant reads the document of a grant, or ErrNoGrant.
func (a *Authority) grant(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID) (grantValue, *store.Doc, error) {
	var v grantValue
	if presence.CheckID("user", string(user)) != nil || presence.CheckID("app", string(app)) != nil {
		return v, nil, ErrNoGrant
	}
	docs, err := a.docs.Load(ctx, account, grantKey(user, app))
	if err != nil {
		return v, nil, fmt.Errorf("read grant: %w", err)
	}
	if len(docs) == 0 {
		return v, nil, ErrNoGrant
	}
	if err := document.Decode(&docs[0], &v); err != nil {
		return v, nil, err
	}
	if v.User != user || v.App != app {
		return v, nil, ErrNoGrant
	}
	return v, &docs[0], nil
}

func (a *Authority) grantOf(v *grantValue) Grant {
	scopes, _ := a.scopes.read(v.Scopes) // a name that is not known here allows nothing
	return Grant{App: v.App, User: v.User, Scopes: scopes, Created: v.Created, Changed: v.Changed}
}

// Granted is what a person allows an app; no scopes if they were never asked.
func (a *Authority) Granted(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID) (Grant, error) {
	v, _, err := a.grant(ctx, account, user, app)
	if err != nil && !errors.Is(err, ErrNoGrant) {
		return Grant{}, err
	}
	return a.grantOf(&v), nil
}

// Consented is since when a person allows an app to act for them; zero: they do not. A consent
// that was revoked and given again is another one.
func (a *Authority) Consented(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID) (time.Time, error) {
	grant, err := a.Granted(ctx, account, user, app)
	return grant.Created, err
}

// Grants lists the apps that a person allowed to act for them.
func (a *Authority) Grants(ctx context.Context, account presence.AccountID, user presence.UserID) ([]Grant, error) {
	var all []Grant
	err := a.eachGrant(ctx, account, grantPrefix(user), func(v *grantValue) error {
		if v.User == user {
			all = append(all, a.grantOf(v))
		}
		return nil
	})
	return all, err
}

// eachGrant calls do for each grant of an account whose key has the prefix.
func (a *Authority) eachGrant(ctx context.Context, account presence.AccountID, prefix string, do func(*grantValue) error) error {
	for after := prefix; ; {
		docs, err := a.docs.List(ctx, account, "grant", after, store.MaxWrite)
		if err != nil {
			return fmt.Errorf("list grants: %w", err)
		}
		for i := range docs {
			if after = docs[i].Key.Key; !strings.HasPrefix(after, prefix) {
				return nil
			}
			var v grantValue
			if err := document.Decode(&docs[i], &v); err != nil {
				return err
			}
			if err := do(&v); err != nil {
				return err
			}
		}
		if len(docs) < store.MaxWrite {
			return nil
		}
	}
}

// RevokeGrant ends an app's access for a person, with all its tokens, and forgets the
// consent. Then it ends what OnGrantEnd has for it: last, so that no token is left that could
// make more of it. ErrNoGrant if there is none.
func (a *Authority) RevokeGrant(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID) error {
	err := a.endGrant(ctx, account, user, app)
	if err == nil && a.onGrantEnd != nil && !a.BuiltIn(app) {
		a.onGrantEnd(ctx, account, user, app)
	}
	return err
}

// OnGrantEnd has fn called after each grant that was ended here, to end what the app made
// under it. Set it once, before anything is served. fn must see to it that what it could not
// end has no effect: it returns no error, because the access has ended.
func (a *Authority) OnGrantEnd(
	fn func(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID),
) {
	a.onGrantEnd = fn
}

func (a *Authority) endGrant(ctx context.Context, account presence.AccountID, user presence.UserID, app presence.AppID) error {
	return document.Again(func() error {
		v, doc, err := a.grant(ctx, account, user, app)
		if err != nil {
			return err
		}
		for _, id := range v.Families {
			if err := a.endFamily(ctx, account, user, id); err != nil {
				return err
			}
		}
		// The app may have made tokens with those that it had.
		if _, err := a.sweep(ctx, account, func(t *Token) bool { return t.User == user && t.App == app && !t.SignIn }); err != nil {
			return err
		}
		// A family that was begun in the meantime is in a newer version of the document.
		if err := a.docs.Write(ctx, account, document.Deletion(doc)); err != nil {
			return fmt.Errorf("revoke grant: %w", err)
		}
		return nil
	})
}

// revokeGrants ends the grants of an account that match, also those after one that it cannot
// end.
func (a *Authority) revokeGrants(ctx context.Context, account presence.AccountID, prefix string, match func(*grantValue) bool) error {
	var failed []error
	err := a.eachGrant(ctx, account, prefix, func(v *grantValue) error {
		if !match(v) {
			return nil
		}
		if err := a.RevokeGrant(ctx, account, v.User, v.App); err != nil && !errors.Is(err, ErrNoGrant) {
			failed = append(failed, err)
		}
		return ctx.Err()
	})
	return errors.Join(append(failed, err)...)
}

// joinGrant adds a family to its grant. Past the limit, it returns the oldest ones, which
// must end.
func (a *Authority) joinGrant(ctx context.Context, account presence.AccountID, f *familyValue, id string) (surplus []string, err error) {
	err = a.changeGrant(ctx, account, f.User, f.App, false, func(v *grantValue) {
		surplus = nil
		if !slices.Contains(v.Families, id) {
			v.Families = append(v.Families, id)
		}
		if over := len(v.Families) - maxFamilies; over > 0 {
			surplus, v.Families = v.Families[:over], v.Families[over:]
		}
	})
	return surplus, err
}

// Grantable are the scopes of asked that an app may have for a person: those of the app,
// within what the person's role allows.
func (a *Authority) Grantable(ctx context.Context, account presence.AccountID, user presence.UserID, app *App, asked Scopes) (Scopes, error) {
	role, err := a.roleOf(ctx, account, user)
	if err != nil {
		return Scopes{}, err
	}
	return a.scopes.limit(a.scopes.limit(asked, app.Scopes), a.ScopesOf(role)), nil
}

// Consentable are the scopes that a person can allow an app which asks for some: Grantable,
// or ErrNothingToAllow if there are none.
func (a *Authority) Consentable(ctx context.Context, account presence.AccountID, user presence.UserID, app *App, asked Scopes) (Scopes, error) {
	scopes, err := a.Grantable(ctx, account, user, app, asked)
	if err == nil && len(scopes.Names()) == 0 {
		err = ErrNothingToAllow
	}
	return scopes, err
}

// roleOf is the role of an active user of an account that is not suspended.
func (a *Authority) roleOf(ctx context.Context, account presence.AccountID, user presence.UserID) (directory.Role, error) {
	u, err := a.directory.User(ctx, account, user)
	if err != nil {
		return directory.Member, err
	}
	if !u.Active {
		return directory.Member, presence.ErrDeactivated
	}
	found, err := a.directory.Account(ctx, account)
	switch {
	case err != nil:
		return directory.Member, err
	case found.Suspended:
		return directory.Member, ErrSuspended
	case found.Owner == user:
		return directory.Admin, nil
	default:
		return u.Role, nil
	}
}
