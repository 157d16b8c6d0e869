package webhook

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
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
	secretBytes    = 32 // random bytes of a new one
)

// ErrAppSecret: the app's secret is rotated with the app.
var ErrAppSecret = errors.New("the subscription is signed with the secret of its app, which is rotated with the app")

// NewSecret returns a secret in the form of Standard Webhooks, without a plus sign or a
// slash, which would need an encoding in a URL. A secret that somebody puts into one by
// mistake stays in one piece, which logs redact. That costs two of its 256 bits.
func NewSecret() string {
	for {
		var raw [secretBytes]byte
		_, _ = rand.Read(raw[:]) // never fails
		if encoded := base64.StdEncoding.EncodeToString(raw[:]); !strings.ContainsAny(encoded, "+/") {
			return "whsec_" + encoded
		}
	}
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
	if err := checkOverlap(overlap); err != nil {
		return nil, err
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

// An appSecretsValue has the secrets of an app.
type appSecretsValue struct {
	document.Format

	Sealed []byte `json:"sealed"` // []Secret
}

func appSecretsKey(account presence.AccountID, app presence.AppID) store.Key {
	return store.Key{Collection: "webhook-app", Key: string(account) + "/" + string(app)}
}

// AppSecrets returns the secrets of an app, the newest first, and creates the first one if
// there is none. The caller knows that the app exists. They are cached until something
// changes.
func (r *Registry) AppSecrets(ctx context.Context, account presence.AccountID, app presence.AppID) ([]Secret, error) {
	x, key := &r.snapshot, appSecretsKey(account, app)
	x.mu.Lock()
	cached, changes := x.apps[key], x.changes
	x.mu.Unlock()
	if cached != nil {
		return cached, nil
	}
	secrets, version, err := r.loadAppSecrets(ctx, key)
	if err == nil && version == "" {
		return r.changeAppSecrets(ctx, key, func(secrets []Secret) []Secret {
			if len(secrets) > 0 {
				return secrets // another request was quicker
			}
			return []Secret{{Value: NewSecret()}}
		})
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil && x.changes == changes {
		if x.apps == nil {
			x.apps = make(map[store.Key][]Secret)
		}
		x.apps[key] = secrets
	}
	return secrets, err
}

// RotateAppSecret gives an app a new secret and returns it. The others sign beside it for
// the overlap.
func (r *Registry) RotateAppSecret(ctx context.Context, account presence.AccountID, app presence.AppID, overlap time.Duration) (string, error) {
	if err := checkOverlap(overlap); err != nil {
		return "", err
	}
	secret, now := NewSecret(), r.now()
	_, err := r.changeAppSecrets(ctx, appSecretsKey(account, app), func(secrets []Secret) []Secret {
		return rotated(secrets, secret, now, now.Add(overlap))
	})
	return secret, err
}

func (r *Registry) loadAppSecrets(ctx context.Context, key store.Key) (secrets []Secret, version string, err error) {
	docs, err := r.Store.Load(ctx, systemAccount, key)
	if err != nil || len(docs) == 0 {
		return nil, "", err
	}
	var v appSecretsValue
	if err := document.Decode(&docs[0], &v); err != nil {
		return nil, "", err
	}
	plain, err := r.Sealer.Open(ctx, sealPurpose(key), v.Sealed)
	if err != nil {
		return nil, "", err
	}
	return secrets, docs[0].Version, json.Unmarshal(plain, &secrets)
}

func (r *Registry) changeAppSecrets(ctx context.Context, key store.Key, change func([]Secret) []Secret) (secrets []Secret, err error) {
	err = document.Again(func() error {
		before, version, err := r.loadAppSecrets(ctx, key)
		if err != nil {
			return err
		}
		secrets = change(before)
		plain, err := json.Marshal(secrets)
		if err != nil {
			return err
		}
		sealed, err := r.Sealer.Seal(ctx, sealPurpose(key), plain)
		if err != nil {
			return err
		}
		return r.write(ctx, document.New(key, version, appSecretsValue{document.Current(), sealed}))
	})
	return secrets, err
}

func checkOverlap(overlap time.Duration) error {
	if overlap < 0 || overlap > MaxOverlap {
		return &presence.FieldError{Field: "overlap_seconds", Reason: fmt.Sprintf("must be from 0 to %d (7 days)", int(MaxOverlap/time.Second))}
	}
	return nil
}
