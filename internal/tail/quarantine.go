package tail

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	quarantines = "quarantine"
	// MaxQuarantined is how many entries of a consumer are listed; those beyond are
	// only counted.
	MaxQuarantined = 100
	// maxReason is in bytes of JSON, so that the document never exceeds its bound.
	maxReason = 200
)

// A Quarantine lists the entries that a consumer skipped.
type Quarantine struct {
	document.Format

	Count   uint64        `json:"count"` // of all, including those not listed
	Entries []Quarantined `json:"entries"`
}

// A Quarantined entry was not handled and will not be.
type Quarantined struct {
	Position store.Position `json:"position"`
	Epoch    string         `json:"epoch"` // of the store that Position is of
	Time     time.Time      `json:"time"`
	Reason   string         `json:"reason"`
}

// Quarantined lists the entries that a consumer skipped, oldest first.
func (r *Runtime) Quarantined(ctx context.Context, name string) (Quarantine, error) {
	q, _, err := readQuarantine(ctx, r.opts.Store, name)
	return q, err
}

// Documents is what reading the state of consumers needs of a store.
type Documents interface {
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
}

// Quarantines reads what each consumer of a store skipped, whether or not it runs.
func Quarantines(ctx context.Context, st Documents) (map[string]Quarantine, error) {
	all := make(map[string]Quarantine)
	for after := ""; ; {
		docs, err := st.List(ctx, account, quarantines, after, listPage)
		if err != nil || len(docs) == 0 {
			return all, err
		}
		for i := range docs {
			var q Quarantine
			if err := document.Decode(&docs[i], &q); err != nil {
				return nil, err
			}
			after, all[docs[i].Key.Key] = docs[i].Key.Key, q
		}
	}
}

func readQuarantine(ctx context.Context, st Documents, name string) (q Quarantine, version string, err error) {
	docs, err := st.Load(ctx, account, store.Key{Collection: quarantines, Key: name})
	if err != nil || len(docs) == 0 {
		return q, "", err
	}
	err = document.Decode(&docs[0], &q)
	return q, docs[0].Version, err
}

// addQuarantined records skipped entries with their reasons, each once, and returns the
// number of all.
func addQuarantined(ctx context.Context, st Store, name string, now time.Time, failed []*PermanentError) (count uint64, err error) {
	err = document.Again(func() error {
		q, version, err := readQuarantine(ctx, st, name)
		if err != nil {
			return err
		}
		q.Format = document.Current()
		for _, p := range failed {
			q.add(Quarantined{p.At, st.Epoch(), now, reason(p.Err)})
		}
		count = q.Count
		return st.Write(ctx, account, document.New(store.Key{Collection: quarantines, Key: name}, version, q))
	})
	return count, err
}

func (q *Quarantine) add(e Quarantined) {
	again := func(o Quarantined) bool { return o.Position == e.Position && o.Epoch == e.Epoch }
	if slices.ContainsFunc(q.Entries, again) {
		return // recorded before a crash that lost the position
	}
	q.Count++
	if len(q.Entries) < MaxQuarantined {
		q.Entries = append(q.Entries, e)
	}
}

func reason(err error) string {
	text := err.Error()
	text = strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
	size := 0
	for i, c := range text {
		quoted, _ := json.Marshal(string(c)) // a string always can be
		if size += len(quoted) - len(`""`); size > maxReason {
			return text[:i]
		}
	}
	return text
}
