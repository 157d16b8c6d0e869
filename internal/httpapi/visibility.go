package httpapi

import (
	"errors"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// visibilityLevels are what a watcher may see, by their numbers.
var visibilityLevels = [...]api.VisibilityLevel{
	presence.VisibilityAll: api.VisibilityAll, presence.VisibilityStatus: api.VisibilityStatus, presence.VisibilityOffline: api.VisibilityOffline,
}

// readVisibility serves GET /v1/users/{user}/visibility: what was declared.
func (a *API) readVisibility(c *call) error {
	u, err := a.knownFor(c, auth.ContactRead)
	if err != nil {
		return err
	}
	v, err := a.Directory.Visibility(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	return c.representAs(visibilityTag(&v), asVisibility(&v))
}

func visibilityTag(v *directory.Visibility) string { return tagOf(v.Version, asVisibility(v)) }

// ofVisibility holds a change of a declaration to the conditions of the request.
// Who declared nothing lets everyone see all, which is a declaration too.
func (c *call) ofVisibility(v *directory.Visibility) error { return c.meets(visibilityTag(v), true) }

// setVisibility serves PUT /v1/users/{user}/visibility. It is idempotent by
// nature: the same request again also carries out what one that was cut short
// left undone.
func (a *API) setVisibility(c *call, body *api.Visibility) error {
	declared, err := visibilityOf(body)
	if err != nil {
		return err
	}
	u, err := a.userFor(c, auth.ContactWrite)
	if err != nil {
		return err
	}
	if declared.Watchers, err = a.watchers(c, body.Watchers); err != nil {
		return err
	}
	if err := a.Directory.SetVisibility(c.r.Context(), u.Account, u.ID, declared, c.ofVisibility); err != nil {
		return err
	}
	if err := a.rule(c, u); err != nil {
		return err
	}
	v, err := a.Directory.Visibility(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	header(c.w, "Etag", visibilityTag(&v))
	return c.answer(http.StatusOK, asVisibility(&v))
}

// removeVisibility serves DELETE /v1/users/{user}/visibility. There need not be a
// declaration.
func (a *API) removeVisibility(c *call) error {
	u, err := a.knownFor(c, auth.ContactWrite)
	if err != nil {
		return err
	}
	if err := a.Directory.RemoveVisibility(c.r.Context(), u.Account, u.ID, c.ofVisibility); err != nil {
		return err
	}
	return c.done(a.rule(c, u))
}

// visibilityOf reads a declaration, less the watchers, who are to be found first.
func visibilityOf(body *api.Visibility) (v directory.Visibility, err error) {
	if len(body.Watchers) > api.MaxVisibilityWatchers {
		return v, &presence.FieldError{Field: "watchers", Reason: "must have at most 500 members"}
	}
	if body.Everyone != "" {
		if v.Everyone, err = levelOf("everyone", body.Everyone); err != nil {
			return v, err
		}
	}
	for _, word := range body.Watchers {
		if _, err := levelOf("watchers", word); err != nil {
			return v, err
		}
	}
	v.Groups = make(map[string]presence.Visibility, len(body.Groups))
	for name, word := range body.Groups {
		if v.Groups[name], err = levelOf("groups", word); err != nil {
			return v, err
		}
	}
	return v, v.Check()
}

func levelOf(field string, word api.VisibilityLevel) (presence.Visibility, error) {
	for level, known := range visibilityLevels {
		if word == known {
			return presence.Visibility(level), nil
		}
	}
	return 0, &presence.FieldError{Field: field, Reason: "must be all, status or offline"}
}

// watchers finds whom the rules name, by id or e-mail.
func (a *API) watchers(c *call, named map[string]api.VisibilityLevel) (map[presence.UserID]presence.Visibility, error) {
	found := make(map[presence.UserID]presence.Visibility, len(named))
	for ref, word := range named {
		id, err := a.resolve(c, ref)
		if errors.Is(err, directory.ErrNoUser) {
			return nil, directory.NoWatcher(ref)
		}
		if err != nil {
			return nil, err
		}
		if _, again := found[id]; again {
			return nil, &presence.FieldError{Field: "watchers", Reason: "names a user twice"}
		}
		if found[id], err = levelOf("watchers", word); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// regroup publishes a user's rules again after the user's contacts changed, if that makes
// a difference to them.
func (a *API) regroup(c *call, u store.User) error {
	rules, err := a.Directory.Rules(c.r.Context(), u.Account, u.ID)
	if err != nil || !rules.Grouped {
		return err
	}
	return a.publishRules(c, u, rules)
}

// rule publishes the rules of what a user declared.
func (a *API) rule(c *call, u store.User) error {
	rules, err := a.Directory.Rules(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	return a.publishRules(c, u, rules)
}

// rulings bounds how often rules are published because they changed meanwhile.
const rulings = 8

// publishRules puts rules on the user's record, and again as long as they were
// changed in between: of two writers at once, the last to look finds what both
// have written. Of a user who is deactivated nobody sees anything; whoever
// activates it has the rules published.
func (a *API) publishRules(c *call, u store.User, rules directory.Rules) error {
	for range rulings {
		event := presence.SetVisibility{Everyone: rules.Everyone, Watchers: rules.Watchers}
		_, err := a.Publisher.Publish(c.r.Context(), u, c.p.Actor(), event)
		if err != nil && !errors.Is(err, presence.ErrDeactivated) {
			return err
		}
		now, err := a.Directory.Rules(c.r.Context(), u.Account, u.ID)
		if err != nil || now.Mark == rules.Mark {
			return err
		}
		rules = now
	}
	return store.ErrConflict
}

func asVisibility(v *directory.Visibility) *api.Visibility {
	wired := &api.Visibility{
		Everyone: visibilityLevels[v.Everyone], Groups: make(map[string]api.VisibilityLevel, len(v.Groups)), Watchers: make(map[string]api.VisibilityLevel, len(v.Watchers)),
	}
	for name, level := range v.Groups {
		wired.Groups[name] = visibilityLevels[level]
	}
	for watcher, level := range v.Watchers {
		wired.Watchers[string(watcher)] = visibilityLevels[level]
	}
	return wired
}
