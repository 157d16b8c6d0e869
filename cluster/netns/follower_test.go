package netns_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/cluster/check"
)

// A follower follows all users over streams, with the cursor of the last frame, and moves to
// another node every few seconds and when its connection fails.
type follower struct {
	*workload
	mu     sync.Mutex // guards the fields below
	stream check.Stream
	cursor string
	newest map[string]uint64               // revision by user
	at     map[string]map[uint64]time.Time // when each revision of a user was received first
	moves  int
}

func (l *workload) startFollowers() {
	for i := range followers {
		f := &follower{workload: l, stream: check.Stream{Name: fmt.Sprint("follower", i)}, newest: make(map[string]uint64), at: make(map[string]map[uint64]time.Time)}
		l.follow = append(l.follow, f)
		l.streams.Go(func() {
			for at := i; l.reading.Err() == nil; at++ {
				f.connect(l.nodes[at%3], 2*time.Second+rand.N(2*time.Second))
			}
		})
	}
	waitFor(l, "snapshots", func() bool {
		for _, f := range l.follow {
			if !f.has(map[string]uint64{}) {
				return false
			}
		}
		return true
	})
}

// connect follows over one connection for a while, or until it fails.
func (f *follower) connect(n *node, while time.Duration) {
	ctx, cancel := context.WithTimeout(f.reading, while)
	defer cancel()
	conn, err := dialStream(ctx, n, "?"+f.query(), f.token)
	if err != nil {
		f.pauseReading(100 * time.Millisecond)
		return
	}
	defer func() { _ = conn.CloseNow() }()
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			f.pauseReading(20 * time.Millisecond)
			return
		}
		f.receive(text)
	}
}

func (f *follower) pauseReading(d time.Duration) {
	select {
	case <-time.After(d):
	case <-f.reading.Done():
	}
}

func (f *follower) query() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moves++
	var users []string
	for _, id := range f.users {
		users = append(users, id)
	}
	q := url.Values{"users": {strings.Join(users, ",")}}
	if f.cursor != "" {
		q.Set("cursor", f.cursor)
	}
	return q.Encode()
}

func (f *follower) receive(text []byte) {
	var frame api.ServerFrame
	if err := json.Unmarshal(text, &frame); err != nil {
		f.Error(err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch frame.Type {
	case api.FrameSnapshot:
		for i := range frame.Presences {
			f.add(&frame.Presences[i])
		}
	case api.FramePresence:
		f.add(&api.Presence{User: frame.User, Status: frame.Status, Note: frame.Note, Revision: frame.Revision})
	case api.FrameReset:
		f.stream.Resets++
	case api.FrameError:
		if frame.Code != "unavailable" {
			f.Errorf("%s: %s", f.stream.Name, text)
		}
	}
	if frame.Cursor != "" {
		f.cursor = frame.Cursor
	}
}

func (f *follower) add(p *api.Presence) {
	f.stream.Events = append(f.stream.Events, check.Entry{User: p.User, Revision: p.Revision, Status: string(p.Status), Note: p.Note})
	if f.at[p.User] == nil {
		f.at[p.User] = make(map[uint64]time.Time)
	}
	if _, again := f.at[p.User][p.Revision]; !again {
		f.at[p.User][p.Revision] = time.Now()
	}
	f.newest[p.User] = max(f.newest[p.User], p.Revision)
}

// has reports whether the follower has a cursor, and has received these revisions.
func (f *follower) has(settled map[string]uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for user, revision := range settled {
		if f.newest[user] < revision {
			return false
		}
	}
	return f.cursor != ""
}

// within reports whether the follower has received nothing newer than these revisions.
func (f *follower) within(newest map[string]uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for user, revision := range f.newest {
		if revision > newest[user] {
			return false
		}
	}
	return true
}
