package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Golden directories are data directories as a released format wrote them:
// testdata/golden/<format>/clean was closed, killed is what stood on the disk
// when the process ended without closing, and listing.txt is what both hold, in
// words. They are written once for each format, by the code that introduces it:
//
//	PORCHLIGHT_GOLDEN=write go test ./internal/store/pebblestore -run TestGoldenWrite
//
// and never again: what is in them must stay readable.
const goldenDir = "testdata/golden"

// goldenNow is the clock of golden directories, for writing and for reading. No
// document in them has expired by then, because it would be dropped.
var goldenNow = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func goldenOptions(fs vfs.FS, now time.Time) Options {
	return Options{FS: fs, MemTableBytes: 64 << 10, Clock: func() time.Time { return now }, Retention: 24 * time.Hour}
}

// TestGoldenWrite writes the golden directories of the current format on request, and
// otherwise checks that they exist.
func TestGoldenWrite(t *testing.T) {
	dir := filepath.Join(goldenDir, strconv.Itoa(formatVersion))
	if os.Getenv("PORCHLIGHT_GOLDEN") != "write" {
		for _, name := range []string{"clean", "killed", "listing.txt"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Errorf("the current format has no golden directory, see goldenDir: %v", err)
			}
		}
		return
	}
	mem := vfs.NewMem()
	s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
	goldenContent(t, s)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	s.advanceWatermark()
	copyToDisk(t, mem, filepath.Join(dir, "killed"))
	listing := goldenListing(t, s)
	mustClose(t, s)
	copyToDisk(t, mem, filepath.Join(dir, "clean"))
	if err := os.WriteFile(filepath.Join(dir, "listing.txt"), []byte(listing), 0o644); err != nil {
		t.Fatal(err)
	}
}

func copyToDisk(t *testing.T, mem *vfs.MemFS, to string) {
	t.Helper()
	if ok, err := vfs.Clone(mem, vfs.Default, "data", to); err != nil || !ok {
		t.Fatalf("copy the data directory to %s: %v, %v", to, ok, err)
	}
}

// fromDisk reads a golden directory into memory.
func copyFromDisk(t *testing.T, from string) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewMem()
	if ok, err := vfs.Clone(vfs.Default, mem, from, "data"); err != nil || !ok {
		t.Fatalf("read %s: %v, %v", from, ok, err)
	}
	return mem
}

func goldenUser(i int) store.User {
	return store.User{Account: presence.AccountID([]string{"acme", "Ünïcode \x00 & co", ""}[i%3]), ID: presence.UserID(fmt.Sprintf("user-%02d", i))}
}

// goldenContent writes records with every feature, a log whose beginning was dropped,
// and documents with and without expiry. Part of it is flushed, and part is in the
// write-ahead log alone.
func goldenContent(t *testing.T, s *Store) {
	t.Helper()
	for round := range 4 {
		for i := range 12 {
			goldenUpdate(t, s, i, round)
		}
		goldenDocs(t, s, round)
		if round == 1 || round == 2 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := s.submit(context.Background(), func(c *committer) error {
		to := store.Position(3)
		c.deleteRange(appendLogKey(nil, 0), appendLogKey(nil, to+1))
		c.set([]byte(metaTrim), appendNumber(nil, uint64(to)))
		c.s.trimmed.Store(uint64(to))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	goldenUpdate(t, s, 1, 4)
}

func goldenUpdate(t *testing.T, s *Store, i, round int) {
	t.Helper()
	now := presence.InstantOf(goldenNow).Add(time.Duration(round*12+i) * time.Second)
	by := store.By{Cause: store.Cause(1 + (i+round)%8), Actor: store.Actor{User: goldenUser(i).ID, App: presence.AppID(fmt.Sprint("app ", round))}}
	_, err := s.Update(context.Background(), goldenUser(i), func(was presence.Recorded) (store.Change, error) {
		next := presence.RecordedOf(goldenState(was.State, now, i, round))
		change := presence.Change{Recorded: next, Origin: goldenOrigin(i, round), Profiles: goldenProfiles(i, round)}
		return store.Change{Change: change, By: by}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goldenOrigin is the origin of a claim, of a client, or none.
func goldenOrigin(i, round int) (o presence.Origin) {
	switch (i + round) % 3 {
	case 0:
		o.Claim, o.Source = "meeting", presence.Meeting
	case 1:
		o.Client = presence.Client{Type: presence.Mobile, Version: "5.17.5", Status: presence.Status(i % 3)}
	}
	return o
}

// goldenProfiles are both profiles, one, or none.
func goldenProfiles(i, round int) (p presence.Profiles) {
	if i%3 > 0 {
		p.Profile = &presence.Profile{Email: fmt.Sprintf("%d@example.com", i), FirstName: "Ñ", DisplayName: fmt.Sprint("in round ", round), Groups: []string{"g", ""}}
	}
	if i%3 > 1 {
		p.ProfileBefore = &presence.Profile{LastName: "L", Department: "D"}
	}
	return p
}

// goldenState sets every field of a state in some record.
func goldenState(st presence.State, now presence.Instant, i, round int) presence.State {
	statuses := presence.Statuses()
	before := st.Shown
	st.At = now
	st.Revision = max(st.Revision+1, presence.Revision(now))
	st.UserState = presence.UserState(0)
	if i == 11 && round > 0 {
		st.UserState = presence.UserState(min(round, 2))
	}
	if i%4 != 3 {
		st.Sessions = []presence.Session{{
			ID: presence.SessionID(fmt.Sprint("session ", i)), Client: presence.Desktop, Version: "5.17.5", Since: now,
			IdleAt: now.Add(15 * time.Minute), EndsAt: now.Add(2 * time.Minute), Lease: 2 * time.Minute, App: "zoom",
		}}
	}
	if i%4 == 1 {
		st.Sessions = append(st.Sessions, presence.Session{ID: "session z", Client: presence.Mobile, Since: now, EndsAt: now.Add(time.Hour), Lease: time.Hour})
	}
	if i%4 == 2 {
		st.Sessions = append(st.Sessions, presence.Session{ID: "session z", Client: presence.Web, Since: now, Lease: time.Hour, Holder: "run"})
	}
	st.Claims = nil
	if i%3 != 2 {
		st.Claims = []presence.Claim{{
			ID: presence.ManualClaim, Source: presence.Manual, Status: statuses[(i+round)%len(statuses)],
			Note: strings.Repeat("ñote ", i), Since: now, Until: now.Add(time.Duration(i+1) * time.Hour), App: "app",
		}}
	}
	if i%2 == 0 {
		st.Claims = append(st.Claims, presence.Claim{ID: "meeting", Source: presence.Meeting, Status: presence.InMeeting, Since: now})
	}
	st.Note = presence.Note{Text: fmt.Sprint("note ", i, " of round ", round), Until: now.Add(time.Duration(i) * time.Minute)}
	st.AvailableAt, st.UpdatedAt, st.DampedSince = now.Add(-time.Hour), now, now.Add(-time.Second)
	st.Shown = presence.Shown{Status: before.Status, Since: now, StatusRevision: st.Revision, Revision: st.Revision}
	if round > 0 {
		st.Answers = append(slices.Clone(st.Answers), presence.Answer{
			Key: [16]byte{byte(i), 1, 0xff}, Body: [16]byte{byte(round), 2, 0xfe}, At: now, Revision: st.Revision, Result: fmt.Sprint("made ", round),
		})
	}
	return st
}

func goldenDocs(t *testing.T, s *Store, round int) {
	t.Helper()
	ctx := context.Background()
	for _, account := range []presence.AccountID{"acme", "Ünïcode \x00 & co"} {
		docs := []store.Doc{
			{Key: store.Key{Collection: "app", Key: fmt.Sprint("app ", round)}, Value: []byte(fmt.Sprintf(`{"round":%d}`, round))},
			{Key: store.Key{Collection: "token", Key: fmt.Sprint("token ", round)}, Value: []byte{0, 1, 0xff}, Until: goldenNow.Add(time.Duration(round+1) * time.Hour)},
			{Key: store.Key{Collection: "email", Key: fmt.Sprintf("%d@example.com", round)}, Value: []byte{}},
		}
		if err := s.Write(ctx, account, docs...); err != nil {
			t.Fatal(err)
		}
		found, err := s.Load(ctx, account, docs[2].Key)
		if err != nil || len(found) != 1 {
			t.Fatalf("Load: %v, %v", found, err)
		}
		if round == 1 {
			found[0].Value = nil
			if err := s.Write(ctx, account, found[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// goldenListing lists the content of a store as text, as its readers see it.
func goldenListing(t *testing.T, s *Store) string {
	t.Helper()
	text, err := listing(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// listing reads everything with every method.
func listing(s *Store) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %s\nlast %d\ntrimmed %d\n", s.Epoch(), s.progress.durableAt(), s.trimmedTo())
	err := errors.Join(listRecords(&b, s), listLog(&b, s), listDocs(&b, s), listIndex(&b, s))
	return b.String(), err
}

// omitNewFields removes fields that older formats did not have and that are empty.
var omitNewFields = strings.NewReplacer(" Rules:<nil>", "", " Replaced:[]", "", " Via: Holder:}", "}", " Holder:}", "}", " Via:}", "}", "{App: Key:", "{Key:")

func listRecords(b *strings.Builder, s *Store) error {
	var users []store.User
	err := s.scan([]byte{recordPrefix}, upperBound([]byte{recordPrefix}), func(key, _ []byte) (bool, error) {
		u, ok := cutUser(key[1:])
		if !ok {
			return false, errValue
		}
		users = append(users, u)
		return true, nil
	})
	if err != nil {
		return err
	}
	records, _, err := s.Read(context.Background(), users, store.Freshness{})
	for _, r := range records {
		state := omitNewFields.Replace(fmt.Sprintf("%+v", *r.State))
		fmt.Fprintf(b, "record %+q at %d\n  state %s\n  shown %+v\n", fmt.Sprint(r.User), r.At, state, r.Shown)
	}
	return err
}

func listLog(b *strings.Builder, s *Store) error {
	for at := store.Position(0); ; {
		found, err := s.readLog(at, 1000)
		if err != nil || len(found) == 0 {
			return err
		}
		for _, e := range feedEntries(found, at) {
			fmt.Fprintf(b, "entry %d %+q %d %s %+v gap %t\n  before %+v\n  after %+v\n",
				e.At, fmt.Sprint(e.User), e.Revision, e.Time.UTC().Format(time.RFC3339Nano), e.By, e.Gap, e.Before, e.After)
			if e.Origin != (presence.Origin{}) || e.UserBefore != (store.UserFacts{}) || e.UserAfter != (store.UserFacts{}) {
				fmt.Fprintf(b, "  from %+v\n  user %+v, then %+v\n", e.Origin, e.UserBefore, e.UserAfter)
			}
			if len(e.Began)+len(e.Ended) > 0 {
				fmt.Fprintf(b, "  began %+v, ended %+v\n", e.Began, e.Ended)
			}
			if e.Profile != nil {
				fmt.Fprintf(b, "  profile %+v, before %+v\n", *e.Profile, e.ProfileBefore != nil)
			}
			at = e.At
		}
	}
}

func listDocs(b *strings.Builder, s *Store) error {
	for _, account := range []presence.AccountID{"acme", "Ünïcode \x00 & co"} {
		for _, collection := range []string{"app", "email", "pair", "token"} {
			docs, err := s.List(context.Background(), account, collection, "", 1000)
			if err != nil {
				return err
			}
			for _, d := range docs {
				fmt.Fprintf(b, "document %+q %q %q version %s until %s\n  %q\n", account, collection, d.Key.Key, d.Version, d.Until.UTC().Format(time.RFC3339), d.Value)
			}
		}
	}
	return nil
}

// listIndex lists the expiry indexes of documents and records.
func listIndex(b *strings.Builder, s *Store) error {
	for _, prefix := range []byte{docExpiryPrefix, expiryPrefix} {
		err := s.scan([]byte{prefix}, upperBound([]byte{prefix}), func(key, _ []byte) (bool, error) {
			fmt.Fprintf(b, "%c %+q\n", prefix, key[1:])
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// TestGolden: the directories of every format that was ever written hold in this
// version what they held then.
// readerLines are of what older versions kept for each consumer of the log, which
// is dropped at the first start.
var readerLines = regexp.MustCompile(`(?m)^reader .*\n`)

func TestGolden(t *testing.T) {
	formats, err := os.ReadDir(goldenDir)
	if err != nil || len(formats) == 0 {
		t.Fatalf("no golden directories: %v", err)
	}
	for _, format := range formats {
		want, err := os.ReadFile(filepath.Join(goldenDir, format.Name(), "listing.txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"clean", "killed"} {
			t.Run(format.Name()+"/"+kind, func(t *testing.T) {
				mem := copyFromDisk(t, filepath.Join(goldenDir, format.Name(), kind))
				for range 2 { // also after this version has closed it
					s := mustOpen(t, "data", goldenOptions(mem, goldenNow))
					if got := goldenListing(t, s); got != readerLines.ReplaceAllString(string(want), "") {
						t.Errorf("the directory holds\n%s\nwant\n%s", got, want)
					}
					if n := keysUnder(t, s, readerPrefix); n != 0 {
						t.Errorf("%d positions of consumers are left", n)
					}
					mustClose(t, s)
				}
			})
		}
	}
}
