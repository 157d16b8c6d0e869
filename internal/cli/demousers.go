package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// people are the demo's users. The first signedIn of them have a client running.
var people = []struct{ name, department, clientType string }{
	{"Ada Okafor", "Engineering", "desktop"},
	{"Bruno Castellanos", "Engineering", "desktop"},
	{"Chiara Lindqvist", "Design", "desktop"},
	{"Daniel Abebe", "Support", "mobile"},
	{"Elif Yildiz", "Support", "desktop"},
	{"Farid Haddad", "Sales", "desktop"},
	{"Grace Mensah", "Sales", "mobile"},
	{"Hana Novakova", "Operations", "desktop"},
	{"Ines Moreau", "Design", "web"},
	{"Jonas Petersen", "Engineering", "desktop"},
	{"Kavya Raman", "Engineering", "desktop"},
	{"Liam Gallagher-Wright", "Support", "pad"},
	{"Mei Tanaka", "Legal", "desktop"},
	{"Noor van Dijk", "Finance", "desktop"},
	{"Oscar Ferreira", "Finance", "desktop"},
	{"Priya Banerjee", "Operations", "desktop"},
	{"Quentin Dubois", "Legal", "desktop"},
	{"Rosa Hernandez", "Sales", "desktop"},
	{"Samuel Osei", "Operations", "desktop"},
	{"Tuuli Korhonen", "Design", "desktop"},
}

const signedIn = 12

// userScopes let a user do everything for themselves.
var userScopes = []string{
	"presence:read", "session:read", "session:write", "claim:read", "claim:write",
	"contact:read", "contact:write", "directory:read",
	"user:read", "user:write", "user:read:presence_status", "user:update:presence_status",
}

// A simulation acts for the demo's users, through the public API only.
type simulation struct {
	client  *client.Client
	keys    *demoKeys
	clients []simulated
}

// A simulated client keeps a user signed in.
type simulated struct{ user, clientType, session string }

// setUp creates the users that are missing, and signs in the first of them and the
// owner, for whom the printed token acts. It returns the first error.
func (c *simulation) setUp(ctx context.Context) error {
	users := make([]demoUser, len(people))
	copy(users, c.keys.Users) // of an earlier start, in the same order
	clients := make([]simulated, signedIn+1)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var group sync.WaitGroup
	for i := range people {
		group.Go(func() {
			err := c.createUser(ctx, i, &users[i])
			if err == nil && i < signedIn {
				users[i].SignedIn = true
				clients[i] = simulated{user: users[i].ID, clientType: people[i].clientType}
				err = c.signIn(ctx, &clients[i])
			}
			if err != nil {
				end(err)
			}
		})
	}
	group.Go(func() {
		owner := &clients[signedIn]
		*owner = simulated{user: "me", clientType: "desktop"}
		if err := c.signIn(ctx, owner); err != nil {
			end(err)
		}
	})
	group.Wait()
	c.keys.Users, c.clients = users, clients
	return context.Cause(ctx)
}

// createUser creates one user and the user's token, if they are missing.
func (c *simulation) createUser(ctx context.Context, i int, u *demoUser) error {
	who := people[i]
	if u.ID == "" {
		first, last, _ := strings.Cut(who.name, " ")
		u.Email = strings.ReplaceAll(strings.ToLower(who.name), " ", ".") + "@example.com"
		made, err := c.client.CreateUser(ctx, api.CreateUser{
			Email: u.Email, FirstName: first, LastName: last, DisplayName: who.name,
			Department: who.department, Groups: []string{who.department},
		})
		if client.Is(err, &api.EmailTaken) {
			made, err = c.client.User(ctx, u.Email)
		}
		if err != nil {
			return err
		}
		u.ID = made.ID
	}
	if u.AccessToken == "" {
		token, err := c.client.CreateToken(ctx, api.CreateToken{User: u.ID, Name: "demo", Scopes: userScopes})
		if err != nil {
			return err
		}
		u.AccessToken = token.Secret
	}
	return nil
}

// signIn continues the session that an earlier run of the demo left, or signs in. A
// demo that is killed repeatedly must not reach the limit of sessions.
func (c *simulation) signIn(ctx context.Context, s *simulated) error {
	for session, err := range c.client.Sessions(ctx, s.user) {
		if err != nil {
			return err
		}
		if session.App != c.keys.ClientID || session.ClientType != s.clientType {
			continue
		}
		active := true
		if _, err := c.client.Refresh(ctx, session.ID, api.SessionUpdate{Active: &active}); err == nil {
			s.session = session.ID
			return nil
		}
	}
	session, err := c.client.SignIn(ctx, s.user, api.SignIn{ClientType: s.clientType})
	if err == nil {
		s.session = session.ID
	}
	return err
}

// Twelve users who change every few seconds make a lively but readable demo.
const (
	refreshEvery = 30 * time.Second
	changeEvery  = 4 * time.Second
)

// run keeps the users active and changes their statuses until ctx ends.
func (c *simulation) run(ctx context.Context, quiet bool) error {
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	change := time.NewTicker(changeEvery)
	defer change.Stop()
	if quiet {
		change.Stop()
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-refresh.C:
			err = c.refresh(ctx)
		case <-change.C:
			err = c.change(ctx)
		}
		if err != nil && ctx.Err() == nil {
			if _, retry := client.Retry(err); !retry {
				return fmt.Errorf("simulate the demo's users: %w", err)
			}
		}
	}
}

// refresh reports activity for everybody signed in, and signs in again those who
// were signed out by somebody else. A session that was replaced stays replaced.
func (c *simulation) refresh(ctx context.Context) error {
	active := true
	if len(c.clients) == 0 {
		return nil
	}
	items := make([]api.RefreshItem, len(c.clients))
	for i := range c.clients {
		items[i] = api.RefreshItem{ID: c.clients[i].session, Active: &active}
	}
	results, err := c.client.RefreshAll(ctx, items)
	if err != nil {
		return err
	}
	var clients []simulated
	for i, result := range results.Results {
		switch p := result.Problem; {
		case p != nil && p.Type == api.SessionReplaced.Type():
			continue
		case p != nil && p.Type == api.NoSession.Type():
			_ = c.signIn(ctx, &c.clients[i]) // the next round tries again
		}
		clients = append(clients, c.clients[i])
	}
	c.clients = clients
	return nil
}

// An activity is a claim that the simulation makes about a user for a while.
type activity struct {
	claim   string // its id
	source  string
	status  api.Status
	note    string
	seconds int64
}

var activities = []activity{
	{"meeting-standup", "meeting", api.InMeeting, "Stand-up", 45},
	{"meeting-review", "meeting", api.InMeeting, "Design review", 90},
	{"meeting-review", "meeting", api.Presenting, "Design review", 60},
	{"call", "call", api.OnCall, "", 30},
	{"call", "call", api.OnCall, "With a customer", 60},
	{"calendar-lunch", "calendar", api.InCalendarEvent, "Lunch", 60},
	{"manual", "manual", api.DoNotDisturb, "Writing, back soon", 120},
	{"manual", "manual", api.Busy, "On a deadline", 90},
	{"manual", "manual", api.Away, "Coffee", 60},
}

// change makes a random claim about a random user. The first users stay as they
// are, because the printed examples are about them.
func (c *simulation) change(ctx context.Context) error {
	const unchanged = 3
	i := unchanged + rand.IntN(signedIn-unchanged)
	s := activities[rand.IntN(len(activities))]
	_, err := c.client.SetClaim(ctx, c.keys.Users[i].ID, s.claim, api.SetClaim{
		Source: s.source, Status: s.status, Note: s.note, DurationSeconds: &s.seconds,
	})
	if client.Is(err, &api.NoUser) || client.Is(err, &api.Deactivated) {
		return nil // somebody removed or deactivated the user
	}
	return err
}
