package webhook

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// endings finds the subscriptions whose app or consent has ended. Whoever ends these deletes
// the subscriptions afterwards; the check remains for those that a crash or an error left,
// to which nothing may be sent.
type endings struct {
	registry *Registry
	apps     map[appOf]answer[bool] // whether they exist
	consents map[consentOf]answer[time.Time]
}

// An answer is what was read, or why it cannot be read.
type answer[T any] struct {
	value T
	err   error
}

type appOf struct {
	account presence.AccountID
	app     presence.AppID
}

type consentOf struct {
	appOf
	user presence.UserID
}

// endings is for one reading of subscriptions: it asks once for each app and each consent.
func (r *Registry) endings() *endings {
	return &endings{r, make(map[appOf]answer[bool]), make(map[consentOf]answer[time.Time])}
}

// once reads what is not known yet.
func once[K comparable, T any](known map[K]answer[T], key K, read func() (T, error)) (T, error) {
	a, ok := known[key]
	if !ok {
		a.value, a.err = read()
		known[key] = a
	}
	return a.value, a.err
}

func (e *endings) has(ctx context.Context, s *Subscription) (bool, error) {
	exists, err := e.appExists(ctx, s)
	if err != nil || !exists {
		return err == nil, err
	}
	if s.Consent.User == "" || e.registry.Consented == nil {
		return false, nil
	}
	since, err := once(e.consents, consentOf{appOf{s.Account, s.App}, s.Consent.User}, func() (time.Time, error) {
		return e.registry.Consented(ctx, s.Account, s.Consent.User, s.App)
	})
	return err == nil && !since.Equal(s.Consent.Since), err
}

func (e *endings) appExists(ctx context.Context, s *Subscription) (exists bool, err error) {
	if e.registry.HasApp == nil || s.App == "" {
		return true, nil
	}
	return once(e.apps, appOf{s.Account, s.App}, func() (bool, error) { return e.registry.HasApp(ctx, s.Account, s.App) })
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
