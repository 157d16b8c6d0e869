package httpapi

import (
	"errors"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// visibilityLevels are the wire's words for levels of visibility.
var visibilityLevels = [...]api.VisibilityLevel{
	presence.VisibilityAll: api.VisibilityAll, presence.VisibilityStatus: api.VisibilityStatus, presence.VisibilityOffline: api.VisibilityOffline,
}

// readVisibility serves GET /v1/users/{user}/visibility: the declaration, not the
// rules that follow from it.
func (a *API) readVisibility(c *call) error {
	u, err := a.existingUserFor(c, auth.ContactRead)
	if err != nil {
		return err
	}
	v, err := a.Directory.Visibility(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	return c.writeVersion(visibilityTag(&v), asVisibility(&v))
}

func visibilityTag(v *directory.Visibility) string { return tagOf(v.Version, asVisibility(v)) }

// visibilityConditions checks the conditions of a request that changes a
// declaration. A user without a declaration has the default one, which exists too.
func (c *call) visibilityConditions(v *directory.Visibility) error {
	return c.checkConditions(visibilityTag(v), true)
}

// setVisibility serves PUT /v1/users/{user}/visibility. It is idempotent: repeating
// an interrupted request completes it.
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
	if err := a.Directory.SetVisibility(c.r.Context(), u.Account, u.ID, declared, c.visibilityConditions); err != nil {
		return err
	}
	if err := a.Provisioner.PublishVisibility(c.r.Context(), u, c.p.Actor()); err != nil {
		return err
	}
	v, err := a.Directory.Visibility(c.r.Context(), u.Account, u.ID)
	if err != nil {
		return err
	}
	header(c.w, "Etag", visibilityTag(&v))
	return c.writeBody(http.StatusOK, asVisibility(&v))
}

// removeVisibility serves DELETE /v1/users/{user}/visibility. There need not be a
// declaration.
func (a *API) removeVisibility(c *call) error {
	u, err := a.existingUserFor(c, auth.ContactWrite)
	if err != nil {
		return err
	}
	if err := a.Directory.RemoveVisibility(c.r.Context(), u.Account, u.ID, c.visibilityConditions); err != nil {
		return err
	}
	return c.finish(a.Provisioner.PublishVisibility(c.r.Context(), u, c.p.Actor()))
}

// visibilityOf reads a declaration without its watchers, who must be resolved.
func visibilityOf(body *api.Visibility) (v directory.Visibility, err error) {
	if len(body.Watchers) > api.MaxVisibilityWatchers {
		return v, &presence.FieldError{Field: "watchers", Reason: "must have at most 500 members"}
	}
	if body.Everyone != "" {
		if v.Everyone, err = parseVisibility("everyone", body.Everyone); err != nil {
			return v, err
		}
	}
	for _, word := range body.Watchers {
		if _, err := parseVisibility("watchers", word); err != nil {
			return v, err
		}
	}
	v.Groups = make(map[string]presence.Visibility, len(body.Groups))
	for name, word := range body.Groups {
		if v.Groups[name], err = parseVisibility("groups", word); err != nil {
			return v, err
		}
	}
	return v, v.Check()
}

func parseVisibility(field string, word api.VisibilityLevel) (presence.Visibility, error) {
	for level, known := range visibilityLevels {
		if word == known {
			return presence.Visibility(level), nil
		}
	}
	return 0, &presence.FieldError{Field: field, Reason: "must be all, status or offline"}
}

// watchers resolves the users that the rules name by id or e-mail address.
func (a *API) watchers(c *call, named map[string]api.VisibilityLevel) (map[presence.UserID]presence.Visibility, error) {
	found := make(map[presence.UserID]presence.Visibility, len(named))
	for ref, word := range named {
		id, err := a.resolve(c, ref)
		if errors.Is(err, directory.ErrNoUser) {
			return nil, directory.UnknownWatcher(ref)
		}
		if err != nil {
			return nil, err
		}
		if _, repeated := found[id]; repeated {
			return nil, &presence.FieldError{Field: "watchers", Reason: "names a user twice"}
		}
		if found[id], err = parseVisibility("watchers", word); err != nil {
			return nil, err
		}
	}
	return found, nil
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
