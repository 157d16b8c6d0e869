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

// StreamOptions say what a stream does from its beginning.
type StreamOptions struct {
	Users    []string // whom to follow: ids, e-mails or "me"
	Contacts bool     // and the contacts of the token's user, and whoever becomes one

	// SignIn signs the token's user in for as long as the stream runs. Its lease does
	// not count: the session lives in the connection, and for 30 seconds after it.
	SignIn *api.SignIn

	// AsOwner lets a stream with the credentials of an app, or another token of the
	// account, follow the contacts of the account's owner and sign the owner in.
	// Without it, Run refuses Contacts and SignIn with such a token: ErrActsAsOwner.
	AsOwner bool

	// What follows is called by Run, one call at a time, and holds the stream up for
	// as long as it takes. Nil: nobody wants to know.

	// OnState says that the connection was made, each time, or that it was lost, and
	// why, also when Run ends for that. It is called again for each attempt that fails.
	OnState func(State)
	// OnReplaced says that a newer session of the same app took the place of this
	// stream's. The stream goes on without one, and does not sign in by itself: two
	// clients would replace each other for ever. See [Stream.SignInAgain].
	OnReplaced func()
	// OnWatch says that a watch of the user's fired, perhaps more than once. Without
	// it the server keeps what fired for a stream that has it.
	OnWatch func(api.Watch)
	// OnRefused says that some users cannot be followed, because they do not exist or
	// the server refuses it, or with nil that the contacts cannot. The stream goes on
	// without them, and does not ask for them again.
	OnRefused func(users []string, err error)
}

// ErrActsAsOwner refuses what would silently act as the account's owner.
var ErrActsAsOwner = errors.New("the access token belongs to an app, not to a user, so Contacts and SignIn would act for the account's owner: use a user's token, or set AsOwner")

// A State of the connection.
type State struct {
	Connected bool
	Err       error         // why not
	Wait      time.Duration // before the next attempt; 0: at once, with another token
	Ended     bool          // there is no other attempt: Run ends
}

// A Stream follows users over a WebSocket. It connects again whenever the
// connection is lost, after a random wait that grows, and then goes on where it
// was: it follows whom it is to follow from the last cursor, signs in with the same
// session, and repeats what was asked for and not answered. It is safe for
// concurrent use.
type Stream struct {
	client *Client
	opts   StreamOptions
	random func(time.Duration) time.Duration
	view   *View
	wake   chan struct{} // there is something to send

	// up and named are of Run alone: whether OnState was last told of a connection,
	// and whether it is known whom the token is of.
	up, named bool

	mu        sync.Mutex
	ofAccount bool // and no user's
	started   bool
	ended     error // why Run has; nil while it has not
	tell      []func()

	// What is wanted, whether there is a connection or not.
	wanted   map[string]*follow // by name; theContacts is one
	order    uint64
	calls    []*request
	chosen   string // what the session is asked for by until the server names it
	session  string
	replaced bool  // by another session
	active   *bool // what was stated last
	stated   uint64

	// What this connection knows.
	open       bool // hello has come
	epoch      string
	pinged     time.Duration // how often the server does
	cursor     string
	asked      uint64
	waiting    map[string]*request // for an answer, by id
	unsent     []*follow           // to be followed
	unfollowed []*follow           // not to be followed any more
	signedIn   bool                // said, at least
	toldActive uint64              // of stated
}

// Stream is a stream that is not connected: see [Stream.Run].
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
	s.Follow(opts.Users...)
	return s
}

// View is what the stream knows. It may be read before Run and after it.
func (s *Stream) View() *View { return s.view }

// Session is the id of the session, "" before the first sign-in.
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
		if user != theContacts {
			s.want(user)
		}
	}
	notify(s.wake)
}

// Unfollow takes users away, by the names that they were followed by. They leave
// the view at once, but for those that are followed by another name or as
// contacts.
func (s *Stream) Unfollow(users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, user := range users {
		if user != theContacts {
			s.unwant(user)
		}
	}
	notify(s.wake)
}

// FollowContacts adds the contacts of the token's user, or takes them away.
func (s *Stream) FollowContacts(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case on && s.ofAccount && s.opts.OnRefused != nil:
		s.tell = append(s.tell, func() { s.opts.OnRefused(nil, ErrActsAsOwner) })
	case on && !s.ofAccount:
		s.want(theContacts)
	case !on:
		s.unwant(theContacts)
	}
	notify(s.wake)
}

// SignInAgain begins another session after StreamOptions.OnReplaced, for a person
// who wants that.
func (s *Stream) SignInAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replaced {
		s.chosen, s.session, s.replaced, s.signedIn = rand.Text(), "", false, false
		notify(s.wake)
	}
}

// SetActive says that the person has become active or idle. It means nothing
// without StreamOptions.SignIn.
func (s *Stream) SetActive(active bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = &active
	s.stated++
	notify(s.wake)
}

// Claim states a claim of the token's user, as [Client.SetClaim] does, and waits
// until the server has it: across connections, until ctx ends. A claim that was
// sent when ctx ends may have been carried out, or not. A duration begins when the
// server reads it.
func (s *Stream) Claim(ctx context.Context, id string, claim api.SetClaim) error {
	return s.call(ctx, api.ClientFrame{
		Type: api.FrameClaim, Claim: id, Source: claim.Source, Status: claim.Status, Note: claim.Note,
		Since: claim.Since, Until: claim.Until, DurationSeconds: claim.DurationSeconds,
	})
}

// EndClaim ends a claim, and waits as Claim does. One that is not there any more is
// no error.
func (s *Stream) EndClaim(ctx context.Context, id string) error {
	return s.call(ctx, api.ClientFrame{Type: api.FrameEndClaim, Claim: id})
}

// Run connects and stays connected until ctx ends, which signs out and is an
// error of ctx, or until there is no use in connecting again: the token was
// refused and cannot be renewed, or the server refuses the stream. A stream runs
// once.
func (s *Stream) Run(ctx context.Context) error {
	if !s.start() {
		return errors.New("the stream has run already: make another")
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
		asked, again := comesBack(err)
		if !again {
			return err
		}
		pause := wait.next(asked)
		s.state(State{Err: err, Wait: pause})
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// isRefused reports whether the server did not take the token, or does not any
// more.
func isRefused(err error) bool {
	closed, ok := errors.AsType[*ClosedError](err)
	return isUnauthorized(err) || (ok && closed.Code == api.CloseUnauthorized)
}

// comesBack reports whether a stream connects again after an error, and how long
// the server asks it to wait. It is more than Retry: a stream has time, and nothing
// that it repeats can do harm.
func comesBack(err error) (wait time.Duration, ok bool) {
	if wait, ok = Retry(err); ok {
		return wait, true
	}
	if _, lost := errors.AsType[*TransportError](err); lost {
		return 0, true // also one that took too long
	}
	refused, ok := errors.AsType[*Error](err)
	return 0, ok && refused.Status >= 500
}

// end lets go of everybody who waits.
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

// call sends a frame that is answered, and waits for the answer.
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

// lost tells that a connection was, if there was one.
func (s *Stream) lost(state State) {
	if s.up {
		s.state(state)
	}
}

// state tells of the connection. The lock is not held.
func (s *Stream) state(state State) {
	s.up = state.Connected
	if s.opts.OnState != nil {
		s.opts.OnState(state)
	}
}
