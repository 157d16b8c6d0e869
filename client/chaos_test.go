package client

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/api"
)

// A simulatedServer keeps to the protocol: it has users u0… with revisions and serves
// one connection.
type simulatedServer struct {
	mu       sync.Mutex
	clock    uint64
	revision map[string]uint64
	ws       *socket
	followed map[string]bool
}

func (w *simulatedServer) write(frame api.ServerFrame) {
	data, _ := json.Marshal(frame)
	_ = w.ws.ws.Write(context.Background(), websocket.MessageText, data) // the connection may be lost
}

// changeUser changes a user and notifies its followers.
func (w *simulatedServer) changeUser(user string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	w.revision[user] = w.clock
	if w.ws != nil && w.followed[user] {
		w.write(api.ServerFrame{Type: api.FramePresence, User: user, Status: api.Busy, Revision: w.clock, Cursor: strconv.FormatUint(w.clock, 10)})
	}
}

func (w *simulatedServer) serve(s *socket) {
	w.mu.Lock()
	w.ws, w.followed = s, make(map[string]bool)
	w.mu.Unlock()
	for {
		_, data, err := s.ws.Read(context.Background())
		var f api.ClientFrame
		if err != nil || json.Unmarshal(data, &f) != nil {
			return
		}
		w.answerFollow(&f)
	}
}

func (w *simulatedServer) answerFollow(f *api.ClientFrame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ws == nil {
		return // the connection was lost meanwhile
	}
	if f.Type != api.FrameFollow {
		for _, user := range f.Users {
			delete(w.followed, user)
		}
		w.write(api.ServerFrame{Type: api.FrameDone, ID: f.ID})
		return
	}
	since, _ := strconv.ParseUint(f.Cursor, 10, 64) // 0 for none
	part := api.ServerFrame{Type: api.FrameSnapshot, ID: f.ID, Partial: f.Cursor != ""}
	for i, user := range f.Users {
		w.followed[user] = true
		if r := w.revision[user]; f.Cursor == "" || r > since {
			part.Presences = append(part.Presences, api.Presence{User: user, Status: api.Busy, Revision: r})
		}
		if i == len(f.Users)/2 {
			half := part
			half.More = true
			w.write(half)
			part.Presences = nil
		}
	}
	part.Cursor = strconv.FormatUint(w.clock, 10)
	w.write(part)
}

// TestChaos: after any follows, unfollows, changes and losses of the connection, a
// stream's view of the followed users equals the server's, and revisions never
// decrease.
func TestChaos(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runChaos(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func runChaos(t *testing.T, random *rand.Rand) {
	f := newFakeServer(t)
	w := &simulatedServer{revision: make(map[string]uint64)}
	user := func() string { return fmt.Sprintf("u%02d", random.IntN(20)) }
	go func() {
		for {
			select {
			case f.handshakes <- struct{}{}:
				s := <-f.sockets
				s.send(`{"type":"hello","epoch":"e","cursor":"999999","ping_seconds":20}`)
				w.serve(s)
			case <-f.closed:
				return
			}
		}
	}()
	s := f.client(StaticToken("x")).Stream(StreamOptions{})
	stop := startStream(t, s)
	highest := make(map[string]uint64)
	go func() {
		for c := range s.View().Changes(t.Context()) {
			if c.Revision < highest[c.User] {
				t.Errorf("%s went back from %d to %d", c.User, highest[c.User], c.Revision)
			}
			highest[c.User] = c.Revision
		}
	}()
	wanted := make(map[string]bool)
	for range 300 {
		switch n := random.IntN(20); {
		case n < 8:
			w.changeUser(user())
		case n < 12:
			u := user()
			s.Follow(u)
			wanted[u] = true
		case n < 15:
			u := user()
			s.Unfollow(u)
			delete(wanted, u)
		case n < 16:
			w.mu.Lock()
			if w.ws != nil {
				_ = w.ws.ws.CloseNow()
				close(w.ws.done)
				w.ws = nil
			}
			w.mu.Unlock()
		case n < 18:
			synctest.Wait()
		default:
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
	}
	time.Sleep(2 * time.Minute)
	var got, want []string
	for _, p := range s.View().All() {
		got = append(got, fmt.Sprint(p.User, "@", p.Revision))
	}
	for u := range wanted {
		want = append(want, fmt.Sprint(u, "@", w.revision[u]))
	}
	slices.Sort(want)
	if !slices.Equal(got, want) || !s.View().Complete() {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	_ = stop()
	if w.ws != nil {
		close(w.ws.done)
	}
}
