package membership

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// The documents are among those of the server itself: one for each incarnation, and one for
// the level, so that one List reads them all.
const (
	account    = presence.AccountID("")
	collection = "node"
	levelKey   = "level" // lower case: no incarnation has this id
	listPage   = 256
)

// A nodeValue is a beat, or a tombstone with what the last beat said. Its format is never
// raised: fields are only added, so that nodes of all versions see each other.
type nodeValue struct {
	document.Format

	Since     time.Time `json:"since"`
	Replaces  string    `json:"replaces,omitempty"` // the earlier incarnation of the same process, which was given up
	Beat      uint64    `json:"beat"`               // counts the beats
	At        time.Time `json:"at"`                 // by the node's clock; for people
	Version   string    `json:"version"`
	Reads     Levels    `json:"reads"`
	Host      string    `json:"host,omitempty"`
	Address   string    `json:"address,omitempty"`
	Streams   int       `json:"streams"`
	Consumers int       `json:"consumers"`
	Leaving   bool      `json:"leaving,omitempty"`

	Dead time.Time `json:"dead,omitzero"` // set in a tombstone
	By   string    `json:"by,omitempty"`  // the incarnation that wrote the tombstone
}

func (v *nodeValue) dead() bool { return !v.Dead.IsZero() }

func (v *nodeValue) facts() Facts {
	return Facts{Version: v.Version, Host: v.Host, Address: v.Address, Reads: v.Reads}
}

func (v *nodeValue) usage() Usage { return Usage{v.Streams, v.Consumers} }

func nodeKey(id string) store.Key { return store.Key{Collection: collection, Key: id} }

// beatDoc is the beat with which n replaces its document.
func (m *Members) beatDoc(n *incarnation) store.Doc {
	f, u := &m.opts.Facts, m.opts.Usage()
	m.mu.Lock()
	leaving := m.leaving
	m.mu.Unlock()
	return document.New(nodeKey(n.id), n.version, nodeValue{
		Format: document.Current(), Since: n.since, Replaces: n.replaces, Beat: n.beat, At: m.opts.Clock().UTC().Truncate(time.Millisecond),
		Version: f.Version, Reads: f.Reads, Host: f.Host, Address: f.Address,
		Streams: u.Streams, Consumers: u.Consumers, Leaving: leaving,
	})
}

// tombstone is the verdict over the last beat that was seen. Its version makes the beat
// after that one fail, and the other way round.
func (m *Members) tombstone(id string, p *peer) store.Doc {
	v, now := p.value, m.opts.Clock().UTC()
	v.Format, v.Dead, v.By = document.Current(), now.Truncate(time.Millisecond), m.Self()
	doc := document.New(nodeKey(id), p.version, v)
	doc.Until = now.Add(TombstoneFor)
	return doc
}

// A reading is all documents, as read at one time.
type reading struct {
	at    time.Time // before
	took  time.Duration
	asked []string // incarnations that somebody had asked for by then
	nodes map[string]store.Doc
	level *store.Doc // nil: none
}

// read reads all documents.
func (m *Members) read(ctx context.Context) (*reading, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r := &reading{at: time.Now(), asked: m.unknown(), nodes: make(map[string]store.Doc)}
	for after := ""; ; {
		docs, err := m.opts.Store.List(ctx, account, collection, after, listPage)
		if err != nil {
			return nil, err
		}
		for i := range docs {
			if after = docs[i].Key.Key; after == levelKey {
				r.level = &docs[i]
			} else {
				r.nodes[after] = docs[i]
			}
		}
		if len(docs) < listPage {
			r.took = time.Since(r.at)
			return r, nil
		}
	}
}

// decode reads a node's document. One that cannot be read is of a node that lives as long
// as it beats, like any other.
func (m *Members) decode(doc *store.Doc) nodeValue {
	var v nodeValue
	err := document.Decode(doc, &v)
	if _, logged := m.logged[doc.Key.Key]; err != nil && !logged {
		m.logged[doc.Key.Key] = struct{}{}
		m.opts.Log.Error("document of a node cannot be read", slog.String("node", doc.Key.Key), slog.Any("err", err))
	}
	return v
}

func conflict(err error) bool { return errors.Is(err, store.ErrConflict) }
