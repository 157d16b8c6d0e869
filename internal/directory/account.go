package directory

import (
	"context"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// system is the account that the documents of the server itself are in, those of
// the accounts among them. No tenant has this id.
const system presence.AccountID = ""

type accountValue struct {
	document.Format
	Name    string          `json:"name"`
	Owner   presence.UserID `json:"owner,omitempty"`
	Created time.Time       `json:"created"`
	// HistoryDays is nil in documents of older servers.
	HistoryDays *int   `json:"history_days,omitempty"`
	Plan        string `json:"plan,omitempty"`
	Suspended   bool   `json:"suspended,omitempty"`
	Limits      Limits `json:"limits,omitzero"`
}

func accountKey(id presence.AccountID) store.Key {
	return store.Key{Collection: "account", Key: string(id)}
}

// CreateAccount adds an account without an owner and gives it an id. Names need
// not be unique.
func (d *Directory) CreateAccount(ctx context.Context, name string) (Account, error) {
	name, err := cleanName("name", name)
	if err != nil {
		return Account{}, err
	}
	account := Account{ID: presence.AccountID(NewID()), Name: name, Created: d.now(), HistoryDays: MaxHistoryDays}
	if err := d.docs.Write(ctx, system, account.doc("")); err != nil {
		return Account{}, fmt.Errorf("create account: %w", err)
	}
	return account, nil
}

// Account reads an account, or answers ErrNoAccount.
func (d *Directory) Account(ctx context.Context, id presence.AccountID) (Account, error) {
	if !isValidID(string(id)) {
		return Account{}, ErrNoAccount
	}
	docs, err := d.docs.Load(ctx, system, accountKey(id))
	if err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	if len(docs) == 0 {
		return Account{}, ErrNoAccount
	}
	return accountOf(&docs[0])
}

// Accounts pages by id: those above after, at most limit.
func (d *Directory) Accounts(ctx context.Context, after presence.AccountID, limit int) ([]Account, error) {
	docs, err := d.docs.List(ctx, system, "account", string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return document.All(docs, accountOf)
}

// SetOwner makes a user the account's owner: S2S apps act as the owner for "me".
func (d *Directory) SetOwner(ctx context.Context, id presence.AccountID, owner presence.UserID) error {
	return document.Again(func() error {
		account, err := d.Account(ctx, id)
		if err == nil {
			_, err = d.UpdateAccount(ctx, account, AccountChange{Owner: &owner})
		}
		return err
	})
}

// An AccountChange sets the fields that are not nil. A new owner must be an active user.
type AccountChange struct {
	Owner       *presence.UserID
	HistoryDays *int
	Name        *string
	Plan        *string // one that a dialect knows, or ""
	Suspended   *bool
	Limits      *Limits
}

// apply sets the fields that need no other document.
func (c *AccountChange) apply(a *Account) error {
	if days := c.HistoryDays; days != nil {
		if *days < 0 || *days > MaxHistoryDays {
			return &presence.FieldError{Field: "history_days", Reason: fmt.Sprintf("must be a number from 0 to %d", MaxHistoryDays)}
		}
		a.HistoryDays = *days
	}
	if c.Name != nil {
		name, err := cleanName("name", *c.Name)
		if err != nil {
			return err
		}
		a.Name = name
	}
	if c.Plan != nil {
		a.Plan = *c.Plan
	}
	if c.Suspended != nil {
		a.Suspended = *c.Suspended
	}
	if c.Limits != nil {
		a.Limits = *c.Limits
	}
	return a.Limits.check()
}

func (l *Limits) check() error {
	for _, limit := range [...]struct {
		name string
		most int
	}{{"users", l.Users}, {"apps", l.Apps}, {"subscriptions", l.Subscriptions}, {"streams", l.Streams}} {
		if limit.most < 0 || limit.most > MaxLimit {
			return &presence.FieldError{Field: "limits." + limit.name, Reason: fmt.Sprintf("must be a number from 0, for no limit, to %d", MaxLimit)}
		}
	}
	return nil
}

// MaxLimit bounds the numbers of Limits.
const MaxLimit = 1_000_000_000

// UpdateAccount changes an account that was read before. If the account has changed since,
// it returns store.ErrConflict.
func (d *Directory) UpdateAccount(ctx context.Context, before Account, change AccountChange) (Account, error) {
	after := before
	if change.Owner != nil {
		u, err := d.User(ctx, before.ID, *change.Owner)
		if err == nil && !u.Active {
			err = presence.ErrDeactivated
		}
		if err != nil {
			return before, err
		}
		after.Owner = u.ID
	}
	if err := change.apply(&after); err != nil {
		return before, err
	}
	if after == before {
		return before, nil
	}
	defer d.notifyUserState()
	if err := d.docs.Write(ctx, system, after.doc(before.Version)); err != nil {
		return Account{}, fmt.Errorf("update account %s: %w", before.ID, err)
	}
	return d.Account(ctx, before.ID)
}

func (a *Account) doc(version string) store.Doc {
	return document.New(accountKey(a.ID), version, accountValue{document.Current(), a.Name, a.Owner, a.Created, &a.HistoryDays, a.Plan, a.Suspended, a.Limits})
}

func accountOf(doc *store.Doc) (Account, error) {
	var v accountValue
	if err := document.Decode(doc, &v); err != nil {
		return Account{}, err
	}
	account := Account{
		ID: presence.AccountID(doc.Key.Key), Name: v.Name, Owner: v.Owner, Created: v.Created, HistoryDays: MaxHistoryDays,
		Plan: v.Plan, Suspended: v.Suspended, Limits: v.Limits, Version: doc.Version,
	}
	if v.HistoryDays != nil {
		account.HistoryDays = *v.HistoryDays
	}
	return account, nil
}
