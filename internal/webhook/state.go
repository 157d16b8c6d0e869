package webhook

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	// deliveryStates is the collection of the delivery states of all accounts.
	deliveryStates = "webhook-delivery"

	// MaxPending is how many events of a subscription wait for a retry.
	MaxPending = 1000
	// maxStateBytes leaves room for the other fields of a state.
	maxStateBytes = store.MaxDocBytes - 4<<10
)

func stateKey(s *Subscription) store.Key {
	return store.Key{Collection: deliveryStates, Key: s.key().Key}
}

// A stateValue is the delivery state of a subscription, of which only the deliverer
// changes it. Any older one is valid as well: it only has more events delivered twice.
type stateValue struct {
	document.Format

	Epoch string `json:"epoch"` // of the store that the positions are of
	// Position is the low-water mark: every event at or below it was accepted, given
	// up, or is in Retries or Gaps.
	Position store.Position `json:"position"`
	// Done are positions above it whose events were attempted. There are few.
	Done    []store.Position `json:"done,omitempty"`
	Types   []string         `json:"types,omitempty"` // of Retries, by index
	Retries []retryValue     `json:"retries,omitempty"`
	Gaps    []gapValue       `json:"gaps,omitempty"`
	Replay  *replayValue     `json:"replay,omitempty"`
	Replays uint64           `json:"replays,omitempty"` // the number of the replay that was begun last
}

// A retryValue is written as an array, because a state has up to MaxPending of them.
type retryValue struct {
	At     store.Position
	Index  int
	Number int // of the last attempt
	Next   int64
	Type   int
	Flags  int
	User   presence.UserID
}

// Flags of a retryValue.
const (
	flagStale = 1 << iota
	flagReplayed
)

func (r *retryValue) fields() []any {
	return []any{&r.At, &r.Index, &r.Number, &r.Next, &r.Type, &r.Flags, &r.User}
}

func (r retryValue) MarshalJSON() ([]byte, error) { return json.Marshal(r.fields()) }

func (r *retryValue) UnmarshalJSON(text []byte) error {
	fields := r.fields()
	n := len(fields)
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	if len(fields) != n {
		return fmt.Errorf("a pending retry has %d fields, not %d", len(fields), n)
	}
	return nil
}

// A gapValue is a gap that the endpoint has not accepted yet.
type gapValue struct {
	From   store.Position `json:"from"`
	To     store.Position `json:"to"`
	Reason string         `json:"reason"`
	At     time.Time      `json:"at"`
	Number int            `json:"number,omitempty"` // of the last attempt
	Next   time.Time      `json:"next"`
}

// A replayValue is a replay that has not ended: the events above At and up to To.
type replayValue struct {
	At store.Position `json:"at"`
	To store.Position `json:"to"`
}

// A retry is an event that is tried again.
type retry struct {
	at       store.Position
	index    int
	number   int // of the last attempt
	next     time.Time
	kind     string // type of the event
	user     presence.UserID
	stale    bool
	replayed bool
	inFlight bool
}

// A notice is a gap that is announced until the endpoint accepts it.
type notice struct {
	Gap

	number   int // of the last attempt
	next     time.Time
	inFlight bool
	sent     uint64 // as that of a task
}

// pending is what a subscription still has to be sent besides what is above its
// position.
type pending struct {
	retries []*retry // in no order
	notices []*notice
}

// announce adds a gap. It widens a notice with the same reason that is not being sent,
// so that there are never many.
func (p *pending) announce(g Gap) {
	for _, n := range p.notices {
		if n.Reason == g.Reason && !n.inFlight {
			n.From, n.To = min(n.From, g.From), max(n.To, g.To)
			return
		}
	}
	p.notices = append(p.notices, &notice{Gap: g, next: g.At})
}

const reasonOverflow = "too many events waited for a retry"

// trim gives up the oldest events if there are more than limit, announces them as a gap,
// and returns their number. It makes space for some more, so that not each of them needs
// a gap.
func (p *pending) trim(limit int, now time.Time) int {
	if len(p.retries) <= limit {
		return 0
	}
	surplus := len(p.retries) - limit*19/20
	slices.SortFunc(p.retries, func(a, b *retry) int { return cmp.Or(cmp.Compare(a.at, b.at), a.index-b.index) })
	dropped := p.retries[:surplus]
	p.announce(Gap{From: dropped[0].at - 1, To: dropped[surplus-1].at, Reason: reasonOverflow, At: now})
	p.retries = slices.Clone(p.retries[surplus:])
	return surplus
}

func (p *pending) removeRetry(r *retry) {
	p.retries = slices.DeleteFunc(p.retries, func(o *retry) bool { return o == r })
}

func (p *pending) removeNotice(n *notice) {
	p.notices = slices.DeleteFunc(p.notices, func(o *notice) bool { return o == n })
}

// overtake handles the retries that are older than an event of their user and type that
// was just sent: they become stale, or are dropped. It returns how many were dropped.
func (p *pending) overtake(by *Event, drop bool) (dropped int) {
	if len(p.retries) == 0 {
		return 0
	}
	before := len(p.retries)
	p.retries = slices.DeleteFunc(p.retries, func(r *retry) bool {
		if r.replayed || r.user != by.User || r.kind != by.Type || r.at >= by.At {
			return false
		}
		r.stale = true
		return drop && !r.inFlight
	})
	return before - len(p.retries)
}

// nextDue is when the next retry or notice becomes due. Zero: there is none.
func (p *pending) nextDue(now time.Time) (first time.Time) {
	for _, r := range p.retries {
		if !r.inFlight && r.next.After(now) {
			first = earlier(first, r.next)
		}
	}
	for _, n := range p.notices {
		if !n.inFlight && n.next.After(now) {
			first = earlier(first, n.next)
		}
	}
	return first
}

// dueRetry is the oldest retry that is due.
func (p *pending) dueRetry(now time.Time) (due *retry) {
	for _, r := range p.retries {
		if !r.inFlight && !r.next.After(now) && (due == nil || r.at < due.at || r.at == due.at && r.index < due.index) {
			due = r
		}
	}
	return due
}

// earlier is the first of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (p *pending) encode(v *stateValue) {
	types := make(map[string]int)
	for _, r := range p.retries {
		if _, ok := types[r.kind]; !ok {
			types[r.kind] = len(types)
			v.Types = append(v.Types, r.kind)
		}
		flags := 0
		if r.stale {
			flags |= flagStale
		}
		if r.replayed {
			flags |= flagReplayed
		}
		next := r.next.Add(time.Second - 1).Unix() // not before the schedule
		v.Retries = append(v.Retries, retryValue{r.at, r.index, r.number, next, types[r.kind], flags, r.user})
	}
	for _, n := range p.notices {
		v.Gaps = append(v.Gaps, gapValue{n.From, n.To, n.Reason, n.At, n.number, n.next})
	}
}

func (p *pending) decode(v *stateValue) {
	for _, r := range v.Retries {
		kind := ""
		if r.Type >= 0 && r.Type < len(v.Types) {
			kind = v.Types[r.Type]
		}
		p.retries = append(p.retries, &retry{
			at: r.At, index: r.Index, number: r.Number, next: time.Unix(r.Next, 0), kind: kind, user: r.User,
			stale: r.Flags&flagStale != 0, replayed: r.Flags&flagReplayed != 0,
		})
	}
	for _, g := range v.Gaps {
		p.notices = append(p.notices, &notice{Gap: Gap{From: g.From, To: g.To, Reason: g.Reason, At: g.At}, number: g.Number, next: g.Next})
	}
}

// loadState reads the delivery state of a subscription, and the version of its document.
// Without one it is new, and its position is that of the subscription's creation.
func (d *Deliverer) loadState(ctx context.Context, s *Subscription) (v stateValue, version string, err error) {
	docs, err := d.Store.Load(ctx, systemAccount, stateKey(s))
	if err != nil {
		return v, "", err
	}
	if len(docs) == 0 {
		v.Epoch = d.Store.Epoch()
		v.Position, err = d.Store.PositionAt(ctx, s.Created)
		return v, "", err
	}
	return v, docs[0].Version, document.Decode(&docs[0], &v)
}

// saveState replaces the document that was loaded or saved last, and returns its version.
func (d *Deliverer) saveState(ctx context.Context, s *Subscription, version string, v stateValue) (string, error) {
	v.Format = document.Current()
	if err := d.Store.Write(ctx, systemAccount, document.New(stateKey(s), version, v)); err != nil {
		return version, err
	}
	return d.stateVersion(ctx, s)
}

// stateVersion reads the version of the document; empty: there is none.
func (d *Deliverer) stateVersion(ctx context.Context, s *Subscription) (string, error) {
	docs, err := d.Store.Load(ctx, systemAccount, stateKey(s))
	if err != nil || len(docs) == 0 {
		return "", err
	}
	return docs[0].Version, nil
}

// removeState deletes the delivery state of a subscription, unless that still exists: a
// snapshot lacks those that are unreadable.
func (d *Deliverer) removeState(ctx context.Context, s *Subscription) error {
	return document.Again(func() error {
		if docs, err := d.Store.Load(ctx, systemAccount, s.key()); err != nil || len(docs) > 0 {
			return err
		}
		version, err := d.stateVersion(ctx, s)
		if err != nil || version == "" {
			return err
		}
		return d.Store.Write(ctx, systemAccount, store.Doc{Key: stateKey(s), Version: version})
	})
}

const reasonEpoch = "the store was restored, or lost its newest changes"

// enterEpoch adapts a state of another epoch: its position may be of a change that the
// store does not have any more.
func (d *Deliverer) enterEpoch(ctx context.Context, v *stateValue) (*Gap, error) {
	if v.Epoch == d.Store.Epoch() {
		return nil, nil //nolint:nilnil // no gap
	}
	newest, err := d.newest(ctx)
	if err != nil {
		return nil, err
	}
	from := v.Position
	v.Epoch, v.Position, v.Replay = d.Store.Epoch(), min(v.Position, newest), nil
	v.Done = nil
	v.Retries = slices.DeleteFunc(v.Retries, func(r retryValue) bool { return r.At > newest })
	return &Gap{From: min(from, newest), To: max(from, newest), Reason: reasonEpoch, At: d.Clock()}, nil
}

// newest is the position of the newest entry.
func (d *Deliverer) newest(ctx context.Context) (store.Position, error) {
	return d.Store.PositionAt(ctx, time.Unix(1<<40, 0)) // later than any entry
}

// eventID identifies an event in all attempts, and on all nodes.
func eventID(epoch string, parts ...any) string {
	sum := sha256.Sum256([]byte(epoch + "\x00" + fmt.Sprintln(parts...)))
	return "evt_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

func gapID(epoch string, account presence.AccountID, subscription string, g *Gap) string {
	return eventID(epoch, "gap", account, subscription, uint64(g.From), uint64(g.To), g.Reason)
}

// size is that of the document.
func (v *stateValue) size() int { return len(document.New(store.Key{}, "", *v).Value) }
