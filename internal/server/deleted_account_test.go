package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/server"
)

// found an account of whose names all have a text, and act for it from now on.
func (k *keeper) found(system *client.Client, name string) api.CreatedAccount {
	k.t.Helper()
	k.email = name + "@example.com"
	made, err := system.CreateAccount(k.t.Context(), api.CreateAccount{Name: name, OwnerEmail: k.email, OwnerName: name + " " + name, AppName: name})
	apptest.Check(k.t, err)
	k.made = server.Credentials{AccountID: made.AccountID, ClientID: made.ClientID, ClientSecret: k.keep("client secret", made.ClientSecret)}
	k.keep("webhook secret", made.WebhookSecret)
	tokens, err := client.NewAccountCredentials(k.URL(), client.App{AccountID: made.AccountID, ClientID: made.ClientID, ClientSecret: made.ClientSecret}, k.http)
	apptest.Check(k.t, err)
	k.client, err = client.New(k.URL(), tokens, k.http)
	apptest.Check(k.t, err)
	k.made.AccessToken, err = tokens.Token(k.t.Context())
	apptest.Check(k.t, err)
	k.keep("access token", k.made.AccessToken)
	return made
}

// inhabit makes objects of every kind in the account, named by a text.
func (k *keeper) inhabit(name string) {
	k.t.Helper()
	ctx := k.t.Context()
	user, err := k.client.CreateUser(ctx, api.CreateUser{
		Email: "second." + name + "@example.com", FirstName: name, LastName: name, DisplayName: name, Department: name, Groups: []string{name},
	})
	apptest.Check(k.t, err)
	apptest.Check(k.t, second(k.client.SetClaim(ctx, user.ID, name, api.SetClaim{Source: "app", Status: api.OutOfOffice, Note: name})))
	apptest.Check(k.t, second(k.client.SetNote(ctx, user.ID, api.SetNote{Text: name})))
	token, err := k.client.CreateToken(ctx, api.CreateToken{User: user.ID, Name: name, Scopes: []string{"presence:read"}})
	apptest.Check(k.t, err)
	k.keep("personal token", token.Secret)
	k.send(http.StatusCreated, "POST", "/v1/subscriptions", map[string]any{"name": name, "url": "https://127.0.0.1:9999/?key=" + name}, k.admin()...)
	k.send(http.StatusCreated, "POST", "/v1/watches", map[string]any{"user": k.email}, "Authorization", "Bearer "+token.Secret)
	k.send(http.StatusCreated, "POST", "/v1/users/"+user.ID+"/invitation", nil, k.admin()...)
	apptest.Check(k.t, k.client.EndClaim(ctx, user.ID, name))
	apptest.Check(k.t, k.client.DeleteUser(ctx, user.ID)) // erased with the account, although deleted before
}

// TestDeletedAccountLeavesNothing: after the deletion of an account, no file of the data
// directory has a name, an e-mail address, a note or the hash of a secret of it, once the
// database is compacted.
func TestDeletedAccountLeavesNothing(t *testing.T) {
	const deleted, kept = "Xq7canary", "Xq7neighbour"
	k, _ := newKeeper(t, settings(t))
	k.TrustEndpoints()
	operator, err := server.SystemTokens(t.Context(), k.config, server.SystemTokenRequest{Create: true})
	apptest.Check(t, err)
	system, err := client.New(k.URL(), client.StaticToken(operator[0].Secret), k.http)
	apptest.Check(t, err)
	k.all = nil
	k.found(system, kept)
	k.inhabit(kept)
	neighbours := k.all
	k.all = nil
	account := k.found(system, deleted)
	k.people()
	k.consent()
	k.device()
	k.inhabit(deleted)
	apptest.Check(t, second(system.DeleteAccount(t.Context(), account.AccountID)))
	eventually(t, "the account is deleted", func() bool {
		k.clock.Advance(time.Second)
		d, err := system.AccountDeletion(t.Context(), account.AccountID)
		apptest.Check(t, err)
		return d.State == api.DeletionDone
	})
	k.stop(server.ErrInterrupted)
	apptest.Check(t, k.wait(t))
	dir := filepath.Join(k.config.DataDir, "store")
	for range 3 { // write-ahead logs and lists of tables are removed at the next start
		compact(t, dir)
	}
	files := contents(t, k.config.DataDir)
	if lower := strings.ToLower(files); strings.Contains(lower, strings.ToLower(deleted)) || !strings.Contains(lower, strings.ToLower(kept)) {
		t.Errorf("the files have text of the deleted account: %s", around(lower, strings.ToLower(deleted)))
	}
	hashes := 0
	for _, c := range neighbours {
		if hasHash(files, c.secret) {
			hashes++
		}
	}
	if hashes == 0 {
		t.Error("INVALID: no hash of a secret of another account is found")
	}
	for _, c := range append(k.all, canary{"e-mail address", strings.ToLower(deleted) + "@example.com"}) {
		hashed := c.name != "device code" && hasHash(files, c.secret) // which expires by itself
		if c.occursIn(files) || hashed {
			t.Errorf("the files have the %s, or its hash", c.name)
		}
	}
}

// hasHash reports whether a text contains the SHA-256 of a secret.
func hasHash(text, secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	return strings.Contains(text, string(sum[:])) || strings.Contains(text, hex.EncodeToString(sum[:]))
}
