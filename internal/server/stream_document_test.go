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
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/server"
)

// A reader follows users and contacts exactly as docs/streaming.md says, and knows
// nothing else of the server. It is cut wherever its test wants.
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

// take applies a frame that answers a follow of names, or that is about a change.
func (d *reader) take(f *api.ServerFrame, names []string) {
	switch f.Type {
	case api.FrameReset:
		d.forget(names)
	case api.FrameSnapshot:
		if f.ID != "" && !f.Partial { // it replaces what is known of them
			d.forget(names)
		}
		for _, p := range f.Presences {
			d.learn(p)
		}
		for _, id := range append(f.Gone, f.Unknown...) {
			delete(d.known, id)
		}
	case api.FramePresence:
		d.learn(api.Presence{User: f.User, Status: f.Status, Note: f.Note, Since: f.Since, Until: f.Until, Revision: f.Revision})
	case api.FrameGone:
		delete(d.known, f.User)
	}
}

func (d *reader) learn(p api.Presence) {
	if p.Revision >= d.known[p.User].Revision {
		p.AskedAs, p.Cursor = "", ""
		d.known[p.User] = p
	}
}

// forget drops what is known of users that were named, or of the contacts, which are
// all others.
func (d *reader) forget(names []string) {
	for _, name := range names {
		if name != theContacts {
			delete(d.known, name)
			continue
		}
		maps.DeleteFunc(d.known, func(id string, _ api.Presence) bool { return !slices.Contains(d.users, id) })
	}
}

// all is whom it follows.
func (d *reader) all() []string { return append(slices.Clone(d.users), theContacts) }

func (d *reader) cover(names []string) {
	d.covered = make(map[string]bool)
	for _, name := range names {
		d.covered[name] = true
	}
}

// query asks for all at once: with the cursor only if it covers all.
func (d *reader) query() url.Values {
	q := url.Values{"users": {strings.Join(d.users, ",")}, "contacts": {"true"}}
	if d.cursor != "" && len(d.covered) == len(d.all()) {
		q.Set("cursor", d.cursor)
	}
	return q
}

// follows are the frames that a connection begins with: users with the cursor that
// covers them, and others without one, in several frames.
func (d *reader) follows() (frames []api.ClientFrame, names map[string][]string) {
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

// overWebSocket follows until it was given so many frames.
func (d *reader) overWebSocket(ctx context.Context, cutAfter int) error {
	conn, _, err := websocket.Dial(ctx, d.url+"/v1/stream", &websocket.DialOptions{HTTPClient: d.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + d.token}}})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	frames, names := d.follows()
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
			continue // it would wait for nothing
		}
		var f api.ServerFrame
		_, text, err := conn.Read(ctx)
		if err == nil {
			err = json.Unmarshal(text, &f)
		}
		if err != nil {
			return err
		}
		d.take(&f, names[f.ID])
		if f.Type == api.FrameSnapshot && f.ID != "" && !f.More {
			answered[f.ID] = true
		}
		// The rule: a cursor counts when all follows are answered, and covers those who
		// are followed then.
		if f.Cursor != "" && len(answered) == sent && sent == len(frames) {
			d.cursor = f.Cursor
			d.cover(d.all())
		}
	}
	return nil
}

// overEvents follows until it was given so many events.
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
		d.take(&f, d.all())
		if id != "" {
			d.cursor = id
			d.cover(d.all())
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

// overPoll asks so often.
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
			d.forget(d.all())
		}
		d.take(&api.ServerFrame{Type: api.FrameSnapshot, Presences: c.Presences, Gone: c.Gone, Unknown: c.Unknown}, d.all())
		d.cursor = c.Cursor
		d.cover(d.all())
	}
	return nil
}

// behind is how what it knows differs from what GET says, "" for not at all.
func (d *reader) behind(ctx context.Context, asker *client.Client) string {
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
			return fmt.Sprintf("GET has %+v, the reader %+v", p, has)
		}
	}
	for id := range d.known {
		if !want[id] {
			return "the reader still has " + id
		}
	}
	return ""
}

// TestAClientByTheDocument: a client that does what docs/streaming.md says, and is cut
// wherever, has in the end what GET says: whatever was deleted, hidden, added to the
// contacts or removed from them meanwhile, on any route.
func TestAClientByTheDocument(t *testing.T) {
	rounds := 80
	if os.Getenv("PORCHLIGHT_SOAK") != "" {
		rounds *= 20
	}
	r := start(t, settings(t), server.Options{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &changer{running: r, random: rand.New(rand.NewPCG(seed, 1)), users: r.users(t, 12)}
	secret := r.token(t, r.made.OwnerID, "presence:read", "contact:read", "contact:write").Secret
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
		for range 3 { // what is left comes with the snapshot
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			if err := d.overPoll(ctx, 1); err != nil {
				t.Error(err)
			}
			late = d.behind(ctx, w.ada)
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

// connect follows over a random route until it is cut, and lets something change
// meanwhile.
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

// A changer changes everything that a reader can receive.
type changer struct {
	*running

	ada    *client.Client
	random *rand.Rand
	users  []string // the first ones are followed by name, the others may be contacts
	more   int      // users that were made
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
		if watcher := w.named(); watcher != id && w.random.IntN(2) == 0 {
			rules.Watchers[watcher] = visibilityLevels[w.random.IntN(3)]
		}
		_, err = w.client.SetVisibility(ctx, id, rules)
	case 1, 2:
		_, err = w.ada.SetContact(ctx, "me", w.users[5+w.random.IntN(len(w.users)-5)], api.SetContact{})
	case 3:
		err = w.ada.RemoveContact(ctx, "me", w.users[5+w.random.IntN(len(w.users)-5)])
	case 4:
		if at == 0 || at > 6 { // somebody else takes the place of a contact
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
		t.Errorf("a change: %v", err)
	}
}

// named is somebody whom a rule may name: the reader, or a third.
func (w *changer) named() string {
	if w.random.IntN(2) == 0 {
		return w.made.OwnerID
	}
	return w.users[1]
}
