package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A caller calls the API of a server.
type caller struct {
	url, token  string
	credentials struct {
		Account string `json:"account_id"`
		Client  string `json:"client_id"`
		Secret  string `json:"client_secret"`
	}
}

// initialise creates the account of a server that does not run yet.
func initialise(t *testing.T, s *service, binary string) *caller {
	t.Helper()
	c := new(caller)
	output, err := s.other(t, binary, "init", "--json")
	if err == nil {
		err = json.Unmarshal(output, &c.credentials)
	}
	if err != nil {
		t.Fatalf("init: %v\n%s", err, output)
	}
	for _, variable := range s.env {
		if address, ok := strings.CutPrefix(variable, "PORCHLIGHT_LISTEN="); ok {
			c.url = "http://" + address
		}
	}
	return c
}

// patience is how long a client waits for an answer.
const patience = time.Minute

// call sends a request, and decodes the answer into result.
func (c *caller) call(ctx context.Context, method, path string, body, result any) error {
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+c.token)
	if c.token == "" {
		r.SetBasicAuth(c.credentials.Client, c.credentials.Secret)
	}
	resp, err := new(http.Client).Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return &refusal{resp.StatusCode, string(text)}
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(text, result)
}

// A refusal is an answer that is not a success.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.text) }

// addUser creates a user, with the first call of all, which gets a token.
func (c *caller) addUser(t *testing.T, n int) (id string) {
	t.Helper()
	if c.token == "" {
		var granted struct {
			Token string `json:"access_token"`
		}
		if err := c.call(t.Context(), http.MethodPost, "/oauth/token?grant_type=account_credentials&account_id="+c.credentials.Account, nil, &granted); err != nil {
			t.Fatal(err)
		}
		c.token = granted.Token
	}
	var made struct{ ID string }
	err := c.call(t.Context(), http.MethodPost, "/v1/users", map[string]string{"email": fmt.Sprintf("user%d@example.com", n), "display_name": "User"}, &made)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

func (c *caller) putNote(ctx context.Context, user, text string) error {
	return c.call(ctx, http.MethodPut, "/v1/users/"+user+"/note", map[string]string{"text": text}, nil)
}

func (c *caller) note(ctx context.Context, user string) (int, error) {
	var p struct {
		Note string `json:"note"`
	}
	if err := c.call(ctx, http.MethodGet, "/v1/users/"+user+"/presence", nil, &p); err != nil {
		return 0, err
	}
	return strconv.Atoi(p.Note)
}

// A load measures what one client experienced.
type load struct {
	sent, acknowledged, answers int
	gap                         time.Duration // the longest time without a success
	worst                       time.Duration // the longest that a successful request took
	unexpected                  error
}

// run calls do over and over, at once again after an error, until stop is closed and the
// last call succeeded: so a gap has an end.
func (l *load) run(stop <-chan struct{}, do func() error) {
	last := time.Now()
	for {
		began := time.Now()
		err := do()
		if err == nil {
			l.answers++
			l.gap, l.worst = max(l.gap, time.Since(last)), max(l.worst, time.Since(began))
			last = time.Now()
			select {
			case <-stop:
				return
			default:
				continue
			}
		}
		if answer, refused := errors.AsType[*refusal](err); refused && answer.status != http.StatusServiceUnavailable {
			l.unexpected = err
			return
		}
		<-time.After(time.Millisecond) // between attempts, which the server refuses
	}
}

const clients = 8 // of each kind

// maxGap is how long an upgrade may keep a client waiting. It takes a fraction of a second;
// the rest is for a busy machine. A request that nobody answers takes longer: see patience.
const maxGap = 45 * time.Second

// upgradeUnderLoad starts the installed server, upgrades the package, and restarts the
// server as the package does, while clients change notes and read them. There is no systemd
// here: the test itself runs the command of the unit, and stops it with SIGTERM, once dpkg
// has ended. TestPostinst checks that the package asks for that restart. The settings of
// TestDeb shorten drain-delay, in which the old server still answers, to 100 ms.
func upgradeUnderLoad(t *testing.T, m *machine, upgrade func()) {
	s := m.unitService(t)
	c := initialise(t, s, m.path(packagedBinary))
	t.Logf("start to ready: %v", s.start(t))
	ctx, finish := t.Context(), make(chan struct{})
	var users [clients]string
	for i := range users {
		users[i] = c.addUser(t, i)
		if err := c.putNote(ctx, users[i], "0"); err != nil {
			t.Fatal(err)
		}
	}
	var writers, readers [clients]load
	var all sync.WaitGroup
	for i, user := range users {
		w, r := &writers[i], &readers[i]
		all.Go(func() {
			w.run(finish, func() error {
				w.sent++
				err := c.putNote(ctx, user, strconv.Itoa(w.sent))
				if err == nil {
					w.acknowledged = w.sent
				}
				return err
			})
		})
		all.Go(func() {
			seen := 0
			r.run(finish, func() error {
				n, err := c.note(ctx, user)
				if err == nil && n < seen {
					r.unexpected = fmt.Errorf("note %d after %d was read", n, seen)
				}
				seen = max(seen, n)
				return err
			})
		})
	}
	upgrade()
	s.stop(t)
	t.Logf("start to ready after the upgrade: %v", s.start(t))
	close(finish)
	all.Wait()
	var gap, worst time.Duration
	answers := 0
	for i := range users {
		for _, l := range []*load{&writers[i], &readers[i]} {
			if l.unexpected != nil {
				t.Errorf("user %d: %v", i, l.unexpected)
			}
			gap, worst, answers = max(gap, l.gap), max(worst, l.worst), answers+l.answers
		}
		w := &writers[i]
		n, err := c.note(t.Context(), users[i])
		if err != nil || n < w.acknowledged || n > w.sent {
			t.Errorf("user %d: the note is %d, %v; %d was acknowledged, %d were sent", i, n, err, w.acknowledged, w.sent)
		}
	}
	t.Logf("upgrade under load: %d answers, longest gap of a client %v, longest request %v", answers, gap.Round(time.Millisecond), worst.Round(time.Millisecond))
	if gap > maxGap {
		t.Errorf("a client had no answer for %v, more than %v", gap, maxGap)
	}
	if version, err := s.other(t, m.path(packagedBinary), "version"); err != nil || string(version) != "porchlight "+fixture.newer+"\n" {
		t.Errorf("version %q, %v", version, err)
	}
	s.stop(t)
	if _, err := os.Stat(m.path("var/lib/porchlight")); err != nil {
		t.Error(err)
	}
}
