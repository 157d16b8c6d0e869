package netns_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/cluster/check"
)

// people is how many users have sessions that connections hold: some move to another node
// when theirs fails, some stay with it, and some have two devices on two nodes, which stay.
const (
	people      = 18
	answersSoon = 5 * time.Second // a connection that does not answer for this long is given up
	pingEvery   = time.Second
)

// A person has one or two devices.
type person struct {
	name    string
	user    string
	moves   bool
	homes   []int // nodes
	devices []*device
}

// A device holds a session with a connection.
type device struct {
	*workload
	person *person
	number int
	token  string

	mu        sync.Mutex // guards the fields below
	session   check.Session
	connected bool
	binds     int
}

// startPeople signs the people in.
func (l *workload) startPeople() {
	l.Helper()
	for i := range people {
		name := fmt.Sprint("person", i)
		p := &person{name: name, user: l.users[name], moves: i/3%3 == 0, homes: []int{i % 3}}
		if i/3%3 == 2 {
			p.homes = append(p.homes, (i+1)%3)
		}
		var made api.Token
		l.retry("create a token", func() (err error) {
			made, err = l.nodes[0].client.CreateToken(l.Context(), api.CreateToken{User: p.user, Name: name, Scopes: []string{"presence:read", "session:write"}})
			return err
		})
		for n := range p.homes {
			d := &device{workload: l, person: p, number: n, token: made.Secret, session: check.Session{User: p.user}}
			p.devices = append(p.devices, d)
			l.streams.Go(d.stay)
		}
		l.people = append(l.people, p)
	}
	waitFor(l, "everybody to be signed in", func() bool {
		for _, p := range l.people {
			for _, d := range p.devices {
				if !d.isConnected() {
					return false
				}
			}
		}
		return true
	})
}

func (d *device) isConnected() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.connected
}

// stay connects, and connects again, until the end of the test.
func (d *device) stay() {
	for at := d.person.homes[d.number]; d.reading.Err() == nil; {
		d.connect(d.nodes[at])
		d.mu.Lock()
		d.connected = false
		d.mu.Unlock()
		if d.person.moves {
			at = (at + 1) % 3
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-d.reading.Done():
		}
	}
}

// connect connects to a node and signs in, until the connection ends or does not answer.
func (d *device) connect(n *node) {
	ctx, cancel := context.WithCancel(d.reading)
	defer cancel()
	conn, err := dialStream(ctx, n, "", d.token)
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	d.mu.Lock()
	kind := []string{"desktop", "mobile"}[d.number]
	ask, err := json.Marshal(api.ClientFrame{Type: api.FrameSignIn, ID: "1", ClientType: kind, Session: d.session.ID})
	d.mu.Unlock()
	if err != nil {
		d.Error(err)
		return
	}
	if err := conn.Write(ctx, websocket.MessageText, ask); err != nil {
		return
	}
	signedIn := make(chan struct{})
	d.streams.Go(func() {
		defer cancel()
		d.read(ctx, conn, signedIn)
	})
	select {
	case <-signedIn:
	case <-time.After(answersSoon):
		return
	case <-ctx.Done():
		return
	}
	for d.ping(ctx, conn) {
		select {
		case <-time.After(pingEvery):
		case <-ctx.Done():
			return
		}
	}
}

// ping notes until when the node has answered.
func (d *device) ping(ctx context.Context, conn *websocket.Conn) bool {
	soon, cancel := context.WithTimeout(ctx, answersSoon)
	defer cancel()
	if err := conn.Ping(soon); err != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session.Bound[len(d.session.Bound)-1].To = time.Now()
	return true
}

// read reads frames until the connection ends.
func (d *device) read(ctx context.Context, conn *websocket.Conn, signedIn chan<- struct{}) {
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			return
		}
		var f api.ServerFrame
		if err := json.Unmarshal(text, &f); err != nil {
			d.Error(err)
			return
		}
		switch f.Type {
		case api.FrameDone:
			d.mu.Lock()
			now := time.Now()
			d.session.ID, d.connected = f.Session, true
			d.session.Bound = append(d.session.Bound, check.Span{From: now, To: now})
			d.binds++
			d.mu.Unlock()
			close(signedIn)
		case api.FrameError:
			return // the store is not available; the next attempt follows
		}
	}
}

// dialStream opens a stream.
func dialStream(ctx context.Context, n *node, query, token string) (*websocket.Conn, error) {
	soon, cancel := context.WithTimeout(ctx, answersSoon)
	defer cancel()
	conn, resp, err := websocket.Dial(soon, n.url()+"/v1/stream"+query, &websocket.DialOptions{
		HTTPClient: n.http, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil && resp != nil && resp.StatusCode != http.StatusServiceUnavailable {
		err = errors.Join(err, fmt.Errorf("status %d", resp.StatusCode))
	}
	if err == nil {
		conn.SetReadLimit(4 << 20)
	}
	return conn, err
}
