package transfer_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/store/transfer"
)

const (
	benchUsers   = 100_000
	benchEntries = 2 * benchUsers
)

// BenchmarkMigration moves 100,000 users with two log entries and half a document each to
// one NATS server in this process, whose files are in memory, and back to a directory. It
// does not compare the stores. It runs once: go test -bench Migration -benchtime 1x.
func BenchmarkMigration(b *testing.B) {
	n := enginetest.StartNATS(b)
	root := b.TempDir()
	seed(b, filepath.Join(root, "source"))
	for b.Loop() {
		target := natsstore.Options{Prefix: "bench", Replicas: 1, SystemURL: n.SystemURL(), Timeout: enginetest.Timeout}
		from, err := pebblestore.OpenSource(filepath.Join(root, "source"), pebblestore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		if err := natsstore.Import(b.Context(), n.URL(), from, target, timed(b, "entries/s-to-NATS", begun)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begun).Seconds(), "s-to-NATS")
		if err := from.Close(); err != nil {
			b.Fatal(err)
		}
		back, err := natsstore.OpenSource(b.Context(), n.URL(), target)
		if err != nil {
			b.Fatal(err)
		}
		begun = time.Now()
		if err := pebblestore.Import(b.Context(), filepath.Join(root, "back"), back, pebblestore.Options{MinFreeBytes: -1}, timed(b, "entries/s-back", begun)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begun).Seconds(), "s-back")
		if err := back.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// timed reports how many entries were copied in a second, and then how long one summary
// takes, which the comparison needs twice.
func timed(b *testing.B, unit string, begun time.Time) transfer.Verify {
	b.Helper()
	return func(ctx context.Context, stored transfer.Source) error {
		b.ReportMetric(benchEntries/time.Since(begun).Seconds(), unit)
		begun := time.Now()
		_, err := transfer.Summarize(ctx, stored)
		b.ReportMetric(time.Since(begun).Seconds(), unit+"-summary-s")
		return err
	}
}

func seed(b *testing.B, dir string) {
	b.Helper()
	st, err := pebblestore.Open(dir, pebblestore.Options{MinFreeBytes: -1, Durability: pebblestore.OS})
	if err != nil {
		b.Fatal(err)
	}
	var pending sync.WaitGroup
	for i := range benchEntries {
		pending.Add(1)
		st.Begin(user(i%benchUsers), storetest.UpdateFunc(store.By{Cause: store.CauseNote}, func(s presence.State) (presence.State, error) {
			s.At = presence.InstantOf(time.Now())
			s.Revision++
			s.Note.Text, s.Note.Until = "in a meeting about the budget", s.At.Add(time.Hour)
			return s, nil
		}), func(_ store.Record, err error) {
			if err != nil {
				b.Error(err)
			}
			pending.Done()
		})
	}
	pending.Wait()
	for from := 0; from < benchUsers/2; from += store.MaxWrite {
		docs := make([]store.Doc, store.MaxWrite)
		for i := range docs {
			docs[i] = store.Doc{Key: store.Key{Collection: "c", Key: string(user(from + i).ID)}, Value: make([]byte, 200)}
		}
		if err := st.Write(b.Context(), "acme", docs...); err != nil {
			b.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
}
