package natsstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// A Store keeps everything in two streams of JetStream. See the package's
// comment.
type Store struct {
	opts    Options
	log     *slog.Logger
	names   subjects
	servers string // the servers, without secrets

	conn        *nats.Conn
	js          jetstream.JetStream
	replies     *replies
	calls       calls
	dueConsumer jetstream.Consumer
	epoch       string

	// lastSeq is the last sequence of the state stream that this node knows of.
	lastSeq atomic.Uint64
	queues  queues
	records *recent[store.User, *record]
	// place is where the last read of the log by position ended; nil: none yet.
	lastRead       atomic.Pointer[historyPos]
	dueRunning     atomic.Bool   // a Due is running
	batchSlots     chan struct{} // one element for each batch that is open
	verifyRequests chan struct{} // one element: the connection changed
	lease          *lease        // nil: the store is shared
	lastAck        atomic.Int64  // when a write was last seen to be stored: nanoseconds

	gate        *gate
	opsMu       sync.RWMutex // read-locked by operations
	closed      bool
	closing     chan struct{} // closed by Close
	monitorDone chan struct{} // closed when watch has ended

	mu        sync.Mutex // guards the fields below
	failure   error
	failed    chan struct{}
	closeOnce sync.Once
}

var _ store.Store = (*Store)(nil)

// cachedRecords bounds the records that Update keeps, to decide on without
// asking first.
const cachedRecords = 64 << 10

// Open opens the store on the servers of a NATS URL, "nats://host:port" or
// several with commas between, and creates it where there is none yet: neither
// of its streams. One stream of two, or one that was made at another time, is
// ErrLost: making it again would hide the loss.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	s := newStore(url, o)
	if err := s.connect(url); err != nil {
		return nil, err
	}
	if err := s.loadWithLease(ctx); err != nil {
		close(s.closing) // so that the end of the connection is no logOnce
		s.conn.Close()
		return nil, err
	}
	s.gate.opened()
	go s.monitor(context.WithoutCancel(ctx))
	return s, nil
}

// loadWithLease loads the store, and acquires its lease if no other node may serve it. It
// allows for a cluster that has just started, which elects leaders before it creates streams.
func (s *Store) loadWithLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := s.load(ctx); err != nil || !s.opts.Exclusive {
		return err
	}
	s.lease = newLease(s)
	return s.lease.acquire(ctx)
}

func newStore(url string, o Options) *Store {
	return &Store{
		opts: o, log: o.Logger, names: subjects{prefix: o.Prefix}, servers: redactURLs(url),
		records:        newRecent[store.User, *record](cachedRecords),
		calls:          calls{m: make(map[uint64]context.CancelCauseFunc)},
		queues:         queues{m: make(map[store.User]*queue)},
		batchSlots:     make(chan struct{}, maxBatches),
		verifyRequests: make(chan struct{}, 1),
		gate:           newGate(),
		closing:        make(chan struct{}),
		monitorDone:    make(chan struct{}),
		failed:         make(chan struct{}),
	}
}

// redacted is a list of URLs without users and passwords.
func redactURLs(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Host == "" {
			parts[i] = "(an address that cannot be shown)"
			continue
		}
		parts[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(parts, ",")
}

const (
	connectTimeout = 5 * time.Second
	openTimeout    = 30 * time.Second // of Open, once it is connected
	pingInterval   = 2 * time.Second
)

func (s *Store) connect(url string) error {
	var logged logOnce // the client calls its handlers one after another
	options := []nats.Option{
		nats.Name("porchlight"),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		// What cannot be sent now is not kept to be sent some time later.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { s.disconnected(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { s.requestVerify() }),
		// Servers that refuse a password now may take it later.
		nats.IgnoreAuthErrorAbort(),
		nats.ClosedHandler(func(conn *nats.Conn) { s.connectionClosed(conn.LastError()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if logged.isNew(err) { // not each refusal of many
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
		s.js, err = jetstream.New(s.conn, jetstream.WithDefaultTimeout(connectTimeout))
	}
	if err != nil {
		s.conn.Close()
		return fmt.Errorf("connect to NATS at %s: %w", s.servers, err)
	}
	return nil
}

// connectError is err without the address, which may hold a password.
func connectError(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return errors.New("the address is not valid: use the form nats://HOST:PORT, and percent-encode all characters except letters and digits in the user name and password (%XX)")
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

// gaveUp: nobody asked for it, and the client will not connect again.
func (s *Store) connectionClosed(err error) {
	if s.haltedError() == nil {
		s.fail(fmt.Errorf("the connection to NATS at %s is permanently closed: %w", s.servers, cmp.Or(err, nats.ErrConnectionClosed)))
	}
}

func (s *Store) disconnected(err error) {
	if s.haltedError() != nil {
		return
	}
	if err == nil {
		err = errors.New("the connection ended")
	}
	s.gate.close(err)
	s.calls.cancelAll()
	s.log.Warn("nats: disconnected", slog.Any("err", err))
}

// signal makes the watcher check now.
func (s *Store) requestVerify() { notify(s.verifyRequests) }

func notify(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// leastPayload is what the largest record needs, with the entry of the log that
// travels with it. The largest batch of filters, and the largest document, need
// less.
const minPayload = store.MaxStateBytes + 64<<10

// lossChecks is how often a loss is checked before Open believes it.
const lossChecks = 5

// load finds or creates the store.
func (s *Store) load(ctx context.Context) error {
	if most := s.conn.MaxPayload(); most < minPayload {
		return fmt.Errorf("%w: the servers' max_payload is %d and must be at least %d", ErrSettings, most, minPayload)
	}
	w, stage, err := s.determineStage(ctx)
	if err != nil {
		return err
	}
	if stage != complete && s.opts.MustExist {
		return fmt.Errorf("%w: NATS at %s has no streams %s and %s; check the URL and the prefix", ErrMissing, s.servers, s.names.stateStream(), s.names.historyStream())
	}
	if err := s.checkSynced(ctx); err != nil {
		return err
	}
	if stage != complete {
		if err := s.create(ctx); err != nil {
			return err
		}
		if w, stage, err = s.determineStage(ctx); err != nil || stage != complete {
			return errors.Join(err, fmt.Errorf("%w: the store is missing after its creation", ErrLost))
		}
	}
	if err := s.checkRollback(ctx, w); err != nil {
		return err
	}
	if w.id.Format < formatVersion {
		if w, err = s.upgrade(ctx, w); err != nil {
			return err
		}
	}
	if s.opts.NewEpoch {
		if w, err = s.assignEpoch(ctx, w); err != nil {
			return err
		}
	}
	s.epoch = w.id.Epoch
	s.advanceSeq(w.state.State.LastSeq)
	if err := s.ensureConsumer(ctx); err != nil {
		return err
	}
	s.dueConsumer, err = s.js.Consumer(ctx, s.names.stateStream(), s.names.dueConsumer())
	if err != nil {
		return fmt.Errorf("read consumer %s: %w", s.names.dueConsumer(), err)
	}
	return nil
}

// repairConsumer creates the consumer of firings if somebody removed it: a new one
// receives all that were not acknowledged.
func (s *Store) recreateConsumer(ctx context.Context) error {
	_, err := s.js.Consumer(ctx, s.names.stateStream(), s.names.dueConsumer())
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	s.log.WarnContext(ctx, "nats: expiry consumer was removed; creating it again", slog.String("consumer", s.names.dueConsumer()))
	return s.ensureConsumer(ctx)
}

func (s *Store) ensureConsumer(ctx context.Context) error {
	if _, err := s.js.CreateOrUpdateConsumer(ctx, s.names.stateStream(), s.dueConsumerConfig()); err != nil {
		return fmt.Errorf("create consumer %s: %w", s.names.dueConsumer(), err)
	}
	return nil
}

// findStage finds what there is. Streams are read one after another, and another
// node may create them meanwhile: what seems to be lost is read again.
func (s *Store) determineStage(ctx context.Context) (w inventory, is stage, err error) {
	var b backoff
	for range lossChecks {
		if w, err = s.inspect(ctx); err != nil {
			return w, 0, s.jetStreamError(err)
		}
		if is, err = s.stageOf(w); !errors.Is(err, ErrLost) || b.wait(ctx) != nil {
			return w, is, err
		}
	}
	return w, is, err
}

func (s *Store) jetStreamError(err error) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("%w: NATS at %s answers without JetStream: switch it on in every server and for this account (%w)", ErrSettings, s.servers, err)
	}
	return err
}

func (s *Store) now() presence.Instant { return presence.InstantOf(s.opts.Clock()) }

// Epoch implements store.Store.
func (s *Store) Epoch() string { return s.epoch }

// Failed implements store.Store.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Close implements store.Store. Operations that run are finished first.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.opsMu.Lock()
		s.closed = true
		s.opsMu.Unlock()
		<-s.monitorDone
		s.lease.release()
		s.conn.Close()
	})
	return nil
}
