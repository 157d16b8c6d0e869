package webhook

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// Bounds of secrets.
const (
	// MaxOverlap is how long an old secret may sign beside the new one.
	MaxOverlap = 7 * 24 * time.Hour
	// DefaultOverlap gives receivers a day to change to the new one.
	DefaultOverlap = 24 * time.Hour

	maxSecrets     = 3
	minSecretBytes = 16
	maxSecretBytes = 256
	secretBytes    = 32 // random bits of a new one
)

// ErrAppSecret: the app's secret is rotated with the app.
var ErrAppSecret = errors.New("the subscription is signed with the secret of its app, which is rotated with the app")

// NewSecret returns a secret in the form of Standard Webhooks.
func NewSecret() string {
	var raw [secretBytes]byte
	_, _ = rand.Read(raw[:]) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(raw[:])
}

// CheckSecret checks a secret that a client chose.
func CheckSecret(field, secret string) error {
	if len(secret) < minSecretBytes || len(secret) > maxSecretBytes || !plain(secret) {
		return &presence.FieldError{Field: field, Reason: fmt.Sprintf("must have %d to %d bytes without control characters", minSecretBytes, maxSecretBytes)}
	}
	return nil
}

// RotateSecret puts a new secret before the others, which sign beside it for the overlap.
// The result has it as its first secret. check sees the subscription before.
func (r *Registry) RotateSecret(
	ctx context.Context, account presence.AccountID, id, secret string, overlap time.Duration, check func(*Subscription) error,
) (*Subscription, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return nil, &presence.FieldError{Field: "overlap_seconds", Reason: fmt.Sprintf("must be from 0 to %d (7 days)", int(MaxOverlap/time.Second))}
	}
	if err := CheckSecret("secret", secret); err != nil {
		return nil, err
	}
	return r.modify(ctx, account, id, func(s *Subscription) error {
		if err := check(s); err != nil {
			return err
		}
		if len(s.Secrets) == 0 {
			return ErrAppSecret
		}
		now := r.now()
		s.Secrets = rotated(s.Secrets, secret, now, now.Add(overlap))
		return nil
	})
}

// rotated puts a new secret first, and ends the others at until at the latest.
func rotated(old []Secret, secret string, now, until time.Time) []Secret {
	secrets := []Secret{{Value: secret}}
	if !until.After(now) {
		return secrets
	}
	for _, s := range validSecrets(old, now) {
		if len(secrets) == maxSecrets {
			break
		}
		if s.Until.IsZero() || s.Until.After(until) {
			s.Until = until
		}
		secrets = append(secrets, s)
	}
	return secrets
}

// SecretsOf returns what signs the deliveries of a subscription, the newest first: its
// own secrets, or those of its app.
func (r *Registry) SecretsOf(ctx context.Context, s *Subscription) ([]Secret, error) {
	if len(s.Secrets) > 0 {
		return s.Secrets, nil
	}
	return r.AppSecrets(ctx, s.Account, s.App)
}
