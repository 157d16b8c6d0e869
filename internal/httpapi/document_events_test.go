package httpapi_test

import (
	"log/slog"
	"net/http"
	"testing"

	"porchlight.dev/porchlight/internal/eventsocket"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// TestDocumentDescribesZoomsEvents calls Zoom's routes of event subscriptions in the
// documented ways, and the validator checks the responses.
func TestDocumentDescribesZoomsEvents(t *testing.T) {
	w := newWorld(t)
	zoom := &zoomapi.API{
		Auth: w.authority, Directory: w.directory, Publisher: w.api.Publisher, Views: w.api.Views, Clock: w.clock,
		Events: &zoomapi.Events{
			Audit:         w.api.Audit,
			Subscriptions: w.api.Subscriptions, Deliveries: w.api.Deliverer,
			Sockets: &eventsocket.Sockets{Access: w.authority, Clock: w.clock, Log: slog.New(slog.DiscardHandler)},
		},
	}
	zoom.Mount(w.router)
	w.runWebhooks()
	const scopes = "user:read:presence_status:admin user:read:user:admin marketplace_app:read:admin"
	made, _ := w.App(w.account, scopes)
	_, app := w.Token(w.account, made.ID, "", scopes, 0)
	const path = "/v2/marketplace/app/event_subscription"
	body := func(more string) string {
		return `{"events":["user.presence_status_updated"],"event_subscription_name":"x","event_webhook_url":"https://example.com/",` + more + `}`
	}
	create := func(more string) string {
		var made struct {
			ID string `json:"event_subscription_id"`
		}
		w.do("POST", path, app, body(more)).want(http.StatusCreated).read(&made)
		return made.ID
	}
	account := create(`"subscription_scope":"account","custom_header":{"custom_header_type":1,"username":"u","password":"p"}`)
	user := create(`"subscription_scope":"user","user_ids":["alice@example.com"],"custom_header":{"custom_header_type":3,"custom_header_key":"X-Key","custom_header_value":"v"}`)
	w.do("POST", path, app, body(`"subscription_scope":"everyone"`)).want(400)
	w.do("POST", path, app, body(`"subscription_scope":"user","user_ids":["nobody"]`)).want(404)
	w.do("POST", path, app, `<x/>`, "Content-Type", "text/xml").want(415)
	w.do("POST", path, w.token(w.alice.ID, "presence:read"), body(`"subscription_scope":"account"`)).want(403)
	w.do("POST", path, "", body(`"subscription_scope":"account"`)).want(401)
	w.do("GET", path, app, "").want(200)
	w.do("GET", path+"?page_size=1&subscription_scope=user&user_id=alice@example.com&account_id="+string(w.account), app, "").want(200)
	w.do("GET", path+"?page_size=301", app, "").want(400)
	w.do("GET", path+"?user_id=nobody", app, "").want(404)
	w.do("PATCH", path+"/"+user, app, `{"user_ids":["bob@example.com"],"account_id":"`+string(w.account)+`"}`).want(204)
	w.do("PATCH", path+"/unknown", app, `{"user_ids":[]}`).want(404)

	w.endpoint.failed = webhook.Attempt{Failure: webhook.FailureTimeout, Reason: "it took too long"}
	s, err := w.api.Subscriptions.Get(t.Context(), w.account, account)
	w.must(err)
	w.awaitDelivering(account)
	_, err = w.api.Deliverer.Test(t.Context(), s, "user.presence_status_updated", &webhook.Person{ID: w.alice.ID})
	w.must(err)
	logs := "/v2/marketplace/apps/" + string(made.ID) + "/webhook_logs"
	var page struct {
		Logs []struct {
			Status int `json:"status"`
		} `json:"webhook_logs"`
	}
	w.do("GET", logs, app, "").want(200).read(&page)
	if len(page.Logs) != 1 || page.Logs[0].Status != -1 {
		t.Errorf("the logs are %+v", page.Logs)
	}
	w.do("GET", logs+"?page_size=1&type=1&retry_num=0&event=user.created&from=2026-02-28T09:00:00Z&to=2026-03-01T09:00:00Z", app, "").want(200)
	w.do("GET", logs+"?type=4", app, "").want(400)
	w.do("GET", logs+"?from=today", app, "").want(404)
	w.do("GET", logs, "", "").want(401)

	w.do("DELETE", path+"?event_subscription_id="+user+"&user_ids=alice@example.com&account_id="+string(w.account), app, "").want(204)
	w.do("DELETE", path+"?event_subscription_id="+user, app, "").want(204)
	w.do("DELETE", path+"?event_subscription_id="+user, app, "").want(404)
	w.do("DELETE", path+"/"+account, app, "").want(204)
	w.do("DELETE", path+"/"+account, app, "").want(404)
	w.do("GET", "/ws?subscriptionId="+user+"&access_token="+app, "", "").want(400) // no handshake
}
