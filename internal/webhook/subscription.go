package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/egress"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// systemAccount holds the documents of the server itself.
const systemAccount = presence.AccountID("")

// The subscriptions of all accounts are in one collection, so that one listing finds
// all of them. Those of an account have keys that begin with its id and a slash.
const subscriptionCollection = "subscription"

func subscriptionKey(account presence.AccountID, id string) store.Key {
	return store.Key{Collection: subscriptionCollection, Key: string(account) + "/" + id}
}

func (s *Subscription) key() store.Key { return subscriptionKey(s.Account, s.ID) }

// A subscriptionValue is a subscription as its document has it; its id is in the key.
type subscriptionValue struct {
	document.Format

	Account     presence.AccountID `json:"account"`
	App         presence.AppID     `json:"app,omitempty"`
	Owner       presence.UserID    `json:"owner,omitempty"`
	ConsentBy   presence.UserID    `json:"consent_by,omitempty"`
	ConsentAt   time.Time          `json:"consent_at,omitzero"`
	Name        string             `json:"name,omitempty"`
	URL         string             `json:"url,omitempty"`
	Form        string             `json:"form"`
	Events      []string           `json:"events,omitempty"`
	Users       []presence.UserID  `json:"users,omitempty"`
	Groups      []string           `json:"groups,omitempty"`
	Profile     string             `json:"profile"`
	LatestOnly  bool               `json:"latest_only,omitempty"`
	Concurrency int                `json:"concurrency,omitempty"`
	Created     time.Time          `json:"created"`
	Validated   time.Time          `json:"validated,omitzero"`
	Failures    int                `json:"failures,omitempty"`
	Reason      string             `json:"reason,omitempty"`
	Disabled    time.Time          `json:"disabled,omitzero"`
	Paused      bool               `json:"paused,omitempty"`
	Replay      ReplayRequest      `json:"replay,omitzero"`
	Sealed      []byte             `json:"sealed,omitempty"` // a sealedValue
}

// A sealedValue has what nobody may read in the document.
type sealedValue struct {
	Auth    Authentication `json:"auth"`
	Secrets []Secret       `json:"secrets,omitempty"`
}

func sealPurpose(key store.Key) string { return key.Collection + "/" + key.Key }

// encode is the document of s. Its Version is that of the document it replaces.
func (r *Registry) encode(ctx context.Context, s *Subscription) (store.Doc, error) {
	plain, err := json.Marshal(sealedValue{s.Auth, s.Secrets})
	if err != nil {
		return store.Doc{}, err
	}
	sealed, err := r.Sealer.Seal(ctx, sealPurpose(s.key()), plain)
	if err != nil {
		return store.Doc{}, err
	}
	return document.New(s.key(), s.Version, subscriptionValue{
		Format: document.Current(), Account: s.Account, App: s.App, Owner: s.Owner, Name: s.Name,
		ConsentBy: s.Consent.User, ConsentAt: s.Consent.Since,
		URL: s.URL, Form: s.Form, Events: s.Events, Users: s.Users, Groups: s.Groups,
		Profile: s.Profile, LatestOnly: s.LatestOnly, Concurrency: s.Concurrency, Created: s.Created,
		Validated: s.Health.Validated, Failures: s.Health.Failures, Reason: s.Health.Reason, Disabled: s.Health.Disabled,
		Paused: s.Paused, Replay: s.Replay, Sealed: sealed,
	}), nil
}

func (r *Registry) decode(ctx context.Context, doc *store.Doc) (*Subscription, error) {
	s, sealed, err := decodeOpen(doc)
	if err != nil {
		return nil, err
	}
	plain, err := r.Sealer.Open(ctx, sealPurpose(doc.Key), sealed)
	if err != nil {
		return nil, err
	}
	var secret sealedValue
	if err := json.Unmarshal(plain, &secret); err != nil {
		return nil, fmt.Errorf("a document of %q is damaged: %w", doc.Collection, err)
	}
	s.Auth, s.Secrets = secret.Auth, secret.Secrets
	return s, nil
}

// decodeOpen decodes what is not sealed.
func decodeOpen(doc *store.Doc) (s *Subscription, sealed []byte, err error) {
	var v subscriptionValue
	if err := document.Decode(doc, &v); err != nil {
		return nil, nil, err
	}
	s = &Subscription{
		ID: doc.Key.Key[strings.LastIndexByte(doc.Key.Key, '/')+1:], Version: doc.Version,
		Account: v.Account, App: v.App, Owner: v.Owner, Name: v.Name, Paused: v.Paused, Replay: v.Replay,
		Consent: Consent{User: v.ConsentBy, Since: v.ConsentAt},
		URL:     v.URL, Form: v.Form, Events: v.Events, Users: v.Users, Groups: v.Groups,
		Profile: v.Profile, LatestOnly: v.LatestOnly, Concurrency: v.Concurrency, Created: v.Created,
		Health: Health{Validated: v.Validated, Failures: v.Failures, Reason: v.Reason, Disabled: v.Disabled},
	}
	s.groupKeys = groupKeys(s.Groups)
	return s, v.Sealed, nil
}

// Stored reads the subscriptions of all accounts without what is sealed, and without what
// only a running server knows, such as whether an account is suspended.
func Stored(ctx context.Context, list func(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)) ([]*Subscription, error) {
	var all []*Subscription
	for after := ""; ; {
		docs, err := list(ctx, systemAccount, subscriptionCollection, after, MaxPerAccount)
		if err != nil || len(docs) == 0 {
			return all, err
		}
		for i := range docs {
			s, _, err := decodeOpen(&docs[i])
			if err != nil {
				return nil, err
			}
			all, after = append(all, s), docs[i].Key.Key
		}
	}
}

// Bounds of a subscription.
const (
	MaxConcurrency = 64
	maxNameBytes   = 128
)

// check normalises and checks the fields of s that differ from before; those that do not
// may be older than the rules.
func (r *Registry) check(ctx context.Context, s, before *Subscription) (err error) {
	if s.Name, err = presence.Text("name", s.Name); err != nil {
		return err
	}
	switch {
	case len(s.Name) > maxNameBytes:
		return &presence.FieldError{Field: "name", Reason: fmt.Sprintf("must have at most %d bytes", maxNameBytes)}
	case s.Concurrency < 0 || s.Concurrency > MaxConcurrency:
		return &presence.FieldError{Field: "concurrency", Reason: fmt.Sprintf("must be from 1 to %d", MaxConcurrency)}
	}
	form, err := r.checkNames(s)
	if err != nil {
		return err
	}
	if err := r.checkEndpoint(s, before, form); err != nil {
		return err
	}
	return r.checkFilter(ctx, s, before, form)
}

// checkNames finds the form and the profile.
func (r *Registry) checkNames(s *Subscription) (Form, error) {
	form, ok := r.Form(s.Form)
	if !ok {
		return nil, &presence.FieldError{Field: "form", Reason: "must be one of " + strings.Join(r.formNames(), ", ")}
	}
	if _, ok := r.Profile(s.Profile); !ok {
		return nil, &presence.FieldError{Field: "profile", Reason: "must be one of " + strings.Join(r.profileNames(), ", ")}
	}
	return form, nil
}

// checkEndpoint checks what can be checked of the URL and the authentication without a
// request.
func (r *Registry) checkEndpoint(s, before *Subscription, form Form) error {
	if s.URL == "" {
		if s.Auth.Kind != AuthNone {
			return &presence.FieldError{Field: "authentication", Reason: "needs a url"}
		}
		return nil
	}
	if s.URL != before.URL {
		if _, err := r.Client.ParseURL(s.URL); err != nil {
			return fieldError("url", err)
		}
	}
	if s.Auth == before.Auth && s.Form == before.Form {
		return nil
	}
	if err := s.Auth.Check(r.Client, reservedHeaders(form)); err != nil {
		return fieldError("authentication", err)
	}
	return nil
}

// reservedHeaders are those that a form sets itself, by their canonical names.
func reservedHeaders(form Form) http.Header {
	reserved := make(http.Header)
	for name := range form.Headers("", "", time.Unix(0, 0), nil) {
		reserved.Set(name, "")
	}
	return reserved
}

// fieldError refuses a field because of an error whose text its sender may read.
func fieldError(field string, err error) error {
	text := strings.TrimPrefix(err.Error(), ErrAuthentication.Error()+": ")
	if invalid, ok := errors.AsType[*egress.Error](err); ok && field == "url" {
		text = strings.TrimPrefix(invalid.Text, "the URL ")
	}
	return &presence.FieldError{Field: field, Reason: "is refused: " + text}
}
