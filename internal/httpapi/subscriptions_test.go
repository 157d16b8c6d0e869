package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
)

// subscribe creates a subscription of a body with an admin's token.
func (w *world) subscribe(body string) api.Subscription {
	w.t.Helper()
	var made api.Subscription
	w.do("POST", "/v1/subscriptions", w.admin(), body).want(201).read(&made)
	return made
}

func TestSubscriptions(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	bob, err := w.directory.User(t.Context(), w.account, w.bob.ID)
	w.must(err)
	bob.Groups = []string{"Support"}
	_, err = w.directory.Update(t.Context(), w.account, bob)
	w.must(err)

	x := w.do("POST", "/v1/subscriptions", admin, `{"name":"Lamps","url":"https://example.com/hook","form":"zoom","events":["user.presence_status_updated"],
		"users":["alice@example.com","me"],"groups":["support"],"latest_only":true,"concurrency":3,
		"authentication":{"kind":"basic","username":"u","password":"the-password-of-it"}}`).want(201)
	var made api.Subscription
	x.read(&made)
	want := api.Subscription{
		ID: made.ID, Name: "Lamps", App: string(w.app), URL: "https://example.com/hook", Form: "zoom", Events: []string{"user.presence_status_updated"},
		Users: []string{string(w.alice.ID), string(w.owner)}, Groups: []string{"support"}, Profile: "zoom", LatestOnly: true, Concurrency: 3,
		Authentication: api.Authentication{Kind: "basic", Username: "u"}, Created: api.At(w.clock()), Validated: api.At(w.clock()), Secret: made.Secret,
	}
	if !reflect.DeepEqual(made, want) {
		t.Errorf("made %+v, want %+v", made, want)
	}
	if !strings.HasPrefix(made.Secret, "whsec_") || x.header.Get("Location") != "/v1/subscriptions/"+made.ID {
		t.Errorf("secret %q, Location %q", made.Secret, x.header.Get("Location"))
	}
	path := "/v1/subscriptions/" + made.ID
	tag := x.header.Get("Etag")
	x = w.do("GET", path, admin, "").want(200)
	want.Secret = ""
	var got api.Subscription
	if x.read(&got); !reflect.DeepEqual(got, want) || x.header.Get("Etag") != tag {
		t.Errorf("got %+v, %s; want %+v, %s", got, x.header.Get("Etag"), want, tag)
	}
	w.do("GET", path, admin, "", "If-None-Match", tag).want(304)

	w.do("PATCH", path, admin, `{"name":"y"}`, "If-Match", `"other"`).problem(&api.PreconditionFailed)
	x = w.do("PATCH", path, admin, `{"name":"Doors","all_users":true,"all_events":true,"profile":"durable","latest_only":false,"concurrency":0}`, "If-Match", tag).want(200)
	var changed api.Subscription
	x.read(&changed)
	if changed.Name != "Doors" || len(changed.Users)+len(changed.Groups)+len(changed.Events) > 0 || changed.Profile != "durable" || changed.LatestOnly || changed.Concurrency != 8 {
		t.Errorf("%+v", changed)
	}
	// all_users leaves the filters that are given with it.
	w.do("PATCH", path, admin, `{"users":["alice@example.com","bob@example.com"],"groups":["support"]}`).want(200)
	x = w.do("PATCH", path, admin, `{"all_users":true,"users":["alice@example.com"]}`).want(200)
	if x.read(&changed); len(changed.Users) != 1 || len(changed.Groups) > 0 {
		t.Errorf("%+v", changed)
	}
	w.do("DELETE", path, admin, "", "If-Match", tag).problem(&api.PreconditionFailed)
	w.do("DELETE", path, admin, "", "If-Match", x.header.Get("Etag")).want(204)
	w.do("GET", path, admin, "").problem(&api.NoSubscription)
	w.do("DELETE", path, admin, "").problem(&api.NoSubscription)
}

func TestSubscriptionDefaults(t *testing.T) {
	w := newWorld(t)
	made := w.subscribe(`{}`)
	if made.Form != "native" || made.Profile != "durable" || made.Concurrency != 8 || made.URL != "" || made.Owner != "" || made.AppSecret ||
		made.Authentication.Kind != "none" || !made.Validated.IsZero() || made.Secret == "" {
		t.Errorf("%+v", made)
	}
	if w.subscribe(`{"secret":"chosen-by-the-client"}`).Secret != "chosen-by-the-client" {
		t.Error("the client's secret is not used")
	}
	if signed := w.subscribe(`{"app_secret":true}`); signed.Secret != "" || !signed.AppSecret {
		t.Errorf("%+v", signed)
	}
}

func TestSubscriptionsArePaged(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for range 5 {
		w.subscribe(`{}`)
	}
	seen, after := 0, ""
	for last := ""; ; {
		var page api.Subscriptions
		w.do("GET", "/v1/subscriptions?limit=2&after="+after, admin, "").want(200).read(&page)
		for _, s := range page.Subscriptions {
			if s.ID <= last {
				t.Errorf("%s after %s", s.ID, last)
			}
			last = s.ID
			seen++
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if seen != 5 {
		t.Errorf("%d subscriptions were listed", seen)
	}
}

// TestSubscriptionOfUser: without the :admin scope, a user subscribes to the own events
// alone, and sees no other subscription.
func TestSubscriptionOfUser(t *testing.T) {
	w := newWorld(t)
	own := w.token(w.alice.ID, "subscription:read subscription:write")
	others := w.subscribe(`{"users":["alice@example.com"]}`)
	for _, body := range []string{`{}`, `{"users":["me"]}`, `{"users":["alice@example.com"]}`} {
		var made api.Subscription
		w.do("POST", "/v1/subscriptions", own, body).want(201).read(&made)
		if made.Owner != string(w.alice.ID) || len(made.Users) != 1 || made.Users[0] != made.Owner {
			t.Errorf("%s: %+v", body, made)
		}
	}
	for _, body := range []string{`{"users":["bob@example.com"]}`, `{"users":["me","bob@example.com"]}`, `{"groups":["x"]}`, `{"app_secret":true}`} {
		w.do("POST", "/v1/subscriptions", own, body).problem(&api.Forbidden)
	}
	var list api.Subscriptions
	if w.do("GET", "/v1/subscriptions", own, "").want(200).read(&list); len(list.Subscriptions) != 3 {
		t.Errorf("%+v", list)
	}
	path := "/v1/subscriptions/" + list.Subscriptions[0].ID
	for _, body := range []string{`{"all_users":true}`, `{"users":["bob@example.com"]}`, `{"users":["me","bob@example.com"]}`} {
		w.do("PATCH", path, own, body).problem(&api.InvalidField)
	}
	w.do("GET", "/v1/subscriptions/"+others.ID, own, "").problem(&api.NoSubscription)
	w.do("PATCH", path, w.token(w.alice.ID, "subscription:write"), `{"name":"x"}`).want(200)
	w.do("DELETE", path, w.token(w.bob.ID, "subscription:write"), "").problem(&api.NoSubscription)
	w.do("DELETE", path, own, "").want(204)
}

func TestSubscriptionRefused(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := w.subscribe(`{"url":"https://example.com/"}`)
	for body, field := range map[string]string{
		`{"url":"ftp://example.com/"}`:                                   "url",
		`{"url":"https://u:p@example.com/"}`:                             "url",
		`{"url":"https://example.com/#x"}`:                               "url",
		`{"url":"http://127.0.0.1:8080/"}`:                               "url",
		`{"form":"unknown"}`:                                             "form",
		`{"profile":"unknown"}`:                                          "profile",
		`{"concurrency":65}`:                                             "concurrency",
		`{"concurrency":-1}`:                                             "concurrency",
		`{"name":"a\nb"}`:                                                "name",
		`{"events":[]}`:                                                  "events",
		`{"events":["unknown"]}`:                                         "events[0]",
		`{"users":[]}`:                                                   "users",
		`{"users":["nobody@example.com"]}`:                               "users[0]",
		`{"users":["` + string(w.stranger.ID) + `"]}`:                    "users[0]",
		`{"groups":[]}`:                                                  "groups",
		`{"groups":["nobody is in it"]}`:                                 "groups[0]",
		`{"secret":"short"}`:                                             "secret",
		`{"secret":"long-enough-for-one","app_secret":true}`:             "secret",
		`{"authentication":{"kind":"odd"}}`:                              "authentication.kind",
		`{"authentication":{"kind":"none","username":"u"}}`:              "authentication",
		`{"url":"https://a.example/","authentication":{"kind":"basic"}}`: "authentication",
	} {
		if p := w.do("POST", "/v1/subscriptions", admin, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: field %q, want %q", body, p.Field, field)
		}
	}
	for body, field := range map[string]string{
		`{"events":["note.changed"],"all_events":true}`: "all_events",
		`{"users":[]}`: "users",
		`{"url":"x"}`:  "url",
	} {
		if p := w.do("PATCH", "/v1/subscriptions/"+made.ID, admin, body).problem(&api.InvalidField); p.Field != field {
			t.Errorf("%s: field %q, want %q", body, p.Field, field)
		}
	}
	w.do("POST", "/v1/subscriptions", admin, `{"unknown":1}`).problem(&api.InvalidField)
}

// TestMoveNeedsAuthentication: credentials are not sent to another host unless whoever
// changes the URL knows them.
func TestMoveNeedsAuthentication(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	const authentication = `"authentication":{"kind":"basic","username":"u","password":"p"}`
	path := "/v1/subscriptions/" + w.subscribe(`{"url":"https://example.com/hook",`+authentication+`}`).ID
	for _, url := range []string{"https://example.org/hook", "https://example.com:8443/hook", "http://example.com/hook", "https://example.com.evil.example/hook"} {
		if p := w.do("PATCH", path, admin, `{"url":"`+url+`"}`).problem(&api.InvalidField); p.Field != "authentication" {
			t.Errorf("%s: field %q", url, p.Field)
		}
	}
	w.do("PATCH", path, admin, `{"url":"https://EXAMPLE.com:443/other"}`).want(200)
	var got api.Subscription
	w.do("PATCH", path, admin, `{"url":"https://example.org/hook",`+authentication+`}`).want(200).read(&got)
	if got.URL != "https://example.org/hook" || got.Authentication.Username != "u" {
		t.Errorf("%+v", got)
	}
	w.do("PATCH", path, admin, `{"url":"https://example.net/hook","authentication":{"kind":"none"}}`).want(200)
	w.do("PATCH", path, admin, `{"url":"https://example.com/hook"}`).want(200)
}

// TestEndpointRefused: the error says what was tried and what came back.
func TestEndpointRefused(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	waiting := "/v1/subscriptions/" + w.subscribe(`{}`).ID
	w.endpoint.refusal = &webhook.ValidationError{Method: http.MethodPost, URL: "https://example.com/", Reason: "the proof is wrong", Status: 200, Answer: []byte("hello")}
	for _, x := range []*exchange{
		w.do("POST", "/v1/subscriptions", admin, `{"url":"https://example.com/"}`),
		w.do("PATCH", waiting, admin, `{"url":"https://example.com/"}`),
	} {
		if p := x.problem(&api.EndpointRefused); p.Field != "url" || !strings.Contains(p.Detail, `POST https://example.com/: the proof is wrong (status 200, body "hello")`) {
			t.Errorf("%+v", p)
		}
	}
}

func TestSubscriptionLimit(t *testing.T) {
	w := newWorld(t)
	own := w.token(w.alice.ID, "subscription:write")
	for range webhook.MaxPerOwner {
		w.do("POST", "/v1/subscriptions", own, `{}`).want(201)
	}
	p := w.do("POST", "/v1/subscriptions", own, `{}`).problem(&api.LimitReached)
	if p.Limit != webhook.MaxPerOwner || p.LimitName != "subscriptions-per-user" {
		t.Errorf("%+v", p)
	}
}

func TestRotateSubscriptionSecret(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := w.subscribe(`{}`)
	path := "/v1/subscriptions/" + made.ID + "/secret"
	var rotated api.Subscription
	w.do("POST", path, admin, `{"overlap_seconds":3600}`).want(200).read(&rotated)
	s, err := w.api.Subscriptions.Get(t.Context(), w.account, made.ID)
	w.must(err)
	want := []webhook.Secret{{Value: rotated.Secret}, {Value: made.Secret, Until: w.clock().Add(time.Hour)}}
	if rotated.Secret == made.Secret || !reflect.DeepEqual(s.Secrets, want) {
		t.Errorf("%+v, want %+v", s.Secrets, want)
	}
	w.do("POST", path, admin, `{"secret":"chosen-by-the-client"}`).want(200).read(&rotated)
	if rotated.Secret != "chosen-by-the-client" {
		t.Errorf("%+v", rotated)
	}
	for _, body := range []string{`{"overlap_seconds":-1}`, `{"overlap_seconds":604801}`, `{"overlap_seconds":9000000000000000000}`, `{"secret":"short"}`} {
		w.do("POST", path, admin, body).problem(&api.InvalidField)
	}
	w.do("POST", "/v1/subscriptions/"+w.subscribe(`{"app_secret":true}`).ID+"/secret", admin, `{}`).problem(&api.SubscriptionState)
}

func TestEnableSubscription(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	path := "/v1/subscriptions/" + w.subscribe(`{"url":"https://example.com/"}`).ID
	s, err := w.api.Subscriptions.Get(t.Context(), w.account, strings.TrimPrefix(path, "/v1/subscriptions/"))
	w.must(err)
	w.must(w.api.Subscriptions.SetHealth(t.Context(), s, webhook.Health{Failures: 6, Reason: "it is gone", Disabled: w.clock()}))
	var got api.Subscription
	if w.do("GET", path, admin, "").want(200).read(&got); got.Failures != 6 || got.Reason != "it is gone" || !got.Disabled.Equal(w.clock()) {
		t.Errorf("%+v", got)
	}
	w.do("POST", path+"/replay", admin, `{"from":"1"}`).problem(&api.SubscriptionState)
	w.endpoint.refusal = &webhook.ValidationError{Method: http.MethodPost, URL: "https://example.com/", Reason: "gone"}
	w.do("POST", path+"/enable", admin, "").problem(&api.EndpointRefused)
	w.endpoint.refusal = nil
	if w.do("POST", path+"/enable", admin, "").want(200).read(&got); got.Failures != 0 || got.Reason != "" || !got.Disabled.IsZero() {
		t.Errorf("%+v", got)
	}
}

// TestSecretsAreShownOnce: no response but that which makes a secret has one.
func TestSecretsAreShownOnce(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := w.subscribe(`{"url":"https://example.com/","authentication":{"kind":"oauth","token_url":"https://example.com/token","client_id":"c","client_secret":"hidden-client-secret"}}`)
	path := "/v1/subscriptions/" + made.ID
	w.do("PATCH", path, admin, `{"authentication":{"kind":"header","header_name":"X-Key","header_value":"hidden-header-value"}}`).want(200)
	var app api.App
	w.do("POST", "/v1/apps", admin, `{"name":"x","scopes":["directory:write"]}`).want(201).read(&app)
	var rotated api.WebhookSecret
	w.do("POST", "/v1/apps/"+app.ID+"/webhook-secret", admin, `{}`).want(200).read(&rotated)
	if !strings.HasPrefix(app.WebhookSecret, "whsec_") || rotated.WebhookSecret == app.WebhookSecret {
		t.Errorf("%+v, %+v", app, rotated)
	}
	for _, x := range []*exchange{
		w.do("GET", path, admin, ""), w.do("GET", "/v1/subscriptions", admin, ""), w.do("PATCH", path, admin, `{"name":"x"}`),
		w.do("POST", path+"/enable", admin, ""), w.do("POST", path+"/test", admin, `{}`), w.do("GET", path+"/deliveries", admin, ""),
		w.do("GET", "/v1/apps", admin, ""), w.do("GET", "/v1/apps/"+app.ID, admin, ""), w.do("POST", "/v1/apps/"+app.ID+"/secret", admin, ""),
	} {
		x.want(200)
		for _, secret := range []string{"whsec_", made.Secret, "hidden-client-secret", "hidden-header-value", app.WebhookSecret} {
			if strings.Contains(x.body, secret) {
				t.Errorf("%s: %s is in %s", x.asked, secret, x.body)
			}
		}
	}
}

func TestDeletionEndsSubscriptions(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.do("POST", "/v1/subscriptions", w.token(w.bob.ID, "subscription:write"), `{}`).want(201)
	w.do("DELETE", "/v1/users/bob@example.com", admin, "").want(204)
	var list api.Subscriptions
	if w.do("GET", "/v1/subscriptions", admin, "").want(200).read(&list); len(list.Subscriptions) != 0 {
		t.Errorf("of a deleted user: %+v", list)
	}
	app, _ := w.App(w.account, "subscription:write:admin")
	_, token := w.Token(w.account, app.ID, "", "subscription:write:admin", 0)
	w.do("POST", "/v1/subscriptions", token, `{}`).want(201)
	kept := w.subscribe(`{}`)
	w.do("DELETE", "/v1/apps/"+string(app.ID), admin, "").want(204)
	if w.do("GET", "/v1/subscriptions", admin, "").want(200).read(&list); len(list.Subscriptions) != 1 || list.Subscriptions[0].ID != kept.ID {
		t.Errorf("of a deleted app: %+v", list)
	}
}

func TestTestSubscription(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	path := "/v1/subscriptions/" + w.subscribe(`{"url":"https://example.com/","form":"zoom","events":["user.signed_in"],"users":["bob@example.com"]}`).ID
	w.endpoint.failed = webhook.Attempt{Status: 500, Answer: []byte("oops"), Reason: "the endpoint answered 500", Failure: webhook.FailureStatus}
	var got api.Delivery
	w.do("POST", path+"/test", admin, `{}`).want(200).read(&got)
	if got.Type != "user.signed_in" || got.User != string(w.bob.ID) || got.Status != 500 || got.Answer != "oops" || got.Reason != "the endpoint answered 500" || got.Failure != "status" || got.Attempt != 1 {
		t.Errorf("%+v", got)
	}
	if sent := w.endpoint.received[0].Event.Body; !json.Valid(sent) || !strings.Contains(string(sent), "bob@example.com") {
		t.Errorf("sent %s", sent)
	}
	w.do("POST", path+"/test", admin, `{"event":"user.deleted"}`).want(200).read(&got)
	if got.Type != "user.deleted" {
		t.Errorf("%+v", got)
	}
	w.do("POST", path+"/test", admin, `{"event":"unknown"}`).problem(&api.InvalidField)
	w.do("POST", "/v1/subscriptions/"+w.subscribe(`{}`).ID+"/test", admin, `{}`).problem(&api.SubscriptionState)
}

// setStatus publishes a claim, which is an event.
func (w *world) setStatus(u presence.UserID, s presence.Status) {
	w.t.Helper()
	w.advance(time.Minute)
	w.do("PUT", fmt.Sprintf("/v1/users/%s/claims/x", u), w.admin(), `{"source":"app","status":"`+s.String()+`"}`).want(200)
}

// awaitDeliveries waits until a list of deliveries has a number of items.
func (w *world) awaitDeliveries(path string, n int) (list api.Deliveries) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		list = api.Deliveries{}
		w.do("GET", path, w.admin(), "").want(200).read(&list)
		if len(list.Deliveries) >= n {
			return list
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d deliveries, want %d: %+v", len(list.Deliveries), n, list)
		}
	}
}

func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.runWebhooks()
	w.advance(time.Second)
	made := w.subscribe(`{"url":"https://example.com/","events":["presence.changed"]}`)
	w.awaitDelivering(made.ID)
	path := "/v1/subscriptions/" + made.ID + "/deliveries"
	w.signIn("/v1/users/alice@example.com/sessions", admin, signInBody)
	w.awaitDeliveries(path, 1)
	w.setStatus(w.alice.ID, presence.Busy)
	list := w.awaitDeliveries(path, 2)
	newest := list.Deliveries[0]
	if newest.Type != "presence.changed" || newest.User != string(w.alice.ID) || newest.Reason != "" || newest.Attempt != 1 || newest.Event == "" ||
		newest.Position <= list.Deliveries[1].Position || list.State == nil {
		t.Errorf("%+v", list)
	}
	var page api.Deliveries
	w.do("GET", path+"?limit=1", admin, "").want(200).read(&page)
	if len(page.Deliveries) != 1 || page.Deliveries[0] != newest || page.Next == "" {
		t.Errorf("%+v", page)
	}
	w.do("GET", path+"?limit=1&after="+page.Next, admin, "").want(200).read(&page)
	if len(page.Deliveries) != 1 || page.Deliveries[0] != list.Deliveries[1] {
		t.Errorf("%+v", page)
	}

	w.endpoint.fail(webhook.Attempt{Status: 404, Reason: "not here", Failure: webhook.FailureStatus})
	w.setStatus(w.alice.ID, presence.Away)
	page = w.awaitDeliveries(path+"?failed=true&limit=1", 1)
	if len(page.Deliveries) != 1 || page.Deliveries[0].Reason != "not here" || page.Deliveries[0].Next.IsZero() {
		t.Errorf("%+v", page)
	}
	for _, query := range []string{"?failed=maybe", "?limit=0", "?odd=1"} {
		w.do("GET", path+query, admin, "").problem(&api.InvalidField)
	}
	w.do("GET", path+"?after=odd", admin, "").problem(&api.CursorInvalid)
}

func TestReplay(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.runWebhooks()
	w.advance(time.Second) // events at the time of a subscription, or of a replay, belong to it
	before := w.clock()
	w.advance(time.Second)
	w.signIn("/v1/users/alice@example.com/sessions", admin, signInBody)
	w.setStatus(w.alice.ID, presence.Busy)
	w.advance(time.Second)
	made := w.subscribe(`{"url":"https://example.com/","events":["presence.changed"],"users":["alice@example.com"]}`)
	w.awaitDelivering(made.ID)
	path := "/v1/subscriptions/" + made.ID
	var replay api.Replay
	w.do("POST", path+"/replay", admin, `{"from":"`+before.Format(time.RFC3339)+`"}`).want(202).read(&replay)
	w.awaitReplayed(path)
	list := w.awaitDeliveries(path+"/deliveries", 2)
	newest, oldest := list.Deliveries[0], list.Deliveries[1]
	if len(list.Deliveries) != 2 || !oldest.Replayed || replay.From >= oldest.Position || oldest.Position >= newest.Position || replay.To < newest.Position {
		t.Errorf("%+v: %+v", replay, list)
	}
	w.do("POST", path+"/replay", admin, fmt.Sprintf(`{"from":"%d"}`, newest.Position)).want(202).read(&replay)
	w.awaitReplayed(path)
	if again := w.awaitDeliveries(path+"/deliveries", 3); len(again.Deliveries) != 3 || again.Deliveries[0].Event != newest.Event {
		t.Errorf("%+v", again)
	}
	text, err := w.hub.ReadCursor(t.Context(), store.NewCursor(w.store.Epoch(), store.Position(newest.Position)))
	w.must(err)
	w.do("POST", path+"/replay", admin, `{"from":"`+text+`"}`).want(202).read(&replay)
	if replay.From != newest.Position {
		t.Errorf("%+v", replay)
	}
	w.do("POST", path+"/replay", admin, `{"from":"yesterday"}`).problem(&api.InvalidField)
	w.do("POST", path+"/replay", admin, `{}`).problem(&api.InvalidField)
	w.do("POST", "/v1/subscriptions/"+w.subscribe(`{}`).ID+"/replay", admin, `{"from":"1"}`).problem(&api.SubscriptionState)
}

func (w *world) awaitReplayed(path string) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		var list api.Deliveries
		w.do("GET", path+"/deliveries", w.admin(), "").want(200).read(&list)
		if !list.State.Replaying {
			return
		}
		w.advance(500 * time.Millisecond) // the end is stored at intervals
		if time.Now().After(deadline) {
			w.t.Fatal("the replay does not end")
		}
	}
}

// A node that does not deliver stores a replay for the one that does, and has no state of
// deliveries.
func TestNotDelivering(t *testing.T) {
	w := newWorld(t)
	made := w.subscribe(`{"url":"https://example.com/"}`)
	var list api.Deliveries
	if w.do("GET", "/v1/subscriptions/"+made.ID+"/deliveries", w.admin(), "").want(200).read(&list); list.State != nil {
		t.Errorf("%+v", list.State)
	}
	w.do("POST", "/v1/subscriptions/"+made.ID+"/replay", w.admin(), `{"from":"1"}`).want(202)
	w.do("POST", "/v1/subscriptions/"+made.ID+"/replay", w.admin(), `{"from":"1"}`).problem(&api.SubscriptionState)
}
