package webhook

import (
	"context"
	"errors"
	"log/slog"

	"porchlight.dev/porchlight/internal/presence"
)

// endings finds the subscriptions whose app or consent has ended. Whoever ends these deletes
// the subscriptions afterwards; the check remains for those that a crash or an error left,
// to which nothing may be sent.
type endings struct {
	registry *Registry
	apps     map[appOf]bool // that exist, as far as they were asked for
}

type appOf struct {
	account presence.AccountID
	app     presence.AppID
}

// endings returns a check for one reading of the subscriptions. It looks up each app once.
func (r *Registry) endings() *endings { return &endings{r, make(map[appOf]bool)} }

func (e *endings) has(ctx context.Context, s *Subscription) (bool, error) {
	exists, err := e.appExists(ctx, s)
	if err != nil || !exists {
		return err == nil, err
	}
	if s.Consent.User == "" || e.registry.Consented == nil {
		return false, nil
	}
	since, err := e.registry.Consented(ctx, s.Account, s.Consent.User, s.App)
	return err == nil && !since.Equal(s.Consent.Since), err
}

func (e *endings) appExists(ctx context.Context, s *Subscription) (exists bool, err error) {
	if e.registry.HasApp == nil || s.App == "" {
		return true, nil
	}
	key := appOf{s.Account, s.App}
	exists, known := e.apps[key]
	if known {
		return exists, nil
	}
	if exists, err = e.registry.HasApp(ctx, s.Account, s.App); err == nil {
		e.apps[key] = exists
	}
	return exists, err
}

// deleteEnded deletes subscriptions that have ended, unless an account is being deleted,
// which deletes them itself.
func (r *Registry) deleteEnded(ctx context.Context, ended []*Subscription) {
	for _, s := range ended {
		err := r.Delete(ctx, s.Account, s.ID, func(*Subscription) error { return nil })
		if err == nil || errors.Is(err, ErrNoSubscription) {
			continue
		}
		r.Log.WarnContext(ctx, "cannot delete a subscription that has ended; will retry", slog.String("subscription", s.ID), slog.Any("err", err))
		r.forgetSeen()
	}
}
