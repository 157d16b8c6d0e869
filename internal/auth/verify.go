package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// verifiedAtOnce is how many tokens are read at once.
const verifiedAtOnce = 500

// Recheck returns for each principal nil if its token still has all the principal's scopes, or
// the error of Authenticate. A token that has lost a scope gets ErrInvalidToken: its client may
// open another stream with what is left. It is for streams, which outlive a request: it reads many tokens
// at once, each only as often as MaxStale requires.
func (a *Authority) Recheck(ctx context.Context, principals []*Principal) []error {
	errs := make([]error, len(principals))
	now := a.clock()
	var stale []digest
	var indexes []int // by principal: one more than the index in stale, or 0; nil: all are 0
	for i, p := range principals {
		if p == nil {
			errs[i] = ErrInvalidToken
			continue
		}
		found := a.cache.recent(&p.digest, now)
		if found != nil {
			if errs[i] = found.Value.allows(p, now); errs[i] == nil {
				a.renewIfDue(ctx, found.Value.principal, now)
			}
			continue
		}
		if indexes == nil {
			indexes = make([]int, len(principals))
		}
		stale = append(stale, p.digest)
		indexes[i] = len(stale)
	}
	if len(stale) == 0 {
		return errs
	}
	verdicts := a.verdicts(ctx, stale)
	now = a.clock()
	for i, index := range indexes {
		if index > 0 {
			errs[i] = verdicts[index-1].allows(principals[i], now)
		}
	}
	return errs
}

// allows is check for a principal of an earlier verification of the token.
func (v *verdict) allows(p *Principal, now time.Time) error {
	err := v.check(now)
	if err == nil && !p.Scopes.Within(v.principal.Scopes) {
		return ErrInvalidToken
	}
	return err
}

// verdicts verifies tokens without a recent answer. It reads each token once.
func (a *Authority) verdicts(ctx context.Context, stale []digest) []*verdict {
	places := make(map[digest]int, len(stale)) // in distinct
	distinct := make([]digest, 0, len(stale))
	for _, d := range stale {
		if _, known := places[d]; !known {
			places[d] = len(distinct)
			distinct = append(distinct, d)
		}
	}
	found := make([]*verdict, 0, len(distinct))
	for part := range slices.Chunk(distinct, verifiedAtOnce) {
		for _, answer := range a.verify(ctx, part, a.clock()) {
			found = append(found, &answer.Value)
		}
	}
	all := make([]*verdict, len(stale))
	for i, d := range stale {
		all[i] = found[places[d]]
	}
	return all
}

// verify reads what there is about tokens, and remembers the answers. The error of an
// answer that is not Refused is the store's.
func (a *Authority) verify(ctx context.Context, digests []digest, now time.Time) []*answer {
	answers := make([]*answer, len(digests))
	for i := range digests {
		answers[i] = a.cache.begin(&digests[i], now)
	}
	a.judge(ctx, answers, now)
	a.confirmRefusals(ctx, answers, now)
	for _, found := range answers {
		if found.Value.err == nil || Refused(found.Value.err) {
			a.cache.put(found)
		}
	}
	return answers
}

// judge finds the principals of answers, or why there are none.
func (a *Authority) judge(ctx context.Context, answers []*answer, now time.Time) {
	values, err := a.secrets(ctx, answers)
	if err != nil {
		for _, found := range answers {
			found.Value.err = err
		}
		return
	}
	accounts := make(map[presence.AccountID]*grantors)
	for i, v := range values {
		switch found := &answers[i].Value; {
		case found.err != nil:
		case v == nil:
			found.err = ErrInvalidToken
		case !v.Expires.IsZero() && !now.Before(v.Expires):
			found.err = refusal(v, ErrExpiredToken)
		default:
			if accounts[v.Account] == nil {
				accounts[v.Account] = newGrantors()
			}
			accounts[v.Account].add(v)
		}
	}
	for account, g := range accounts {
		g.read(ctx, a, account)
	}
	for i, v := range values {
		if found := &answers[i].Value; found.err == nil {
			found.principal, found.err = accounts[v.Account].principal(a, v, &answers[i].Key)
		}
	}
}

// secrets are what the tokens of answers are; nil for one that is unknown.
func (a *Authority) secrets(ctx context.Context, answers []*answer) ([]*secretValue, error) {
	keys := make([]store.Key, len(answers))
	places := make(map[string]int, len(answers))
	for i, found := range answers {
		keys[i] = secretKey(found.Key.hex())
		places[keys[i].Key] = i
	}
	docs, err := a.docs.Load(ctx, system, keys...)
	if err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	values := make([]*secretValue, len(answers))
	for i := range docs {
		v, place := new(secretValue), places[docs[i].Key.Key]
		answers[place].Value.err = document.Decode(&docs[i], v)
		values[place] = v
	}
	return values, nil
}

// Grantors are those of one account by whom tokens are valid: their apps, and whom
// they act for.
type grantors struct {
	apps     map[presence.AppID]*App // nil: it is not there
	families map[string]bool         // whether it is there
	wanted   map[presence.UserID]bool
	users    map[presence.UserID]directory.User // the active ones
	account  directory.Account
	exists   bool // there is such an account
	err      error
}

func newGrantors() *grantors {
	return &grantors{apps: make(map[presence.AppID]*App), families: make(map[string]bool), users: make(map[presence.UserID]directory.User), wanted: make(map[presence.UserID]bool)}
}

// byRole reports whether what the token allows depends on the role of its user. Nobody
// gave the built-in apps rights of their own, so their tokens have those of the person.
func (a *Authority) byRole(v *secretValue) bool {
	_, builtIn := a.builtIn(v.App)
	return builtIn || v.Family != ""
}

// add notes what has to be read for a token.
func (g *grantors) add(v *secretValue) {
	g.apps[v.App] = nil
	if v.Family != "" {
		g.families[v.Family] = false
	}
	if v.User == "" {
		return
	}
	g.wanted[v.User] = true
}

// read reads all of them.
func (g *grantors) read(ctx context.Context, a *Authority, account presence.AccountID) {
	g.err = errors.Join(g.readApps(ctx, a, account), g.readFamilies(ctx, a), g.readUsers(ctx, a, account), g.readAccount(ctx, a, account))
}

func (g *grantors) readApps(ctx context.Context, a *Authority, account presence.AccountID) error {
	keys := make([]store.Key, 0, len(g.apps))
	for id := range g.apps {
		if app, ok := a.builtIn(id); ok {
			g.apps[id] = &app
		} else if presence.CheckID("id", string(id)) == nil {
			keys = append(keys, appKey(id))
		}
	}
	docs, err := a.docs.Load(ctx, account, keys...)
	if err != nil {
		return fmt.Errorf("read app: %w", err)
	}
	for i := range docs {
		app, _, err := a.appOf(&docs[i])
		if err != nil {
			return err
		}
		g.apps[app.ID] = &app
	}
	return nil
}

func (g *grantors) readFamilies(ctx context.Context, a *Authority) error {
	if len(g.families) == 0 {
		return nil
	}
	keys := make([]store.Key, 0, len(g.families))
	for id := range g.families {
		keys = append(keys, familyKey(id))
	}
	docs, err := a.docs.Load(ctx, system, keys...)
	if err != nil {
		return fmt.Errorf("read token family: %w", err)
	}
	for i := range docs {
		g.families[docs[i].Key.Key] = true
	}
	return nil
}

func (g *grantors) readUsers(ctx context.Context, a *Authority, account presence.AccountID) error {
	if len(g.wanted) == 0 {
		return nil
	}
	users, err := a.directory.UsersByID(ctx, account, slices.Collect(maps.Keys(g.wanted)))
	for id, u := range users {
		if u.Active {
			g.users[id] = u
		}
	}
	return err
}

func (g *grantors) readAccount(ctx context.Context, a *Authority, account presence.AccountID) (err error) {
	g.account, err = a.directory.Account(ctx, account)
	if errors.Is(err, directory.ErrNoAccount) {
		return nil
	}
	g.exists = err == nil
	return err
}

// principal returns the principal of a token, ErrInvalidToken if its account, app or user
// was deleted, or its user is deactivated, or ErrSuspended.
func (g *grantors) principal(a *Authority, v *secretValue, d *digest) (*Principal, error) {
	if g.err != nil {
		return nil, g.err
	}
	person, valid := g.users[v.User]
	user := v.User
	if v.User == "" {
		user, valid = g.account.Owner, true
	}
	app := g.apps[v.App]
	if !valid || !g.exists || app == nil || v.Family != "" && !g.families[v.Family] {
		return nil, refusal(v, ErrInvalidToken)
	}
	if g.account.Suspended {
		return nil, refusal(v, ErrSuspended)
	}
	scopes, _ := a.scopes.read(v.Scopes) // an unknown scope allows nothing
	scopes = a.scopes.limit(scopes, app.Scopes)
	if a.byRole(v) {
		role := person.Role
		if user == g.account.Owner {
			role = directory.Admin
		}
		switch {
		case v.SignIn:
			scopes = a.ScopesOf(role)
		default:
			scopes = a.scopes.limit(scopes, a.ScopesOf(role))
		}
	}
	return &Principal{
		Account: v.Account, App: v.App, User: user, AccountLevel: v.User == "", SignIn: v.SignIn,
		Scopes: scopes, Plan: g.account.Plan, MaxStreams: g.account.Limits.Streams, Expires: v.Expires, Family: v.Family, TokenID: v.ID, digest: *d, renewAt: v.renewAt(),
	}, nil
}
