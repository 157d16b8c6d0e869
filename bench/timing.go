package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

const (
	timingScopes = "presence:read:admin session:read:admin session:write:admin claim:write:admin subscription:read:admin subscription:write:admin " +
		"directory:read:admin directory:write:admin scim:write:admin"
	neverMade = "KDcuGIm1QgePTO8WbOqwIQ"
)

// A tenant is an account of the comparison of times.
type tenant struct{ token, user, app, secret string }

// timing compares how long requests take for objects of another account and for objects
// that do not exist. A difference would tell a caller which ids exist elsewhere.
func (r *run) timing(b *binary) error {
	dir := filepath.Join(r.dir, "timing")
	tenants, err := timingTenants(filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	p, err := b.serve(dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	client := &timingClient{url: "http://" + p.address, token: tenants[1].token}
	foreign, err := client.objects(&tenants[1])
	if err != nil {
		return err
	}
	client.token = tenants[0].token
	own := strings.NewReplacer("{client}", tenants[0].app, "{client_secret}", tenants[0].secret)
	fmt.Printf("%-50s %12s %12s %12s\n", "route", "foreign", "absent", "difference")
	for _, route := range timingRoutes {
		route.body = own.Replace(route.body)
		if err := client.report(&route, foreign, r.requests); err != nil {
			return err
		}
	}
	// What is left between two absent objects is the noise of the comparison.
	fmt.Println("absent in both columns:")
	return client.report(&timingRoutes[0], map[string]string{"{user}": neverMade}, r.requests)
}

func (c *timingClient) report(route *timingRoute, foreign map[string]string, requests int) error {
	medians, err := c.compare(route, foreign, requests)
	if err != nil {
		return err
	}
	fmt.Printf("%-50s %12v %12v %12v\n", route.method+" "+route.path, medians[0], medians[1], medians[0]-medians[1])
	return nil
}

func timingTenants(dir string) (tenants [2]tenant, err error) {
	st, err := pebblestore.Open(dir, pebblestore.Options{Durability: pebblestore.OS})
	if err != nil {
		return tenants, err
	}
	defer st.Close()
	ctx, people := context.Background(), directory.New(st, time.Now)
	authority := auth.New(st, people, time.Now)
	scopes, err := authority.ParseScopes(timingScopes)
	if err != nil {
		return tenants, err
	}
	for i := range tenants {
		account, err := people.CreateAccount(ctx, "Timing")
		if err != nil {
			return tenants, err
		}
		owner, err := people.Create(ctx, account.ID, directory.User{Email: fmt.Sprintf("owner%d@example.com", i), DisplayName: "Owner", Active: true})
		if err != nil {
			return tenants, err
		}
		if err := people.SetOwner(ctx, account.ID, owner.ID); err != nil {
			return tenants, err
		}
		app, secret, err := authority.CreateApp(ctx, account.ID, "timing", scopes)
		if err != nil {
			return tenants, err
		}
		_, text, err := authority.Issue(ctx, account.ID, auth.Token{App: app.ID, Scopes: scopes}, 0)
		if err != nil {
			return tenants, err
		}
		tenants[i] = tenant{text, string(owner.ID), string(app.ID), secret}
	}
	return tenants, nil
}

// A timingRoute is a route whose path has the id of an object, or whose body a token.
type timingRoute struct{ method, path, body string }

// status is that of every response.
func (r *timingRoute) status() int {
	if r.path == revokePath { // "Invalid Token!", as Zoom answers
		return http.StatusBadRequest
	}
	return http.StatusNotFound
}

const revokePath = "/oauth/revoke"

var timingRoutes = []timingRoute{
	{"GET", "/v2/users/{user}/presence_status", ""},
	{"PUT", "/v2/users/{user}/presence_status", `{"status":"Away"}`},
	{"GET", "/v1/users/{user}/presence", ""},
	{"GET", "/v1/users/{user}", ""},
	{"GET", "/v2/users/{user}", ""},
	{"GET", "/scim/v2/Users/{user}", ""},
	{"GET", "/v1/sessions/{session}", ""},
	{"GET", "/v1/subscriptions/{subscription}", ""},
	{"GET", "/v1/groups/{group}", ""},
	{"GET", "/scim/v2/Groups/{group}", ""},
	{"GET", "/v1/users/{user}/sessions", ""},
	{"GET", "/v1/users/{user}/history", ""},
	{"GET", "/v1/users/{user}/presence/explain", ""},
	{"GET", "/v1/users/{user}/sign-ins", ""},
	{"GET", "/v1/subscriptions/{subscription}/deliveries", ""},
	{"GET", "/v1/groups/{group}/members", ""},
	{"GET", "/v2/groups/{group}", ""},
	{"GET", "/v1/apps/{app}", ""},
	{"PATCH", "/v1/apps/{app}", `{"name":"x"}`},
	{"DELETE", "/v1/tokens/{token}", ""},
	{"POST", revokePath, "token={secret}&client_id={client}&client_secret={client_secret}"},
}

type timingClient struct{ url, token string }

// do sends a request and returns the status, the body and how long the answer took.
func (c *timingClient) do(method, path, body string) (int, []byte, time.Duration, error) {
	request, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, 0, err
	}
	switch {
	case path == revokePath: // its caller is an app
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	case body != "":
		request.Header.Set("Content-Type", "application/json")
	}
	if path != revokePath {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	begun := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, 0, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, time.Since(begun), err
}

// objects makes an object of each kind, and returns their ids by parameter of a path.
func (c *timingClient) objects(of *tenant) (map[string]string, error) {
	ids := map[string]string{"{user}": of.user, "{app}": of.app}
	for parameter, ask := range map[string][2]string{
		"{session}":      {"/v1/users/" + of.user + "/sessions", `{"client_type":"web"}`},
		"{subscription}": {"/v1/subscriptions", `{}`},
		"{group}":        {"/v1/groups", `{"name":"Timing"}`},
		"{token}":        {"/v1/tokens", `{"name":"timing","scopes":["presence:read:admin"]}`},
	} {
		status, answer, _, err := c.do(http.MethodPost, ask[0], ask[1])
		if err != nil {
			return nil, err
		}
		var made struct{ ID, Secret string }
		if err := json.Unmarshal(answer, &made); err != nil || status != http.StatusCreated {
			return nil, fmt.Errorf("POST %s: %d %s", ask[0], status, bytes.TrimSpace(answer))
		}
		ids[parameter] = made.ID
		if parameter == "{token}" {
			ids["{secret}"] = made.Secret
		}
	}
	return ids, nil
}

// compare returns the medians for the foreign object and for absent ones, whose requests
// come in random order.
func (c *timingClient) compare(route *timingRoute, foreign map[string]string, requests int) (medians [2]time.Duration, err error) {
	var took [2][]time.Duration
	for len(took[0]) < requests || len(took[1]) < requests {
		kind := rand.IntN(2)
		status, answer, elapsed, err := c.do(route.method, filled(route.path, kind, foreign), filled(route.body, kind, foreign))
		if err != nil {
			return medians, err
		}
		if status != route.status() {
			return medians, fmt.Errorf("%s %s: %d %s", route.method, route.path, status, answer)
		}
		took[kind] = append(took[kind], elapsed)
	}
	for i := range took {
		took[i] = took[i][requests/10:] // the first fill caches
		slices.Sort(took[i])
		medians[i] = took[i][len(took[i])/2]
	}
	return medians, nil
}

// filled is a path or a body for the foreign object (0) or an absent one (1).
func filled(text string, kind int, foreign map[string]string) string {
	for parameter, id := range foreign {
		switch {
		case kind == 0:
		case parameter == "{session}", parameter == "{secret}": // whose form the server checks
			id = id[:len(id)-4] + "AAAA"
		default:
			id = neverMade
		}
		text = strings.ReplaceAll(text, parameter, id)
	}
	return text
}
