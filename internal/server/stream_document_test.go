package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/server"
)

// A reader follows users and contacts exactly as docs/streaming.md describes, and knows
// nothing else of the server. The test cuts its connections at arbitrary points.
type reader struct {
	url, token string
	http       *http.Client
	users      []string
	random     *rand.Rand

	cursor  string
	covered map[string]bool // users, and theContacts
	known   map[string]api.Presence
}

const theContacts = "contacts"

// applyFrame applies a frame: the answer to a follow of names, or a change.
func (d *reader) applyFrame(f *api.ServerFrame, names []string) {
	switch f.Type {
	case api.FrameReset:
		d.drop(names)
	case api.FrameSnapshot:
		if f.ID != "" && !f.Partial { // it replaces their presences
			d.drop(names)
		}
		for _, p := range f.Presences {
			d.applyPresence(p)
		}
		for _, id := range append(f.Gone, f.Unknown...) {
			delete(d.known, id)
		}
	case api.FramePresence:
		d.applyPresence(api.Presence{User: f.User, Status: f.Status, Note: f.Note, Since: f.Since, Until: f.Until, Revision: f.Revision})
	case api.FrameGone:
		delete(d.known, f.User)
	}
}

func (d *reader) applyPresence(p api.Presence) {
	if p.Revision >= d.known[p.User].Revision {
		p.AskedAs, p.Cursor = "", ""
		d.known[p.User] = p
	}
}

// drop removes the presences of names, or of the contacts, which are all users who are
// not followed by name.
func (d *reader) drop(names []string) {
	for _, name := range names {
		if name != theContacts {
			delete(d.known, name)
			continue
		}
		maps.DeleteFunc(d.known, func(id string, _ api.Presence) bool { return !slices.Contains(d.users, id) })
	}
}

// followed returns all users that the reader follows, and theContacts.
func (d *reader) followed() []string { return append(slices.Clone(d.users), theContacts) }

func (d *reader) setCovered(names []string) {
	d.covered = make(map[string]bool)
	for _, name := range names {
		d.covered[name] = true
	}
}

// query follows all in one request. It has the cursor only if the cursor covers all.
func (d *reader) query() url.Values {
	q := url.Values{"users": {strings.Join(d.users, ",")}, "contacts": {"true"}}
	if d.cursor != "" && len(d.covered) == len(d.followed()) {
		q.Set("cursor", d.cursor)
	}
	return q
}

// followFrames returns the first frames of a connection: users with the cursor that
// covers them, and others without one, in several frames.
func (d *reader) followFrames() (frames []api.ClientFrame, names map[string][]string) {
	names = make(map[string][]string)
	add := func(f api.ClientFrame, of ...string) {
		f.Type, f.ID = api.FrameFollow, fmt.Sprint(len(frames))
		names[f.ID] = of
		if d.covered[of[0]] {
			f.Cursor = d.cursor
		}
		frames = append(frames, f)
	}
	for _, covered := range []bool{true, false} {
		users := slices.DeleteFunc(slices.Clone(d.users), func(id string) bool { return d.covered[id] != covered })
		for part := range slices.Chunk(users, 2) {
			add(api.ClientFrame{Users: part}, part...)
		}
	}
	add(api.ClientFrame{Contacts: true}, theContacts)
	return frames, names
}

// overWebSocket follows until it has received cutAfter frames.
func (d *reader) overWebSocket(ctx context.Context, cutAfter int) error {
	conn, _, err := websocket.Dial(ctx, d.url+"/v1/stream", &websocket.DialOptions{HTTPClient: d.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + d.token}}})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	frames, names := d.followFrames()
	sent, answered := 0, make(map[string]bool)
	for range cutAfter {
		for sent < len(frames) && d.random.IntN(3) > 0 {
			text, err := json.Marshal(&frames[sent])
			if err != nil {
				return err
			}
			if err := conn.Write(ctx, websocket.MessageText, text); err != nil {
				return err
			}
			sent++
		}
		if sent < len(frames) && len(answered) == sent {
			continue // no answer is pending
		}
		var f api.ServerFrame
		_, text, err := conn.Read(ctx)
		if err == nil {
			err = json.Unmarshal(text, &f)
		}
		if err != nil {
			return err
		}
		d.applyFrame(&f, names[f.ID])
		if f.Type == api.FrameSnapshot && f.ID != "" && !f.More {
			answered[f.ID] = true
		}
		// The documented rule: a cursor is valid once all follows are answered, and
		// covers those who are followed at that time.
		if f.Cursor != "" && len(answered) == sent && sent == len(frames) {
			d.cursor = f.Cursor
			d.setCovered(d.followed())
		}
	}
	return nil
}

// overEvents follows until it has received cutAfter events.
func (d *reader) overEvents(ctx context.Context, cutAfter int) error {
	resp, err := d.get(ctx, "/v1/stream?"+d.query().Encode())
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	for range cutAfter {
		var f api.ServerFrame
		id := ""
		for f.Type == "" {
			line, err := lines.ReadString('\n')
			if err != nil {
				return err
			}
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch name {
			case "id":
				id = value
			case "data":
				if err := json.Unmarshal([]byte(value), &f); err != nil {
					return err
				}
			}
		}
		d.applyFrame(&f, d.followed())
		if id != "" {
			d.cursor = id
			d.setCovered(d.followed())
		}
	}
	return nil
}

func (d *reader) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	resp, err := d.http.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return resp, err
}

// overPoll polls the given number of times.
func (d *reader) overPoll(ctx context.Context, times int) error {
	for range times {
		q := d.query()
		q.Set("wait", fmt.Sprint(d.random.IntN(2)))
		resp, err := d.get(ctx, "/v1/presence/changes?"+q.Encode())
		if err != nil {
			return err
		}
		var c api.Changes
		err = json.NewDecoder(resp.Body).Decode(&c)
		_ = resp.Body.Close()
		if err != nil {
			return err
		}
		if c.Reset || q.Get("cursor") == "" {
			d.drop(d.followed())
		}
		d.applyFrame(&api.ServerFrame{Type: api.FrameSnapshot, Presences: c.Presences, Gone: c.Gone, Unknown: c.Unknown}, d.followed())
		d.cursor = c.Cursor
		d.setCovered(d.followed())
	}
	return nil
}

// difference compares the reader's state with the results of GET. It returns "" if they
// are equal.
func (d *reader) difference(ctx context.Context, asker *client.Client) string {
	want := make(map[string]bool)
	for _, id := range d.users {
		want[id] = true
	}
	for c, err := range asker.Contacts(ctx, "me") {
		if err != nil {
			return err.Error()
		}
		want[c.User] = true
	}
	for id := range want {
		p, err := asker.Presence(ctx, id)
		if client.Is(err, &api.NoUser) {
			delete(want, id)
			continue
		}
		if err != nil {
			return err.Error()
		}
		has, ok := d.known[id]
		p.Cursor = ""
		if !ok || fmt.Sprint(has) != fmt.Sprint(p) {
			return fmt.Sprintf("GET returns %+v, the reader has %+v", p, has)
		}
	}
	for id := range d.known {
		if !want[id] {
			return "the reader still has " + id
		}
	}
	return ""
}

// TestDocumentedClientConverges: a client that follows docs/streaming.md, and whose
// connections are cut at arbitrary points on any route, ends with the state that GET
// returns, although users are deleted, hidden, added to the contacts and removed from
// them.
func TestDocumentedClientConverges(t *testing.T) {
	rounds := leveltest.Count(t, "connections of each reader that are cut", 40, 80, 1600)
	r := start(t, settings(t), server.Options{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &changer{running: r, random: rand.New(rand.NewPCG(seed, 1)), users: r.createUsers(t, 12)}
	secret := r.createToken(t, r.made.OwnerID, "presence:read", "contact:read", "contact:write").Secret
	var err error
	if w.ada, err = client.New(r.URL(), client.StaticToken(secret), r.http); err != nil {
		t.Fatal(err)
	}
	readers := make([]*reader, 3)
	for i := range readers {
		readers[i] = &reader{
			url: r.URL(), token: secret, http: r.http, users: w.users[:5], random: rand.New(rand.NewPCG(seed, uint64(i))),
			covered: make(map[string]bool), known: make(map[string]api.Presence),
		}
	}
	for range rounds {
		for _, d := range readers {
			for range w.random.IntN(4) {
				w.change(t)
			}
			d.connect(t, w)
		}
	}
	for i, d := range readers {
		var late string
		for range 3 { // the snapshot has the remaining changes
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			if err := d.overPoll(ctx, 1); err != nil {
				t.Error(err)
			}
			late = d.difference(ctx, w.ada)
			stop()
			if late == "" {
				break
			}
		}
		if late != "" {
			t.Errorf("reader %d: %s", i, late)
		}
	}
}

// connect follows over a random route until the connection is cut, and makes changes
// during that time.
func (d *reader) connect(t *testing.T, w *changer) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 80*time.Millisecond)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cut := d.random.IntN(12)
		var err error
		switch route(d.random.IntN(int(routes))) {
		case overWebSocket:
			err = d.overWebSocket(ctx, 2*cut)
		case overEvents:
			err = d.overEvents(ctx, cut)
		default:
			err = d.overPoll(ctx, cut/4)
		}
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()
	for range w.random.IntN(4) {
		w.change(t)
	}
	<-ended
}

// A changer makes all kinds of changes that a reader can receive.
type changer struct {
	*running

	ada    *client.Client
	random *rand.Rand
	users  []string // the first ones are followed by name, the others may be contacts
	more   int      // number of additional users
}

func (w *changer) change(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	at := w.random.IntN(len(w.users))
	id := w.users[at]
	var err error
	switch w.random.IntN(9) {
	case 0:
		visibilityLevels := []api.VisibilityLevel{api.VisibilityAll, api.VisibilityStatus, api.VisibilityOffline}
		rules := api.Visibility{Everyone: visibilityLevels[w.random.IntN(3)], Groups: map[string]api.VisibilityLevel{}, Watchers: map[string]api.VisibilityLevel{}}
		if watcher := w.ruleTarget(); watcher != id && w.random.IntN(2) == 0 {
			rules.Watchers[watcher] = visibilityLevels[w.random.IntN(3)]
		}
		_, err = w.client.SetVisibility(ctx, id, rules)
	case 1, 2:
		_, err = w.ada.SetContact(ctx, "me", w.users[5+w.random.IntN(len(w.users)-5)], api.SetContact{})
	case 3:
		err = w.ada.RemoveContact(ctx, "me", w.users[5+w.random.IntN(len(w.users)-5)])
	case 4:
		if at == 0 || at > 6 { // another user replaces a contact
			err = w.client.DeleteUser(ctx, id)
			if at > 0 && err == nil {
				var u api.User
				w.more++
				u, err = w.client.CreateUser(ctx, api.CreateUser{Email: fmt.Sprintf("more%d@example.com", w.more)})
				w.users[at] = u.ID
			}
		}
	case 5:
		_, err = w.client.SetClaim(ctx, id, "manual", api.SetClaim{Source: "manual", Status: []api.Status{api.Busy, api.Away}[w.random.IntN(2)]})
	default:
		_, err = w.client.SetNote(ctx, id, api.SetNote{Text: fmt.Sprint(w.random.IntN(1000))})
	}
	if err != nil && !client.Is(err, &api.NoUser) && !client.Is(err, &api.NoContact) {
		t.Errorf("change: %v", err)
	}
}

// ruleTarget returns a user whom a rule may name: the reader or another user.
func (w *changer) ruleTarget() string {
	if w.random.IntN(2) == 0 {
		return w.made.OwnerID
	}
	return w.users[1]
}
