package hub

import (
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/view"
)

// An Event is one thing that a stream delivers. Those below are the hub's own. A
// dialect defines others for its streams, with Stream.Send, and a consumer of the
// log for those of one user, with Hub.Broadcast. A dialect that cannot express an event
// omits it.
type Event interface {
	// Size is about how many bytes the event takes, so that a queue can be bounded.
	Size() int
}

// Presence is what the stream's viewer sees of a user from now on.
type Presence struct {
	User     presence.UserID
	Presence presence.Presence
}

// Gone is a user who is not followed any more.
type Gone struct {
	User   presence.UserID
	Reason GoneReason
}

// A GoneReason is why a user is not followed any more.
type GoneReason uint8

// The reasons.
const (
	GoneDeleted GoneReason = iota
	GoneContactRemoved
	GoneMemberRemoved // removed from the followed audiences, or deactivated
)

// Reset precedes the snapshots of an answer whose cursor could not be used.
type Reset struct {
	ID     string // of the Follow
	Reason ResetReason
}

// A ResetReason is why a cursor cannot be used.
type ResetReason uint8

// The reasons. ResetContacts: more contacts were removed since than are remembered.
// ResetMembers: it is not known who has joined or left the audience since.
const (
	NoReset ResetReason = iota
	ResetEpoch
	ResetUnreadable
	ResetContacts
	ResetMembers
)

// A Snapshot answers a Follow, in parts if it is large.
type Snapshot struct {
	ID      string
	Views   []view.View                  // at most SnapshotViews
	Names   map[presence.UserID][]string // by what names, if not only by id
	Gone    []presence.UserID
	Unknown []string
	Partial bool // only what changed since the cursor
	Changed bool // one of Views is certainly new, not just possibly
	More    bool // another part follows
}

// SnapshotViews is how many users one part of a snapshot has at most.
const SnapshotViews = 1000

// Ping is a keepalive, which a WebSocket client answers.
type Ping struct{}

// Approximate sizes of parts of encoded events.
const (
	viewSize  = 190
	eventSize = 64
)

// Size implements Event.
func (*Presence) Size() int { return viewSize }

// Size implements Event.
func (*Gone) Size() int { return eventSize }

// Size implements Event.
func (*Reset) Size() int { return eventSize }

// Size implements Event.
func (s *Snapshot) Size() int {
	size := eventSize + viewSize*len(s.Views)
	for i := range s.Views {
		size += len(s.Views[i].Presence.Note)
	}
	for _, id := range s.Gone {
		size += len(id)
	}
	for _, ref := range s.Unknown {
		size += len(ref)
	}
	return size
}

// Size implements Event.
func (Ping) Size() int { return 0 }

// An Encoder turns events into the bytes of one dialect. It is comparable: equal
// encoders make equal bytes.
type Encoder interface {
	// Encode makes what all streams share that deliver the event: it knows neither
	// the cursor nor whether versions were left out.
	Encode(e Event) []byte
}

// A Delivery is an event on its way to one stream.
type Delivery struct {
	Event     Event
	Cursor    string // "" for none: not every position may reach the client
	Coalesced bool   // versions between were left out

	encodings *encodings // nil: no other stream delivers the event
}

// Encoded is what enc makes of the event, once for all streams that deliver it.
// It must not be modified.
func (d *Delivery) Encoded(enc Encoder) []byte {
	if d.encodings == nil {
		return enc.Encode(d.Event)
	}
	return d.encodings.get(d.Event, enc)
}

// encodings are the bytes of one event, in each dialect that asked for them. The
// zero value has none.
type encodings struct {
	newest atomic.Pointer[encoding]
	mu     sync.Mutex // held while one is added
}

type encoding struct {
	encoder Encoder
	bytes   []byte
	next    *encoding
}

func (x *encodings) get(e Event, enc Encoder) []byte {
	if found := x.find(enc); found != nil {
		return found.bytes
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if found := x.find(enc); found != nil {
		return found.bytes
	}
	made := &encoding{enc, enc.Encode(e), x.newest.Load()}
	x.newest.Store(made)
	return made.bytes
}

func (x *encodings) find(enc Encoder) *encoding {
	for n := x.newest.Load(); n != nil; n = n.next {
		if n.encoder == enc {
			return n
		}
	}
	return nil
}
