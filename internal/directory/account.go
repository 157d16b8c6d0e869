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
	return d.AddAccount(ctx, AccountChange{Name: &name})
}

// AddAccount is CreateAccount for an account with these properties, except for the owner.
func (d *Directory) AddAccount(ctx context.Context, asked AccountChange) (Account, error) {
	account := Account{Created: d.now(), HistoryDays: MaxHistoryDays}
	if err := asked.apply(&account); err != nil {
		return Account{}, err
	}
	err := document.Again(func() error {
		account.ID = presence.AccountID(NewID())
		used, err := d.docs.Load(ctx, system, deletedAccountKey(account.ID))
		if err == nil && len(used) > 0 {
			err = store.ErrConflict // draw another id
		}
		if err != nil {
			return err
		}
		return d.docs.Write(ctx, system, account.doc(""))
	})
	if err != nil {
		return Account{}, fmt.Errorf("create account: %w", err)
	}
	return account, nil
}

// deletedAccountKey is that of the document that remains of a deleted account, so that
// its id is never used again.
func deletedAccountKey(id presence.AccountID) store.Key {
	return store.Key{Collection: "burnt", Key: string(id)}
}

// DeleteAccount removes an account, from which moment on none of its users, apps and
// tokens is valid, and writes further documents of the server in the same write. What
// the account has in the store stays, for the caller to delete.
func (d *Directory) DeleteAccount(ctx context.Context, id presence.AccountID, with ...store.Doc) error {
	defer d.notifyUserState(id, "")
	return document.Again(func() error {
		account, err := d.Account(ctx, id)
		if err != nil {
			return err
		}
		gone := document.New(deletedAccountKey(id), "", tombstoneValue{document.Current(), d.now()})
		err = d.docs.Write(ctx, system, append([]store.Doc{{Key: accountKey(id), Version: account.Version}, gone}, with...)...)
		if err != nil {
			return fmt.Errorf("delete account %s: %w", id, err)
		}
		return nil
	})
}

// DeletedUsers pages through the ids of users who were deleted: those above after, at
// most limit.
func (d *Directory) DeletedUsers(ctx context.Context, account presence.AccountID, after presence.UserID, limit int) ([]presence.UserID, error) {
	docs, err := d.docs.List(ctx, account, tombstoneKey("").Collection, string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list deleted users: %w", err)
	}
	ids := make([]presence.UserID, 0, len(docs))
	for i := range docs {
		ids = append(ids, presence.UserID(docs[i].Key.Key))
	}
	return ids, nil
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

// Check reports what AddAccount would refuse.
func (c *AccountChange) Check() error { return c.apply(new(Account)) }

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
	defer d.notifyUserState(before.ID, "")
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
