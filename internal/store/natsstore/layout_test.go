package natsstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/store/transfer"
)

// refresh makes an unlogged update.
func refresh(tb testing.TB, s *natsstore.Store, u store.User, change func(*presence.State)) store.Record {
	tb.Helper()
	r, err := s.Update(tb.Context(), u, storetest.Unlogged(storetest.UpdateFunc(store.By{Cause: store.CauseRefresh}, edit(change))))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func noteText(text string) func(*presence.State) {
	return func(s *presence.State) { s.Note.Text = text }
}

// TestScanOfAReplicaBehind: a scan gives each record once and as it is, also on a replica that
// lists changes which the leader has replaced.
func TestScanOfAReplicaBehind(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	want := make(map[store.User]store.Record)
	for i := range 300 { // more than are listed at a time
		u := userNamed(fmt.Sprint("u", i%100))
		if want[u] = update(t, s, u, noteText(fmt.Sprint(i))); i%3 == 0 {
			want[u] = refresh(t, s, u, noteText(fmt.Sprint(i, " refreshed")))
		}
	}
	given := 0
	err := s.ScanBehind(t.Context(), func(r store.Record) {
		given++
		if w := want[r.User]; r.State.Revision != w.State.Revision || r.State.Note != w.State.Note {
			t.Errorf("Scan gave %+v, want %+v", r, w)
		}
	})
	if err != nil || given != len(want) {
		t.Errorf("Scan gave %d records of %d users, %v", given, len(want), err)
	}
}

// TestConsumerThatIsNotKnownYet: a server that does not know a consumer yet, which another one
// has just created, does not end a scan.
func TestConsumerThatIsNotKnownYet(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	update(t, s, userNamed("u"), noEdit)
	if read, err := s.ReadLate(t.Context(), 100*time.Millisecond); err != nil || read != 1 {
		t.Errorf("read %d records, %v", read, err)
	}
}

// TestUnloggedStaysInState: unlogged updates, and timers that are moved, add nothing to the
// history and are not republished. The state stream keeps one of them.
func TestUnloggedStaysInState(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := closeAtEnd(t, servers.open(t, servers.options()))
	a := servers.admin(t)
	republished, err := a.Conn().SubscribeSync("porchlight.r.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	u := userNamed("u")
	update(t, s, u, noEdit)
	for i := range 30 {
		refresh(t, s, u, outFor(time.Duration(60-i)*time.Minute)) // each with a schedule in its batch
	}
	last := update(t, s, u, noEdit)
	subject := natsstore.StateSubject(u)
	for range 2 {
		m, err := republished.NextMsg(waitLimit)
		if err != nil || m.Subject != strings.TrimSuffix(strings.Replace(subject, ".s.", ".r.", 1), ".c") {
			t.Fatalf("republished: %+v, %v", m, err)
		}
	}
	if m, err := republished.NextMsg(100 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("an unlogged update was republished: %+v, %v", m, err)
	}
	if entries, err := s.Log(t.Context(), 0, 100); err != nil || len(entries) != 2 || entries[1].At != last.At {
		t.Errorf("the log is %+v, %v; want two entries", entries, err)
	}
	if n := a.messages("porchlight-history"); n != 2 {
		t.Errorf("the history has %d messages, want 2", n)
	}
	for filter, want := range map[string]int{subject: 2, strings.TrimSuffix(subject, ".c") + ".r": 1} {
		if got := len(a.subjects("porchlight-state", filter)); got != want {
			t.Errorf("the state stream has %d messages at %s, want %d", got, filter, want)
		}
	}
}

// subjects returns the subject of each message that matches a filter.
func (a admin) subjects(stream, filter string) (subjects []string) {
	a.Helper()
	s, err := a.Stream(a.Context(), stream)
	if err != nil {
		a.Fatal(err)
	}
	info, err := s.Info(a.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		a.Fatal(err)
	}
	for subject, n := range info.State.Subjects {
		subjects = append(subjects, slices.Repeat([]string{subject}, int(n))...)
	}
	return subjects
}

// TestNodesDoNotFork: whatever nodes write to the two subjects of a record, each version is
// made from the one before, and none is lost.
func TestNodesDoNotFork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ servers, users, each int }{{1, 1, 20}, {3, 1, 10}, {3, 500, 60}} {
		t.Run(fmt.Sprintf("%d users, R%d", c.users, c.servers), func(t *testing.T) {
			t.Parallel()
			contend(t, startServers(t, c.servers), c.users, c.each)
		})
	}
}

// contend makes two nodes update the same users, with and without log entries and schedules.
func contend(t *testing.T, servers *cluster, users, each int) {
	t.Helper()
	const callers = 8
	o := servers.options()
	o.Timeout = storeTimeout
	var group sync.WaitGroup
	var mu sync.Mutex
	made := make(map[store.User]map[presence.Revision]presence.Revision) // the revision that each was made from
	var nodes []*natsstore.Store
	for node := range 2 {
		s := closeAtEnd(t, servers.open(t, o))
		nodes = append(nodes, s)
		for caller := range callers {
			group.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(node), uint64(caller)))
				for range each {
					u := userNumber(rng.IntN(users))
					var saw presence.Revision
					fn := storetest.UpdateFunc(store.By{}, func(s presence.State) (presence.State, error) {
						saw = s.Revision
						s, err := edit(outFor(time.Duration(rng.IntN(1000)) * time.Minute))(s)
						return s, err
					})
					if rng.IntN(3) > 0 {
						fn = storetest.Unlogged(fn)
					}
					r, err := s.Update(t.Context(), u, fn)
					if err != nil {
						t.Errorf("Update: %v", err)
						return
					}
					mu.Lock()
					if made[u] == nil {
						made[u] = make(map[presence.Revision]presence.Revision)
					}
					if from, ok := made[u][r.State.Revision]; ok {
						t.Errorf("revision %d of %s was made from %d and from %d", r.State.Revision, u.ID, from, saw)
					}
					made[u][r.State.Revision] = saw
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	total := 0
	for u, chain := range made {
		records, _, err := nodes[0].Read(t.Context(), []store.User{u}, store.Freshness{Strong: true})
		if err != nil || len(records) != 1 {
			t.Fatalf("Read: %+v, %v", records, err)
		}
		n := 0
		for at := records[0].State.Revision; at != 0; n++ {
			from, ok := chain[at]
			if !ok {
				t.Errorf("revision %d of %s is in the store, and no update made it", at, u.ID)
				break
			}
			at = from
		}
		if n != len(chain) {
			t.Errorf("%d versions of %s lead to the record, and %d updates were acknowledged", n, u.ID, len(chain))
		}
		total += len(chain)
	}
	if want := 2 * callers * each; total != want {
		t.Errorf("%d updates were acknowledged, want %d", total, want)
	}
}

// layout1 makes a store of format 3 from one of this version, whose records have no timers:
// the messages of records are at the subjects of layout 1, at the same positions.
func (a admin) layout1(from, to string) {
	a.Helper()
	ctx := a.Context()
	state, history := a.config(from+"-state"), a.config(from+"-history")
	rename := func(text string) string { return strings.ReplaceAll(text, from+"-", to+"-") }
	state.Name, history.Name = rename(state.Name), rename(history.Name)
	state.Subjects = nil
	for _, kind := range []string{"s.>", "x.>", "t.>", "d.>", "f.>", "m", "c"} {
		state.Subjects = append(state.Subjects, to+"."+kind)
	}
	state.RePublish = &jetstream.RePublish{Source: to + ".s.>", Destination: to + ".r.>"}
	history.Sources = []*jetstream.StreamSource{{Name: state.Name, FilterSubject: to + ".s.>"}}
	var created []time.Time
	for _, config := range []jetstream.StreamConfig{state, history} {
		s, err := a.CreateStream(ctx, config)
		if err != nil {
			a.Fatal(err)
		}
		created = append(created, s.CachedInfo().Created)
	}
	a.awaitSource(history.Name)
	s, err := a.Stream(ctx, from+"-state")
	if err != nil {
		a.Fatal(err)
	}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			a.Fatal(err)
		}
		subject := strings.TrimSuffix(to+strings.TrimPrefix(m.Subject, from), ".c")
		body := natsstore.Unsealed(m.Data)
		if subject == to+".m" {
			body, err = json.Marshal(map[string]any{"format": 3, "epoch": "old", "state_created": created[0], "history_created": created[1]})
			if err != nil {
				a.Fatal(err)
			}
		}
		a.put(subject, natsstore.Sealed(subject, body))
	}
}

// awaitSource waits until a stream copies its source.
func (a admin) awaitSource(stream string) {
	a.Helper()
	waitFor(a.TB, "the history", func() bool {
		s, err := a.Stream(a.Context(), stream)
		return err == nil && len(s.CachedInfo().Sources) > 0 && s.CachedInfo().Sources[0].Active >= 0
	})
}

// oldStore makes a store of layout 1 with the prefix "old": u was updated three times, v
// once, w once.
func oldStore(t *testing.T) (servers *cluster, a admin, o natsstore.Options, records map[string]store.Record) {
	t.Helper()
	servers = startServers(t, 1)
	o = servers.options()
	s := servers.open(t, o)
	records = make(map[string]store.Record)
	for i, id := range []string{"u", "v", "u", "w", "u"} {
		records[id] = update(t, s, userNamed(id), noteText(strconv.Itoa(i)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a = servers.admin(t)
	a.layout1("porchlight", "old")
	o.Prefix = "old"
	return servers, a, o, records
}

// TestLayout1Opens: a store of the previous layout is upgraded without copying anything, and
// its users move to the new subjects as they are updated.
func TestLayout1Opens(t *testing.T) {
	t.Parallel()
	servers, a, o, was := oldStore(t)
	u, v, w := userNamed("u"), userNamed("v"), userNamed("w")
	last := a.lastRecord("old")
	s := closeAtEnd(t, servers.open(t, o))
	other := closeAtEnd(t, servers.open(t, o))
	if records, _, err := s.Read(t.Context(), []store.User{u, v, w}, store.Freshness{}); err != nil || len(records) != 3 || records[0].At != was["u"].At || records[1].State.Note.Text != "1" {
		t.Fatalf("after the upgrade Read gave %+v, %v", records, err)
	}
	if got := a.lastRecord("old"); got != last {
		t.Errorf("the upgrade wrote records up to %d", got)
	}
	// An older version would write here.
	if _, err := a.Publish(t.Context(), "old.s.00.zz.zz", nil); err == nil {
		t.Error("the servers accept records of layout 1")
	}
	checkLog(t, s, 5)
	silent := refresh(t, s, u, noteText("silent"))
	if silent.At != was["u"].At {
		t.Errorf("an unlogged update moved the position from %d to %d", was["u"].At, silent.At)
	}
	next := update(t, other, u, func(s *presence.State) {
		if s.Note.Text != "silent" {
			t.Errorf("the other node's update saw %q", s.Note.Text)
		}
	})
	update(t, s, v, noEdit)
	checkLog(t, s, 7)
	history, err := s.History(t.Context(), u, 0, 10)
	if err != nil || len(history) != 4 || history[0].At != next.At || slices.ContainsFunc(history, func(e store.Entry) bool { return e.Gap }) {
		t.Errorf("the history of u is %+v, %v; want four entries without a Gap", history, err)
	}
	given := make(map[store.User]presence.Revision)
	if err := s.Scan(t.Context(), func(group []store.Record) error {
		for _, r := range group {
			if given[r.User] != 0 {
				t.Errorf("Scan gave %s twice", r.User.ID)
			}
			given[r.User] = r.State.Revision
		}
		return nil
	}); err != nil || len(given) != 3 || given[u] != next.State.Revision || given[w] != was["w"].State.Revision {
		t.Errorf("Scan gave %v, %v", given, err)
	}
	if err := s.Erase(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if history, err := s.History(t.Context(), u, 0, 10); err != nil || len(history) != 0 {
		t.Errorf("after the erasure the history of u is %+v, %v", history, err)
	}
	if left := a.subjects("old-state", strings.Replace(strings.TrimSuffix(natsstore.StateSubject(u), ".c"), "porchlight", "old", 1)); len(left) != 0 {
		t.Errorf("after the erasure the state stream has %v", left)
	}
	if records, _, err := s.Read(t.Context(), []store.User{u, w}, store.Freshness{}); err != nil || len(records) != 2 || records[0].State.Revision != next.State.Revision {
		t.Errorf("after the erasure Read gave %+v, %v", records, err)
	}
}

// lastRecord is the sequence of the last message of a record.
func (a admin) lastRecord(prefix string) uint64 {
	a.Helper()
	s, err := a.Stream(a.Context(), prefix+"-state")
	if err != nil {
		a.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(a.Context(), prefix+".s.>")
	if err != nil {
		a.Fatal(err)
	}
	return m.Sequence
}

// checkLog checks that the log has n entries, none of which has a Gap, wherever a reader
// begins.
func checkLog(t *testing.T, s *natsstore.Store, n int) {
	t.Helper()
	var all []store.Entry
	waitFor(t, fmt.Sprint(n, " entries in the log, which the servers copy"), func() bool {
		var err error
		all, err = s.Log(t.Context(), 0, 100)
		return err == nil && len(all) >= n
	})
	if len(all) != n {
		t.Fatalf("Log gave %d entries; want %d", len(all), n)
	}
	for i := range all {
		rest, err := s.Log(t.Context(), all[i].At, 100)
		if err != nil || len(rest) != n-i-1 {
			t.Fatalf("Log after entry %d gave %d entries, %v", i, len(rest), err)
		}
		for _, e := range rest {
			if e.Gap || e.Damaged != nil {
				t.Errorf("Log after entry %d gave %+v", i, e)
			}
		}
	}
}

// TestLayout1Contended: nodes that move a user to the new subjects at once do not fork.
func TestLayout1Contended(t *testing.T) {
	t.Parallel()
	servers, _, o, _ := oldStore(t)
	o.Timeout = storeTimeout
	var group sync.WaitGroup
	nodes := []*natsstore.Store{closeAtEnd(t, servers.open(t, o)), closeAtEnd(t, servers.open(t, o))}
	for i := range 16 {
		group.Go(func() {
			fn := storetest.UpdateFunc(store.By{}, edit(func(s *presence.State) { s.Note.Text += "." }))
			if i%3 > 0 {
				fn = storetest.Unlogged(fn)
			}
			for _, id := range []string{"u", "v"} {
				if _, err := nodes[i%2].Update(t.Context(), userNamed(id), fn); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	group.Wait()
	records, _, err := nodes[0].Read(t.Context(), []store.User{userNamed("u"), userNamed("v")}, store.Freshness{Strong: true})
	if err != nil || len(records) != 2 {
		t.Fatalf("Read: %+v, %v", records, err)
	}
	for i, text := range []string{"4", "1"} {
		if got := records[i].State.Note.Text; got != text+strings.Repeat(".", 16) {
			t.Errorf("%s has the note %q: updates are lost", records[i].User.ID, got)
		}
	}
}

// TestLayout1TwoNodes: two nodes that start on a store of layout 1 at once both upgrade it, or
// one finds that the other did and already serves it. What that one stored meanwhile is kept.
func TestLayout1TwoNodes(t *testing.T) {
	t.Parallel()
	for name, serving := range map[string]bool{"before the other holds the lease": false, "while the other serves": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers, _, o, was := oldStore(t)
			o.Timeout = storeTimeout
			if serving {
				o = natsstore.WithSharedLease(o, time.Second)
			}
			var first *natsstore.Store
			var next store.Record
			format, err := natsstore.UpgradeAfter(t.Context(), servers.url(), o, func() {
				first = closeAtEnd(t, servers.open(t, o))
				next = update(t, first, userNamed("u"), noteText("next"))
			})
			if err != nil || format < 4 {
				t.Fatalf("the second node: format %d, %v", format, err)
			}
			second := closeAtEnd(t, servers.open(t, o))
			update(t, second, userNamed("v"), noteText("last"))
			checkLog(t, first, 7)
			records, _, err := second.Read(t.Context(), []store.User{userNamed("u"), userNamed("v"), userNamed("w")}, store.Freshness{Strong: true})
			if err != nil || len(records) != 3 || records[0].At != next.At || records[1].State.Note.Text != "last" || records[2].At != was["w"].At {
				t.Errorf("%+v, %v", records, err)
			}
		})
	}
}

// TestLayout1Source: a migration reads a store of the previous layout as it is.
func TestLayout1Source(t *testing.T) {
	t.Parallel()
	servers, a, o, was := oldStore(t)
	before := a.config("old-state").Subjects
	src, err := natsstore.OpenSource(t.Context(), servers.url(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	given := make(map[string]store.Position)
	if err := src.Records(t.Context(), func(r *transfer.Record) error {
		given[string(r.User.ID)] = r.At
		return nil
	}); err != nil || len(given) != 3 || given["u"] != was["u"].At {
		t.Errorf("Records gave %v, %v", given, err)
	}
	entries := 0
	if err := src.Entries(t.Context(), func(*transfer.Entry) error { entries++; return nil }); err != nil || entries != 5 {
		t.Errorf("Entries gave %d, %v", entries, err)
	}
	if after := a.config("old-state").Subjects; !slices.Equal(before, after) {
		t.Errorf("the subjects of the stream were changed to %v", after)
	}
}
