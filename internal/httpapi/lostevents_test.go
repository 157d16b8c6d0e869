package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// noSubscriptions is a store that fails for subscriptions after some lists of them.
type noSubscriptions struct {
	store.Store

	lists atomic.Int32 // that still succeed
}

func (n *noSubscriptions) List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error) {
	if n.lists.Add(-1) < 0 {
		return nil, errors.New("no subscriptions")
	}
	return n.Store.List(ctx, account, collection, after, limit)
}

func (*noSubscriptions) Write(context.Context, presence.AccountID, ...store.Doc) error {
	return errors.New("no subscriptions")
}

// TestChangeIsRecordedWithoutWebhooks: a change of who has access is recorded although what
// comes of it for subscriptions fails, because it cannot be made again.
func TestChangeIsRecordedWithoutWebhooks(t *testing.T) {
	const scopes = "subscription:read subscription:write presence:read"
	for _, row := range []struct {
		action string
		lists  int32
		change func(w *world)
	}{
		{"grant.revoke", 0, func(w *world) {
			app := w.webApp(scopes, true)
			w.allow(w.alice.ID, app.ID, scopes)
			w.visit(w.cookie(w.account, w.alice.ID), "DELETE", "/v1/grants/"+string(app.ID), "").want(204)
		}},
		{"token.revoke", 0, func(w *world) {
			w.allow(w.alice.ID, w.webApp(scopes, true).ID, scopes)
			w.do("DELETE", "/v1/tokens?user=alice@example.com", w.admin(), "").want(200)
		}},
		{"app.delete", 1, func(w *world) {
			w.do("DELETE", "/v1/apps/"+string(w.webApp(scopes, true).ID), w.admin(), "").want(204)
		}},
		{"account.update", 0, func(w *world) {
			w.do("PATCH", "/v1/account", w.admin(), fmt.Sprintf(`{"owner":%q}`, w.bob.ID)).want(500) // it can be repeated
		}},
	} {
		t.Run(row.action, func(t *testing.T) {
			w := newWorld(t)
			broken := &noSubscriptions{Store: w.store}
			broken.lists.Store(row.lists)
			w.api.Subscriptions.Store = broken
			row.change(w)
			if got := actions(w.auditEvents(w.admin(), "&action="+row.action, 10)); !slices.Contains(got, row.action) {
				t.Errorf("recorded: %v", got)
			}
		})
	}
}
