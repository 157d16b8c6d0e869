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
	account := Account{ID: presence.AccountID(NewID()), Name: name, Created: d.now()}
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
			_, err = d.ChangeOwner(ctx, account, owner)
		}
		return err
	})
}

// ChangeOwner makes an active user the owner of an account that was read before. If the
// account has changed since, it returns store.ErrConflict.
func (d *Directory) ChangeOwner(ctx context.Context, account Account, owner presence.UserID) (Account, error) {
	u, err := d.User(ctx, account.ID, owner)
	if err == nil && !u.Active {
		err = presence.ErrDeactivated
	}
	if err != nil || account.Owner == owner {
		return account, err
	}
	account.Owner = owner
	defer d.notifyUserState()
	if err := d.docs.Write(ctx, system, account.doc(account.Version)); err != nil {
		return Account{}, fmt.Errorf("set the owner of account %s: %w", account.ID, err)
	}
	return d.Account(ctx, account.ID)
}

func (a *Account) doc(version string) store.Doc {
	return document.New(accountKey(a.ID), version, accountValue{document.Current(), a.Name, a.Owner, a.Created})
}

func accountOf(doc *store.Doc) (Account, error) {
	var v accountValue
	if err := document.Decode(doc, &v); err != nil {
		return Account{}, err
	}
	return Account{presence.AccountID(doc.Key.Key), v.Name, v.Owner, v.Created, doc.Version}, nil
}
