package natsstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Store implements store.Store with two streams of JetStream. See the package
// documentation.
type Store struct {
	opts    Options
	log     *slog.Logger
	names   subjects
	servers string // their URLs, without secrets
	sender  string // of messages to other nodes; random

	conn        *nats.Conn
	js          jetstream.JetStream
	replies     *replies
	calls       calls
	dueConsumer jetstream.Consumer
	epoch       string

	// lastSeq is the highest sequence of the state stream that this node has stored or
	// read.
	lastSeq atomic.Uint64
	queues  userQueues
	begins  begins
	records *recent[store.User, *record]
	// lastRead is where the last read of the log by position ended; nil: unknown.
	lastRead       atomic.Pointer[historyPos]
	dueRunning     atomic.Bool
	batchSlots     chan struct{} // one element for each open batch
	verifyRequests chan struct{} // one element: verify now
	lease          *lease        // nil: the store is used beside its nodes
	lastAck        atomic.Int64  // time of the last acknowledged write, in nanoseconds
	stats          counters
	streams        observedStreams

	gate        *gate
	opsMu       sync.RWMutex // read-locked by operations
	closed      bool
	barriers    barriers
	closing     chan struct{} // closed by Close
	monitorDone chan struct{} // closed when monitor has ended

	mu        sync.Mutex // guards the fields below
	failure   error
	failed    chan struct{}
	closeOnce sync.Once
}

var _ store.Store = (*Store)(nil)

// cachedRecords sizes the cache of records on which Update decides without a read.
const cachedRecords = 64 << 10

// Open opens the store on the servers of a NATS URL: "nats://host:port", or several
// separated by commas. It creates the store if neither of its streams exists. If only one
// exists, or one was created at another time, Open returns ErrLost: creating it again
// would hide the loss.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	s := newStore(url, o)
	if err := s.connect(url); err != nil {
		if errors.Is(err, nats.ErrNoServers) {
			err = fmt.Errorf("%w; check that the NATS servers run, and that the setting store has their URL", err)
		}
		return nil, err
	}
	if err := s.loadWithLease(ctx); err != nil {
		s.hangUp()
		return nil, err
	}
	s.gate.opened()
	go s.monitor(context.WithoutCancel(ctx))
	return s, nil
}

// loadWithLease loads the store, and acquires its lease, alone or with other nodes.
func (s *Store) loadWithLease(ctx context.Context) error {
	if err := s.loadWithRetry(ctx); err != nil || !s.opts.Exclusive && !s.opts.Serving {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.openTimeout+s.opts.leaseTerm) // a crashed holder keeps it for the term
	defer cancel()
	s.lease = newLease(s)
	return s.lease.acquire(ctx)
}

// loadWithRetry loads the store, and waits for servers that elect leaders, as those of a cluster that
// has just started, or have just crashed.
func (s *Store) loadWithRetry(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.openTimeout)
	defer cancel()
	err := s.load(ctx)
	var logged logOnce
	for b := (backoff{}); mayPass(err) && b.wait(ctx) == nil; {
		if logged.isNew(err) {
			s.log.WarnContext(ctx, "nats: store is not ready; retrying", slog.Any("err", err))
		}
		if next := s.load(ctx); next == nil || ctx.Err() == nil { // a timeout would hide the reason
			err = next
		}
	}
	return err
}

// mayPass reports whether an error of load can pass by itself: there is no leader, or servers
// respond late or have just crashed.
func mayPass(err error) bool {
	if errors.Is(err, ErrSettings) {
		return false
	}
	refused, ok := errors.AsType[*jetstream.APIError](err)
	return ok && refused.Code == http.StatusServiceUnavailable ||
		errors.Is(err, errNoLeader) || errors.Is(err, errMissingReports) || errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errDisconnected)
}

func newStore(url string, o Options) *Store {
	s := &Store{
		opts: o, log: o.Logger, names: subjects{prefix: o.Prefix}, servers: redactURLs(url), sender: rand.Text(),
		records:        newRecent[store.User, *record](cachedRecords),
		calls:          calls{m: make(map[uint64]context.CancelCauseFunc)},
		begins:         newBegins(),
		queues:         userQueues{m: make(map[store.User]*queue)},
		batchSlots:     make(chan struct{}, maxBatches),
		verifyRequests: make(chan struct{}, 1),
		gate:           newGate(),
		stats:          counters{commits: store.NewCommitHistogram()},
		closing:        make(chan struct{}),
		monitorDone:    make(chan struct{}),
		failed:         make(chan struct{}),
	}
	s.barriers.write = s.writeBarrier
	return s
}

// redactURLs removes users and passwords from a list of URLs.
func redactURLs(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Host == "" {
			parts[i] = "(invalid URL)"
			continue
		}
		parts[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(parts, ",")
}

const (
	minConnectTimeout = 5 * time.Second
	openTimeout       = 30 * time.Second
)

func (s *Store) connectTimeout() time.Duration { return max(minConnectTimeout, s.opts.Timeout) }

func (s *Store) connect(url string) error {
	var logged logOnce // the client never calls the handler concurrently
	options := []nats.Option{
		nats.Name("porchlight"),
		nats.Timeout(s.connectTimeout()),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		// A message that cannot be sent now must not be sent some time later.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(s.opts.Timeout),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { s.disconnected(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { s.requestVerify() }),
		// Servers that reject the password now may accept it later.
		nats.IgnoreAuthErrorAbort(),
		nats.ClosedHandler(func(conn *nats.Conn) { s.connectionClosed(conn.LastError()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if logged.isNew(err) {
				s.log.Warn("nats: client error", slog.Any("err", err))
			}
		}),
	}
	if s.opts.Credentials != "" {
		options = append(options, nats.UserCredentials(s.opts.Credentials))
	}
	var err error
	if s.conn, err = nats.Connect(url, options...); err != nil {
		return fmt.Errorf("connect to NATS at %s: %w", s.servers, connectError(err))
	}
	if s.replies, err = subscribeReplies(s.conn); err == nil {
		s.js, err = jetstream.New(s.conn, jetstream.WithDefaultTimeout(s.connectTimeout()))
	}
	if err != nil {
		s.conn.Close()
		return fmt.Errorf("connect to NATS at %s: %w", s.servers, err)
	}
	return nil
}

// connectError removes the address from err, since it may contain a password.
func connectError(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return errors.New("invalid URL: use the form nats://HOST:PORT, and percent-encode (%XX) every character of the user name and password except letters and digits")
	}
	for _, denied := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrPermissionViolation,
	} {
		if errors.Is(err, denied) {
			return fmt.Errorf("%w: %w", ErrDenied, err)
		}
	}
	return err
}

// connectionClosed handles a permanently closed connection: the client does not
// reconnect.
func (s *Store) connectionClosed(err error) {
	if s.haltedError() == nil {
		s.fail(fmt.Errorf("connection to NATS at %s is permanently closed: %w", s.servers, cmp.Or(err, nats.ErrConnectionClosed)))
	}
}

func (s *Store) disconnected(err error) {
	if s.haltedError() != nil {
		return
	}
	if err == nil {
		err = errors.New("connection lost")
	}
	s.gate.close(err)
	s.calls.cancelAll()
	s.log.Warn("nats: disconnected", slog.Any("err", err))
}

// requestVerify makes the monitor verify the store now.
func (s *Store) requestVerify() { notify(s.verifyRequests) }

func notify(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// minPayload fits the message of the largest record with its log entry. The largest list
// of filters and the largest document are smaller.
const minPayload = store.MaxStateBytes + 64<<10

// lossChecks is how often Open checks before it reports a loss.
const lossChecks = 5

// load opens the store, or creates it.
func (s *Store) load(ctx context.Context) error {
	if err := s.checkPayload(); err != nil {
		return err
	}
	inv, stage, err := s.determineStage(ctx)
	if err != nil {
		return err
	}
	if stage != complete && s.opts.MustExist {
		return s.missing()
	}
	if err := s.checkSynced(ctx); err != nil {
		return err
	}
	if stage != complete {
		if err := s.create(ctx); err != nil {
			return err
		}
		if inv, stage, err = s.determineStage(ctx); err != nil {
			return err
		}
		if stage != complete {
			return fmt.Errorf("%w: the store disappeared after its creation", ErrLost)
		}
	}
	if err := s.checkRollback(ctx, inv); err != nil {
		return err
	}
	if inv.id.Format < formatVersion {
		if inv, err = s.upgrade(ctx, inv); err != nil {
			return err
		}
	}
	if s.opts.NewEpoch {
		if inv, err = s.assignEpoch(ctx, inv); err != nil {
			return err
		}
	}
	s.adopt(*inv.id)
	s.advanceSeq(inv.state.State.LastSeq)
	s.dueConsumer, err = s.ensureConsumer(ctx)
	return err
}

func (s *Store) checkPayload() error {
	if size := s.conn.MaxPayload(); size < minPayload {
		return fmt.Errorf("%w: max_payload of the servers is %d and must be at least %d", ErrSettings, size, minPayload)
	}
	return nil
}

func (s *Store) missing() error {
	return fmt.Errorf("%w: NATS at %s has no streams %s and %s; check the URL, and the name of the store in it", ErrMissing, s.servers, s.names.stateStream(), s.names.historyStream())
}

// recreateConsumer creates the consumer of firings if it was removed. A new one receives
// all firings that were not acknowledged.
func (s *Store) recreateConsumer(ctx context.Context) error {
	_, err := s.js.Consumer(ctx, s.names.stateStream(), s.names.dueConsumer())
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	s.log.WarnContext(ctx, "nats: consumer of expiry timers was removed; recreating it", slog.String("consumer", s.names.dueConsumer()))
	_, err = s.ensureConsumer(ctx)
	return err
}

func (s *Store) ensureConsumer(ctx context.Context) (jetstream.Consumer, error) {
	limited, end := s.calls.begin(ctx, s.connectTimeout())
	defer end()
	consumer, err := s.js.CreateOrUpdateConsumer(limited, s.names.stateStream(), s.dueConsumerConfig())
	if err != nil {
		return nil, fmt.Errorf("create consumer %s: %w", s.names.dueConsumer(), err)
	}
	return consumer, nil
}

// determineStage inspects the store. The streams are read one after another while another
// node may create them, so an apparent loss is checked again.
func (s *Store) determineStage(ctx context.Context) (inv inventory, found stage, err error) {
	var b backoff
	for range lossChecks {
		if inv, err = s.inspect(ctx); err != nil {
			return inv, 0, s.jetStreamError(err)
		}
		if found, err = s.stageOf(inv); !errors.Is(err, ErrLost) || b.wait(ctx) != nil {
			return inv, found, err
		}
	}
	return inv, found, err
}

func (s *Store) jetStreamError(err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("%w: NATS at %s has no JetStream: enable it on every server and for this account (%w)", ErrSettings, s.servers, err)
	}
	return err
}

func (s *Store) now() presence.Instant { return presence.InstantOf(s.opts.Clock()) }

// Epoch implements store.Store.
func (s *Store) Epoch() string { return s.epoch }

// Failed implements store.Store.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Close implements store.Store. It waits for the operations in progress.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.opsMu.Lock()
		s.closed = true
		s.opsMu.Unlock()
		s.begins.close()
		<-s.monitorDone
		s.lease.release()
		s.conn.Close()
	})
	return nil
}
