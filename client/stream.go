package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"porchlight.dev/porchlight/api"
)

// StreamOptions configure a stream.
type StreamOptions struct {
	Users    []string // users to follow: ids, e-mail addresses or "me"
	Contacts bool     // also the contacts of the token's user, including those added later
	Everyone bool     // also all active users of the account, including those added later
	Groups   []string // also the active members of these groups, including those who join later

	// SignIn signs the token's user in while the stream runs. Its lease is ignored: the
	// session is bound to the connection, with a grace period of 30 seconds.
	SignIn *api.SignIn

	// AsOwner lets a stream with an account-level token, such as an app's, follow the
	// contacts of the account's owner and sign the owner in. Without it, Run refuses
	// Contacts and SignIn with such a token: ErrActsAsOwner.
	AsOwner bool

	// Run calls the functions below, one at a time. The stream waits until they return.
	// They can be nil.

	// OnState reports each new connection, each lost connection with the reason, and
	// each failed attempt, also when Run then returns.
	OnState func(State)
	// OnReplaced reports that a newer session of the same app replaced this stream's.
	// The stream continues without a session. It does not sign in again automatically,
	// because two clients would replace each other forever. See [Stream.SignInAgain].
	OnReplaced func()
	// OnWatch reports that a watch of the user fired, possibly more than once. Without
	// it, the server keeps fired watches for a stream that has it.
	OnWatch func(api.Watch)
	// OnRefused reports that some users, or with nil contacts or members, cannot be followed,
	// because they do not exist or the server refuses it. The stream continues without
	// them and does not try again.
	OnRefused func(users []string, err error)
}

// ErrActsAsOwner means that a call would act as the account's owner unintentionally.
var ErrActsAsOwner = errors.New("the access token is account-level, so Contacts and SignIn would act for the account's owner: use a user's token, or set AsOwner")

// A State is the state of the connection.
type State struct {
	Connected  bool
	Err        error         // why it is not connected
	RetryAfter time.Duration // before the next attempt; 0 means at once, with a new token
	Ended      bool          // there is no further attempt, and Run returns
}

// A Stream follows users over a WebSocket. It reconnects with backoff and jitter when
// the connection is lost, and then resumes: it follows its users from the last cursor,
// signs in with the same session, and repeats unanswered requests. It is safe for
// concurrent use.
type Stream struct {
	client *Client
	opts   StreamOptions
	random func(time.Duration) time.Duration
	view   *View
	wake   chan struct{} // there is something to send

	// Run alone uses these: whether the last call of OnState reported a connection, and
	// whether the token's user is known.
	up, named bool

	mu        sync.Mutex
	ofAccount bool // the token is account-level
	started   bool
	ended     error    // why Run has; nil while it has not
	callbacks []func() // to call without the lock

	// What is wanted, whether there is a connection or not.
	wanted   map[string]*follow // by name; lists have names too
	order    uint64
	calls    []*request
	chosen   string // the id to sign in with until the server confirms one
	session  string
	replaced bool  // by another session
	active   *bool // the last stated activity
	stated   uint64

	// What this connection knows.
	open            bool // hello was received
	epoch           string
	pinged          time.Duration // the server's ping interval
	cursor          string
	asked           uint64
	waiting         map[string]*request // for an answer, by id
	unsent          []*follow           // to be followed
	unfollowed      []*follow           // not to be followed any more
	signedIn        bool                // the sign-in was sent, at least
	confirmedActive uint64              // of stated
}

// Stream returns a stream that is not connected yet: see [Stream.Run].
func (c *Client) Stream(opts StreamOptions) *Stream {
	s := &Stream{
		client: c, opts: opts, random: uniform, wake: make(chan struct{}, 1),
		wanted: make(map[string]*follow), waiting: make(map[string]*request),
	}
	s.view = newView(&s.mu)
	if opts.SignIn != nil {
		s.chosen, s.active = rand.Text(), opts.SignIn.Active
	}
	if opts.Contacts {
		s.want(theContacts)
	}
	if opts.Everyone {
		s.want(theEveryone)
	}
	for _, group := range opts.Groups {
		s.want(groupPrefix + group)
	}
	s.Follow(opts.Users...)
	return s
}

// View returns the stream's view, which may be read before and after Run too.
func (s *Stream) View() *View { return s.view }

// Session returns the id of the session, or "" before the first sign-in.
func (s *Stream) Session() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

// Follow adds users. A stream follows at most api.MaxFollowed.
func (s *Stream) Follow(users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, user := range users {
		if !isList(user) {
			s.want(user)
		}
	}
	notify(s.wake)
}

// Unfollow removes users, by the names that they were followed by. They leave the view
// at once, except those that are followed for another reason.
func (s *Stream) Unfollow(users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, user := range users {
		if !isList(user) {
			s.unwant(user)
		}
	}
	notify(s.wake)
}

// FollowContacts adds or removes the contacts of the token's user.
func (s *Stream) FollowContacts(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && s.ofAccount && s.opts.OnRefused != nil:
		s.callbacks = append(s.callbacks, func() { s.opts.OnRefused(nil, ErrActsAsOwner) })
	case on && !s.ofAccount:
		s.want(theContacts)
	case !on:
		s.unwant(theContacts)
	}
	notify(s.wake)
}

// FollowEveryone adds or removes all active users of the account.
func (s *Stream) FollowEveryone(on bool) { s.followList(theEveryone, on) }

// FollowGroup adds or removes the active members of a group.
func (s *Stream) FollowGroup(group string, on bool) { s.followList(groupPrefix+group, on) }

func (s *Stream) followList(name string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.want(name)
	} else {
		s.unwant(name)
	}
	notify(s.wake)
}

// SignInAgain starts a new session after StreamOptions.OnReplaced, at the user's
// request.
func (s *Stream) SignInAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced {
		s.chosen, s.session, s.replaced, s.signedIn = rand.Text(), "", false, false
		notify(s.wake)
	}
}

// SetActive reports that the user has become active or idle. It has no effect without
// StreamOptions.SignIn.
func (s *Stream) SetActive(active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = &active
	s.stated++
	notify(s.wake)
}

// Claim makes a claim for the token's user, like [Client.SetClaim], and waits until
// the server has confirmed it, across connections, or until ctx ends. If ctx ends after
// the claim was sent, it may or may not have been made. A duration starts when the
// server receives the claim.
func (s *Stream) Claim(ctx context.Context, id string, claim api.SetClaim) error {
	return s.call(ctx, api.ClientFrame{
		Type: api.FrameClaim, Claim: id, Source: claim.Source, Status: claim.Status, Note: claim.Note,
		Since: claim.Since, Until: claim.Until, DurationSeconds: claim.DurationSeconds,
	})
}

// EndClaim withdraws a claim, and waits like Claim. It is no error if the claim no
// longer exists.
func (s *Stream) EndClaim(ctx context.Context, id string) error {
	return s.call(ctx, api.ClientFrame{Type: api.FrameEndClaim, Claim: id})
}

// Run connects and stays connected. It returns ctx's error when ctx ends, after signing
// out. It also returns when reconnecting is pointless, because the token was refused
// and cannot be renewed, or because the server refuses the stream. Run can be called
// only once.
func (s *Stream) Run(ctx context.Context) error {
	if !s.start() {
		return errors.New("Run was already called: create a new stream")
	}
	err := s.stay(ctx)
	s.lost(State{Err: err, Ended: true})
	s.end(err)
	return err
}

func (s *Stream) start() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := !s.started
	s.started = true
	return fresh
}

// stay is Run without its ends.
func (s *Stream) stay(ctx context.Context) error {
	wait := backoff{random: s.random}
	fresh := false // the token is new, and was not taken yet
	for {
		token, lasted, err := s.connection(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if lasted >= proven {
			wait.failures = 0
		}
		if lasted >= taken {
			fresh = false
		}
		if isRefused(err) && !fresh {
			var failed error
			if _, fresh, failed = renewed(ctx, s.client.tokens, token); fresh {
				s.lost(State{Err: err})
				continue
			}
			if failed != nil {
				err = failed
			}
		}
		asked, again := shouldReconnect(err)
		if !again {
			return err
		}
		pause := wait.next(asked)
		s.state(State{Err: err, RetryAfter: pause})
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// isRefused reports whether the server has refused the token.
func isRefused(err error) bool {
	closed, ok := errors.AsType[*ClosedError](err)
	return isUnauthorized(err) || (ok && closed.Code == api.CloseUnauthorized)
}

// shouldReconnect reports whether a stream reconnects after an error, and how long the server
// asks it to wait. It covers more errors than Retry, because everything that a stream
// repeats is idempotent.
func shouldReconnect(err error) (wait time.Duration, ok bool) {
	if wait, ok = Retry(err); ok {
		return wait, true
	}
	if _, lost := errors.AsType[*TransportError](err); lost {
		return 0, true // also a timeout
	}
	refused, ok := errors.AsType[*Error](err)
	return 0, ok && refused.Status >= 500
}

// end releases all waiting callers.
func (s *Stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = fmt.Errorf("the stream has ended: %w", err)
	for _, r := range s.calls {
		r.answer <- s.ended
	}
	s.calls = nil
	close(s.view.ended)
}

// call sends a frame and waits for its answer.
func (s *Stream) call(ctx context.Context, frame api.ClientFrame) error {
	r := &request{frame: frame, answer: make(chan error, 1)}
	if err := s.queue(r); err != nil {
		return err
	}
	notify(s.wake)
	select {
	case err := <-r.answer:
		return err
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answered(r)
		return ctx.Err()
	}
}

func (s *Stream) queue(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.calls = append(s.calls, r)
	}
	return s.ended
}

// lost reports that the connection was lost, if there was one.
func (s *Stream) lost(state State) {
	if s.up {
		s.state(state)
	}
}

// state calls OnState. The lock must not be held.
func (s *Stream) state(state State) {
	s.up = state.Connected
	if s.opts.OnState != nil {
		s.opts.OnState(state)
	}
}
