package transfer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A Summary is a digest of a store's content. It does not depend on the order in which the
// content was read.
type Summary struct {
	info      Info
	records   sum
	entries   hours // by the time of the entry
	documents hours // by expiry; under zero those that do not expire
	buf       []byte
}

// A sum is the sum of the hashes of items, in 64-bit parts.
type sum struct {
	count int64
	parts [sha256.Size / 8]uint64
}

// hours are sums by the hour, so that what expires between two readings can be left out.
type hours map[int64]*sum

const hour = int64(time.Hour / time.Second)

func (s *sum) add(item []byte) {
	h := sha256.Sum256(item)
	for i := range s.parts {
		s.parts[i] += binary.LittleEndian.Uint64(h[8*i:])
	}
	s.count++
}

func (hs hours) add(seconds int64, item []byte) {
	at := seconds - seconds%hour
	if hs[at] == nil {
		hs[at] = new(sum)
	}
	hs[at].add(item)
}

// Summarize reads a whole source.
func Summarize(ctx context.Context, from Source) (*Summary, error) {
	s := &Summary{info: from.Info(), entries: make(hours), documents: make(hours)}
	for _, err := range []error{
		from.Records(ctx, s.addRecord), from.Entries(ctx, s.addEntry), from.Documents(ctx, s.addDocument), from.Check(ctx),
	} {
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Summary) begin(account presence.AccountID, texts ...string) {
	s.buf = appendText(s.buf[:0], string(account))
	for _, text := range texts {
		s.buf = appendText(s.buf, text)
	}
}

func appendText(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

func (s *Summary) addRecord(r *Record) error {
	s.begin(r.User.Account, string(r.User.ID))
	s.buf = store.AppendState(binary.AppendUvarint(s.buf, uint64(r.At)), &r.State)
	s.records.add(s.buf)
	return nil
}

func (s *Summary) addEntry(e *Entry) error {
	if e.Dropped {
		return nil
	}
	s.buf = binary.AppendUvarint(binary.AppendUvarint(s.buf[:0], uint64(e.At)), uint64(e.Previous))
	s.buf = store.AppendEntry(s.buf, &e.Entry)
	s.entries.add(e.Time.Unix(), s.buf)
	return nil
}

func (s *Summary) addDocument(d *Doc) error {
	s.begin(d.Account, d.Collection, d.Key.Key)
	until := presence.InstantOf(d.Until)
	s.buf = binary.AppendVarint(binary.AppendUvarint(s.buf, uint64(d.Written)), int64(until))
	s.buf = append(s.buf, d.Value...)
	expires := int64(0)
	if !until.IsZero() {
		expires = d.Until.Unix()
	}
	s.documents.add(expires, s.buf)
	return nil
}

// A Part is the digest of the records, of the log or of the documents.
type Part struct {
	Count  int64  `json:"count"`
	SHA256 string `json:"sha256"` // of their hashes
}

// A Content is what two stores have in common.
type Content struct {
	Records   Part `json:"records"`
	Entries   Part `json:"log_entries"`
	Documents Part `json:"documents"`
}

// ErrDiffer: two stores do not have the same content.
var ErrDiffer = errors.New("the stores differ")

// Compare returns the content that two stores share, or ErrDiffer with the parts that
// differ. It leaves out the documents that expired in the hour of now or before, and log
// entries that one of the stores may have dropped since it was read.
func Compare(source, target *Summary, now time.Time) (Content, error) {
	kept := cmp.Or(source.info.Retention, target.info.Retention)
	if other := target.info.Retention; other > 0 {
		kept = min(kept, other)
	}
	oldest := int64(-1 << 62)
	if kept > 0 {
		oldest = now.Add(-kept).Unix() + hour
	}
	want, got := source.content(now.Unix(), oldest), target.content(now.Unix(), oldest)
	differences := slices.DeleteFunc([]string{
		differ("records", want.Records, got.Records),
		differ("log entries", want.Entries, got.Entries),
		differ("documents", want.Documents, got.Documents),
		differentEpoch(source.info.Epoch, target.info.Epoch),
	}, func(text string) bool { return text == "" })
	if len(differences) > 0 {
		return Content{}, fmt.Errorf("%w: %s", ErrDiffer, strings.Join(differences, "; "))
	}
	return want, nil
}

func differ(what string, source, target Part) string {
	if source == target {
		return ""
	}
	return fmt.Sprintf("%s: %d in the source (digest %.8s), %d in the target (digest %.8s)", what, source.Count, source.SHA256, target.Count, target.SHA256)
}

func differentEpoch(source, target string) string {
	if source == target || source == "" || target == "" {
		return ""
	}
	return fmt.Sprintf("epoch: %s in the source, %s in the target", source, target)
}

func (s *Summary) content(now, oldest int64) Content {
	return Content{
		Records:   part(s.records),
		Entries:   part(s.entries.total(func(at int64) bool { return at > oldest })),
		Documents: part(s.documents.total(func(at int64) bool { return at == 0 || at > now })),
	}
}

// total adds up the hours that include selects.
func (hs hours) total(include func(at int64) bool) sum {
	var t sum
	for _, at := range slices.Sorted(maps.Keys(hs)) {
		if !include(at) {
			continue
		}
		t.count += hs[at].count
		for i, x := range hs[at].parts {
			t.parts[i] += x
		}
	}
	return t
}

func part(s sum) Part {
	var all []byte
	for _, x := range s.parts {
		all = binary.BigEndian.AppendUint64(all, x)
	}
	digest := sha256.Sum256(all)
	return Part{Count: s.count, SHA256: hex.EncodeToString(digest[:])}
}
