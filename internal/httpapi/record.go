package httpapi

import (
	"net/url"
	"reflect"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// record appends what the caller did to the audit log of the account.
func (a *API) record(c *call, action, target string, before, after audit.Fields) error {
	e := &audit.Event{Action: action, Target: target, By: wire.Actor(c.w, c.p), Before: before, After: after}
	return a.Audit.Record(c.r.Context(), c.p.Account, e)
}

// recordChange is record for the fields that differ, if any do.
func (a *API) recordChange(c *call, action, target string, before, after audit.Fields) error {
	was, is := audit.Fields{}, audit.Fields{}
	for name := range after {
		if !reflect.DeepEqual(before[name], after[name]) {
			was[name], is[name] = before[name], after[name]
		}
	}
	if len(is) == 0 {
		return nil
	}
	return a.record(c, action, target, was, is)
}

func appFields(x *auth.App) audit.Fields {
	return audit.Fields{"name": x.Name, "scopes": x.Scopes.String()}
}

// tokenFields leave out the name, which may say whose device has the token.
func tokenFields(t *auth.Token) audit.Fields {
	fields := audit.Fields{"app": t.App, "scopes": t.Scopes.String()}
	if t.User != "" {
		fields["user"] = t.User
	}
	if !t.Expires.IsZero() {
		fields["expires"] = t.Expires
	}
	return fields
}

// subscriptionFields are the fields of a subscription without secrets. The path of its URL
// may be one.
func subscriptionFields(s *webhook.Subscription) audit.Fields {
	fields := audit.Fields{
		"events": s.Events, "users": s.Users, "form": s.Form, "profile": s.Profile, "latest_only": s.LatestOnly,
		"concurrency": s.Concurrency, "authentication": s.Auth.Kind,
	}
	if u, err := url.Parse(s.URL); err == nil && u.Host != "" {
		fields["url"] = u.Scheme + "://" + u.Host
	}
	if s.Owner != "" {
		fields["owner"] = s.Owner
	}
	return fields
}

func (a *API) recordAccount(c *call, before, after *directory.Account) error {
	fields := func(x *directory.Account) audit.Fields {
		return audit.Fields{"owner": x.Owner, "history_days": x.HistoryDays}
	}
	return a.recordChange(c, "account.update", "account/"+string(after.ID), fields(before), fields(after))
}
