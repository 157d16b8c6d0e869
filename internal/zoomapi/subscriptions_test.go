package zoomapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/egress"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/seal"
	"porchlight.dev/porchlight/internal/webhook"
	. "porchlight.dev/porchlight/internal/zoomapi"
)

const (
	subscriptionsPath = "/v2/marketplace/app/event_subscription"
	endpointURL       = "https://example.com/events"
)

// events is a fixture with event subscriptions, whose endpoints are valid unless refusal
// is set.
type events struct {
	*fixture
	registry *webhook.Registry
	attempts map[string][]webhook.Attempt // by subscription, newest first
	refusal  error
	token    string // of an app that may read everything
	appID    string
}

func eventCatalog() webhook.Catalog {
	return webhook.Catalog{Forms: []webhook.Form{EventForm{}}, Profiles: []webhook.Profile{webhook.Durable(), EventProfile()}}
}

func newEvents(tb testing.TB, o options) *events {
	e := &events{fixture: newFixture(tb, o), attempts: make(map[string][]webhook.Attempt)}
	client := egress.NewClient(egress.Options{})
	tb.Cleanup(client.Close)
	e.registry = &webhook.Registry{
		Store: e.store, Sealer: &seal.Sealer{Store: e.store}, Directory: e.Directory, Client: client,
		Catalog:  eventCatalog(),
		Validate: func(context.Context, *webhook.Subscription) error { return e.refusal },
		Clock:    e.clock.Now, Log: slog.New(slog.DiscardHandler),
	}
	o.events = &Events{Subscriptions: e.registry, Deliveries: e}
	e.serve(o)
	e.token, e.appID = e.appToken("user:read:presence_status:admin user:read:user:admin marketplace_app:read:admin")
	return e
}

// appToken is a token of a new app.
func (e *events) appToken(scopes string) (token, app string) {
	e.tb.Helper()
	made, _ := e.People.App(e.account, scopes)
	_, token = e.People.Token(e.account, made.ID, "", scopes, 0)
	return token, string(made.ID)
}

func (e *events) Deliveries(_ context.Context, s *webhook.Subscription, before string, limit int) ([]webhook.Attempt, string, error) {
	all, from := e.attempts[s.ID], 0
	if before != "" {
		if _, err := fmt.Sscan(before, &from); err != nil {
			return nil, "", webhook.ErrCursor
		}
	}
	page := all[from:min(len(all), from+limit)]
	if from += len(page); from == len(all) {
		return page, "", nil
	}
	return page, fmt.Sprint(from), nil
}

func (*events) Attach(context.Context, *webhook.Subscription, func(context.Context, *webhook.Request) error) (*webhook.Attachment, error) {
	return nil, webhook.ErrHasEndpoint
}

func (e *events) post(token, body string) *httptest.ResponseRecorder {
	return e.do(call{method: "POST", path: subscriptionsPath, token: token, kind: "application/json", body: body})
}

// create makes a subscription and returns its id.
func (e *events) create(body string) string {
	e.tb.Helper()
	rec := e.post(e.token, body)
	var made struct {
		ID string `json:"event_subscription_id"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &made); err != nil || rec.Code != http.StatusCreated || len(made.ID) != 22 {
		e.tb.Fatalf("POST %s: %d %s", body, rec.Code, rec.Body)
	}
	return made.ID
}

// accountBody is a subscription for all users.
const accountBody = `{"events":["user.presence_status_updated"],"event_subscription_name":"Board","event_webhook_url":"` + endpointURL +
	`","subscription_scope":"account"}`

func (e *events) userBody(users ...string) string {
	list, err := json.Marshal(users)
	e.must(err)
	return `{"events":["user.presence_status_updated","user.updated"],"event_webhook_url":"` + endpointURL +
		`","subscription_scope":"user","user_ids":` + string(list) + `,"account_id":"` + string(e.account) + `"}`
}

// A listed is an item of the list.
type listed struct {
	ID         string         `json:"event_subscription_id"`
	Events     []string       `json:"events"`
	Name       string         `json:"event_subscription_name"`
	URL        string         `json:"event_webhook_url"`
	Scope      string         `json:"subscription_scope"`
	Source     string         `json:"created_source"`
	Subscriber string         `json:"subscriber_id"`
	Header     map[string]any `json:"custom_header"`
}

func (e *events) list(query string) (items []listed, next string) {
	e.tb.Helper()
	rec := e.do(call{method: "GET", path: subscriptionsPath + query, token: e.token})
	var page struct {
		Next  string   `json:"next_page_token"`
		Size  int      `json:"page_size"`
		Items []listed `json:"event_subscriptions"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || rec.Code != http.StatusOK || page.Size == 0 {
		e.tb.Fatalf("GET %s: %d %s", query, rec.Code, rec.Body)
	}
	return page.Items, page.Next
}

func TestCreateSubscription(t *testing.T) {
	e := newEvents(t, options{plan: Pro})
	rec := e.post(e.token, accountBody)
	wantHeader(t, rec, "X-RateLimit-Category", "Heavy")
	wantHeader(t, rec, "Content-Type", "application/json")
	id := e.create(accountBody)
	s, err := e.registry.Get(t.Context(), e.account, id)
	e.must(err)
	if s.App != presence.AppID(e.appID) || s.Owner != "" || s.Name != "Board" || s.URL != endpointURL || s.Form != "zoom" || s.Profile != "zoom" ||
		len(s.Events) != 1 || s.Users != nil || len(s.Secrets) != 0 || !s.Health.Validated.Equal(e.clock.Now().Truncate(time.Millisecond)) {
		t.Errorf("created %+v", s)
	}
	s, err = e.registry.Get(t.Context(), e.account, e.create(e.userBody(string(e.ann.ID), "ben@example.com")))
	e.must(err)
	if len(s.Users) != 2 || s.Users[0] != e.ann.ID || s.Users[1] != e.ben.ID {
		t.Errorf("the users are %v", s.Users)
	}
	s, err = e.registry.Get(t.Context(), e.account, e.create(e.userBody()))
	e.must(err)
	if len(s.Users) != 1 || s.Users[0] != e.owner.ID {
		t.Errorf("without user_ids, the users are %v, want the owner", s.Users)
	}
}

func TestCustomHeader(t *testing.T) {
	e := newEvents(t, options{})
	for body, want := range map[string]struct {
		auth   webhook.Authentication
		listed string
	}{
		`{"custom_header_type":0}`: {webhook.Authentication{}, `{"custom_header_type":0}`},
		`{"custom_header_type":1,"username":"u","password":"secret"}`: {
			webhook.Authentication{Kind: webhook.AuthBasic, Username: "u", Password: "secret"}, `{"custom_header_type":1,"username":"u"}`,
		},
		`{"custom_header_type":2,"client_id":"c","client_secret":"secret","token_url":"https://example.com/t","scope":"s","client_authentication":"header"}`: {
			webhook.Authentication{Kind: webhook.AuthOAuth, ClientID: "c", ClientSecret: "secret", TokenURL: "https://example.com/t", Scope: "s"},
			`{"client_authentication":"header","client_id":"c","custom_header_type":2,"scope":"s","token_url":"https://example.com/t"}`,
		},
		`{"custom_header_type":3,"custom_header_key":"x-api-key","custom_header_value":"secret"}`: {
			webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: "x-api-key", HeaderValue: "secret"},
			`{"custom_header_key":"x-api-key","custom_header_type":3}`,
		},
	} {
		id := e.create(strings.TrimSuffix(accountBody, "}") + `,"custom_header":` + body + `}`)
		s, err := e.registry.Get(t.Context(), e.account, id)
		e.must(err)
		if s.Auth != want.auth {
			t.Errorf("%s: stored %+v", body, s.Auth)
		}
		items, _ := e.list("")
		for _, item := range items {
			if item.ID != id {
				continue
			}
			if got, err := json.Marshal(item.Header); err != nil || string(got) != want.listed {
				t.Errorf("%s: listed as %s, want %s", body, got, want.listed)
			}
		}
	}
}

// TestRefuseSubscription has the errors that Zoom documents.
func TestRefuseSubscription(t *testing.T) {
	e := newEvents(t, options{})
	presenceOnly, _ := e.appToken("user:read:presence_status:admin")
	plain, _ := e.appToken("user:read:presence_status")
	with := func(old, with string) string { return strings.Replace(accountBody, old, with, 1) }
	header := func(text string) string { return with(`{"events"`, `{"custom_header":`+text+`,"events"`) }
	long := strings.Repeat("x", 257)
	for name, c := range map[string]struct {
		token, body  string
		status, code int
		message      string
	}{
		"no events":            {e.token, with(`["user.presence_status_updated"]`, `[]`), 400, 1500, "The events list is empty."},
		"events missing":       {e.token, with(`"events":["user.presence_status_updated"],`, ``), 400, 1500, "The events list is empty."},
		"no URL":               {e.token, with(endpointURL, ""), 400, 1500, "The event webhook url is empty."},
		"no scope":             {e.token, with(`"account"`, `""`), 400, 1500, "The subscription scope is invalid."},
		"an unknown scope":     {e.token, with(`"account"`, `"everyone"`), 400, 1500, "The subscription scope is invalid."},
		"an unknown event":     {e.token, with("user.presence_status_updated", "meeting.started"), 404, 1601, "App event not exists: meeting.started"},
		"an event not allowed": {presenceOnly, with("user.presence_status_updated", "user.created"), 400, 1602, "The event is not allowed for the app: user.created"},
		"without admin":        {plain, accountBody, 400, 1602, "The event is not allowed for the app: user.presence_status_updated"},
		"an unknown user":      {e.token, e.userBody("nobody@example.com"), 404, 1001, "User does not exist or does not belong to this account: nobody@example.com."},
		"a user elsewhere":     {e.token, e.userBody(string(e.eve.ID)), 404, 1001, "User does not exist or does not belong to this account: " + string(e.eve.ID) + "."},
		"too many users":       {e.token, e.userBody(strings.Split(strings.Repeat("me,", 10)+"me", ",")...), 400, 1500, "The user_ids list has more than 10 users."},
		"another account":      {e.token, with(`{"events"`, `{"account_id":"elsewhere","events"`), 404, 2001, "Account does not exist: elsewhere."},
		"a private URL":        {e.token, with("https://example.com", "http://127.0.0.1:8090"), 404, 1701, "The event webhook url validate failed: http://127.0.0.1:8090/events. It"},
		"a malformed URL":      {e.token, with("https://example.com", "ftp://example.com"), 404, 1701, "The event webhook url validate failed: ftp://example.com/events. It"},
		"a header type":        {e.token, header(`{"custom_header_type":4}`), 404, 1801, "The custom header type validate failed: 4."},
		"no user name":         {e.token, header(`{"custom_header_type":1,"password":"p"}`), 400, 1500, "The username is required."},
		"no password":          {e.token, header(`{"custom_header_type":1,"username":"u"}`), 400, 1500, "The password is required."},
		"a long user name":     {e.token, header(`{"custom_header_type":1,"username":"` + long + `","password":"p"}`), 400, 1500, "The length of username exceeds the limit of 256."},
		"a line feed":          {e.token, header(`{"custom_header_type":1,"username":"a\nb","password":"p"}`), 400, 1500, "The input value can't contain line feed."},
		"no client id":         {e.token, header(`{"custom_header_type":2}`), 400, 1500, "The client id is required."},
		"client_authentication": {
			e.token, header(`{"custom_header_type":2,"client_id":"c","client_secret":"s","token_url":"https://example.com","client_authentication":"cookie"}`),
			400, 1500, "Client authentication must be 'header' or 'body'.",
		},
		"a private token URL": {
			e.token, header(`{"custom_header_type":2,"client_id":"c","client_secret":"s","token_url":"http://10.0.0.1/t"}`),
			404, 1702, "The Oauth token url validate failed: http://10.0.0.1/t. It",
		},
		"a header's name":   {e.token, header(`{"custom_header_type":3,"custom_header_key":"x y","custom_header_value":"v"}`), 400, 1500, "The custom header key can only contain letters, numbers, and -."},
		"a header reserved": {e.token, header(`{"custom_header_type":3,"custom_header_key":"X-Zm-Signature","custom_header_value":"v"}`), 400, 1500, "The custom header is refused: the header X-Zm-Signature cannot be set"},
		"a wrong type":      {e.token, with(`["user.presence_status_updated"]`, `"user.presence_status_updated"`), 400, 300, "Validation Failed."},
		"no JSON":           {e.token, `events`, 400, 300, "Request Body should be a valid JSON object."},
		"a user's token":    {e.annToken, accountBody, 403, 403, "Authenticated user has not permitted access to the targeted resource"},
		"no token":          {"", accountBody, 401, 124, "Invalid access token."},
	} {
		rec := e.post(c.token, c.body)
		var got struct {
			Code    int
			Message string
		}
		e.must(json.Unmarshal(rec.Body.Bytes(), &got))
		if rec.Code != c.status || got.Code != c.code || !strings.HasPrefix(got.Message, c.message) {
			t.Errorf("%s: %d %s\nwant %d, code %d: %s", name, rec.Code, rec.Body, c.status, c.code, c.message)
		}
	}
	if items, _ := e.list(""); len(items) != 0 {
		t.Errorf("refused requests created %d subscriptions", len(items))
	}
}

// TestEndpointRefused: the error says what was tried and what came back.
func TestEndpointRefused(t *testing.T) {
	e := newEvents(t, options{})
	e.refusal = &webhook.ValidationError{Method: "POST", URL: endpointURL, Reason: "the endpoint answered 404", Status: 404, Answer: []byte("no such page")}
	want(t, e.post(e.token, accountBody), 404, `{"code":1701,"message":"The event webhook url validate failed: https://example.com/events. `+
		`POST https://example.com/events: the endpoint answered 404 (status 404, body \"no such page\")."}`)
}

// TestSubscriptionLimit: an app has 20 subscriptions, as at Zoom.
func TestSubscriptionLimit(t *testing.T) {
	e := newEvents(t, options{})
	for range 20 {
		e.create(accountBody)
	}
	want(t, e.post(e.token, accountBody), 400, `{"code":1500,"message":"Limit subscriptions-per-app reached: 20 subscriptions of an app."}`)
	var got []string
	token := ""
	for {
		items, next := e.list("?page_size=7&next_page_token=" + url.QueryEscape(token))
		for _, item := range items {
			got = append(got, item.ID)
		}
		if token = next; next == "" {
			break
		}
	}
	if len(got) != 20 {
		t.Errorf("the pages have %d subscriptions", len(got))
	}
}

func TestListSubscriptions(t *testing.T) {
	e := newEvents(t, options{plan: Pro})
	account := e.create(accountBody)
	user := e.create(e.userBody(string(e.ann.ID), string(e.ben.ID)))
	other, _ := e.appToken("user:read:presence_status:admin")
	if rec := e.post(other, accountBody); rec.Code != http.StatusCreated {
		t.Fatal(rec.Body)
	}
	for query, want := range map[string][]string{
		"":                         {account, user},
		"?subscription_scope=user": {user},
		"?subscription_scope=account&account_id=" + string(e.account): {account},
		"?user_id=" + string(e.ann.ID):                                {account, user},
		"?user_id=" + string(e.cyd.ID):                                {account},
	} {
		items, next := e.list(query)
		got := make(map[string]bool)
		for _, item := range items {
			got[item.ID] = true
		}
		if len(items) != len(want) || next != "" {
			t.Errorf("%q lists %d subscriptions, want %d", query, len(items), len(want))
		}
		for _, id := range want {
			if !got[id] {
				t.Errorf("%q does not list %s", query, id)
			}
		}
	}
	items, _ := e.list("?subscription_scope=user&user_id=" + string(e.ben.ID))
	if got := items[0]; got.URL != endpointURL || got.Scope != "user" || got.Source != "openapi" || got.Subscriber != string(e.ben.ID) || len(got.Events) != 2 {
		t.Errorf("listed as %+v", got)
	}
	get := func(query string) *httptest.ResponseRecorder {
		return e.do(call{method: "GET", path: subscriptionsPath + query, token: e.token})
	}
	want(t, get("?subscription_scope=all"), 400, `{"code":1500,"message":"The subscription scope is invalid."}`)
	want(t, get("?user_id=nobody"), 404, `{"code":1001,"message":"User does not exist or does not belong to this account: nobody."}`)
	wantHeader(t, get(""), "X-RateLimit-Category", "Medium")
}

// TestSubscribe adds and removes users.
func TestSubscribe(t *testing.T) {
	e := newEvents(t, options{})
	id, account := e.create(e.userBody(string(e.ann.ID))), e.create(accountBody)
	patch := func(token, id, users string) *httptest.ResponseRecorder {
		return e.do(call{
			method: "PATCH", path: subscriptionsPath + "/" + id, token: token, kind: "application/json",
			body: `{"account_id":"` + string(e.account) + `","user_ids":` + users + `}`,
		})
	}
	remove := func(query string) *httptest.ResponseRecorder {
		return e.do(call{method: "DELETE", path: subscriptionsPath + query, token: e.token})
	}
	users := func() int {
		s, err := e.registry.Get(t.Context(), e.account, id)
		e.must(err)
		return len(s.Users)
	}
	want(t, patch(e.token, id, `["ben@example.com","`+string(e.cyd.ID)+`","`+string(e.ann.ID)+`"]`), 204, "")
	if n := users(); n != 3 {
		t.Errorf("%d users are subscribed, want 3", n)
	}
	want(t, patch(e.token, account, `["ben@example.com"]`), 204, "")
	want(t, patch(e.token, id, `["nobody"]`), 404, `{"code":1001,"message":"User does not exist or does not belong to this account: nobody."}`)
	want(t, patch(e.token, "unknown", `[]`), 404, `{"code":1601,"message":"App event subscription is invalid: unknown"}`)
	other, _ := e.appToken("user:read:presence_status:admin user:read:user:admin")
	want(t, patch(other, id, `[]`), 404, `{"code":1601,"message":"App event subscription is invalid: `+id+`"}`)

	want(t, remove("?event_subscription_id="+id+"&user_ids=ben@example.com,"+string(e.ann.ID)+"&account_id="+string(e.account)), 204, "")
	if n := users(); n != 1 {
		t.Errorf("%d users are subscribed, want 1", n)
	}
	want(t, remove("?event_subscription_id="+account+"&user_ids=ben@example.com"), 400,
		`{"code":1500,"message":"The subscription is for all users of the account: single users cannot be unsubscribed."}`)
	want(t, remove("?event_subscription_id="+id+"&user_ids="+string(e.cyd.ID)), 204, "")
	want(t, remove("?event_subscription_id="+id), 404, `{"code":1601,"message":"App event subscription is invalid: `+id+`"}`)
	want(t, remove("?event_subscription_id="+account), 204, "")
	if items, _ := e.list(""); len(items) != 0 {
		t.Errorf("%d subscriptions are left", len(items))
	}
}

func TestDeleteSubscription(t *testing.T) {
	e := newEvents(t, options{})
	id := e.create(accountBody)
	other, _ := e.appToken("user:read:presence_status:admin user:read:user:admin")
	remove := func(token string) *httptest.ResponseRecorder {
		return e.do(call{method: "DELETE", path: subscriptionsPath + "/" + id, token: token})
	}
	refusal := `{"code":1601,"message":"App event subscription is invalid: ` + id + `"}`
	want(t, remove(other), 404, refusal)
	want(t, remove(e.token), 204, "")
	want(t, remove(e.token), 404, refusal)
}

func TestWebhookLogs(t *testing.T) {
	e := newEvents(t, options{plan: Pro})
	one, two := e.create(accountBody), e.create(accountBody)
	at := e.clock.Now()
	attempt := func(age time.Duration, number, status int, f webhook.Failure, reason string) webhook.Attempt {
		return webhook.Attempt{
			Event: "evt_1", Type: "user.presence_status_updated", User: e.ann.ID, Number: number, Started: at.Add(-age),
			Status: status, Failure: f, Reason: reason, Answer: []byte("its answer"),
		}
	}
	e.attempts[one] = []webhook.Attempt{
		attempt(time.Minute, 2, 503, webhook.FailureStatus, "the endpoint answered 503"),
		attempt(time.Hour, 1, 0, webhook.FailureTimeout, "it took too long"),
		attempt(2*time.Hour, 1, 204, webhook.FailureNone, ""),
	}
	for i := range 100 {
		e.attempts[two] = append(e.attempts[two], attempt(time.Duration(i)*time.Minute, 1, 200, webhook.FailureNone, ""))
	}
	type entry struct {
		Event        string `json:"event"`
		Status       int    `json:"status"`
		Reason       int    `json:"failed_reason_type"`
		Endpoint     string `json:"endpoint"`
		Subscription string `json:"subscription_id"`
		Response     string `json:"response_body"`
		Time         string `json:"date_time"`
		Request      string `json:"request_id"`
		Retry        int    `json:"retry_num"`
	}
	get := func(query string) *httptest.ResponseRecorder {
		return e.do(call{method: "GET", path: "/v2/marketplace/apps/" + e.appID + "/webhook_logs" + query, token: e.token})
	}
	logs := func(query string) (all []entry) {
		t.Helper()
		for token := ""; ; {
			rec := get("?page_size=40&" + query + "&next_page_token=" + url.QueryEscape(token))
			var page struct {
				Next string  `json:"next_page_token"`
				Logs []entry `json:"webhook_logs"`
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || rec.Code != http.StatusOK || len(page.Logs) > 40 {
				t.Fatalf("%s: %d %s", query, rec.Code, rec.Body)
			}
			all = append(all, page.Logs...)
			if token = page.Next; token == "" {
				return all
			}
		}
	}
	failed := logs("")
	if len(failed) != 2 {
		t.Fatalf("by default %d attempts are listed, want the 2 that failed", len(failed))
	}
	if got := failed[0]; got.Status != 503 || got.Reason != 0 || got.Endpoint != endpointURL || got.Subscription != one || got.Response != "its answer" ||
		got.Time != "2026-11-22T11:59:00.250Z" || got.Request != "evt_1" || got.Retry != 1 {
		t.Errorf("listed %+v", got)
	}
	if got := failed[1]; got.Status != -1 || got.Reason != 1 || got.Response != "it took too long" || got.Retry != 0 {
		t.Errorf("listed %+v", got)
	}
	for query, want := range map[string]int{
		"type=1": 103, "type=3": 101, "type=2&retry_num=1": 1, "type=1&retry_num=3": 0, "type=1&event=user.created": 0,
		"type=1&from=2026-11-22T11:45:00Z": 17, "type=1&to=2026-11-22T10:30:00Z": 10,
	} {
		if got := len(logs(query)); got != want {
			t.Errorf("%s lists %d attempts, want %d", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"?retry_num=4":               `{"code":1506,"message":"The 'retry_num' value must be an integer within the range of 0 to 3."}`,
		"?from=yesterday":            "{\"code\":1503,\"message\":\"The dates must follow the format: `yyyy-MM-dd'T'HH:mm:ss'Z'`.\"}",
		"?from=2026-11-01T00:00:00Z": `{"code":1502,"message":"The date range must be within the last seven days."}`,
		"?from=2026-12-01T00:00:00Z": `{"code":1504,"message":"The 'from' date must be before the current date(UTC)."}`,

		"?to=2026-11-20T00:00:00Z&from=2026-11-21T00:00:00Z": `{"code":1501,"message":"The 'to' date must be after the 'from' date."}`,
	} {
		if rec := get(query); rec.Body.String() != want+"\n" {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
	want(t, e.do(call{method: "GET", path: "/v2/marketplace/apps/other/webhook_logs", token: e.token}), 404,
		`{"code":1401,"message":"APP ID does not exist: other."}`)
	without, _ := e.appToken("user:read:presence_status:admin")
	want(t, e.do(call{method: "GET", path: "/v2/marketplace/apps/" + e.appID + "/webhook_logs", token: without}), 400,
		`{"code":4711,"message":"Invalid access token, does not contain scopes:[marketplace_app:read, marketplace_app:read:admin]."}`)
}
