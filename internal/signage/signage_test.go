package signage_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/signage"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/storetest"
	"porchlight.dev/porchlight/internal/view"
)

// recorder keeps the events.
type recorder []audit.Event

func (r *recorder) Record(_ context.Context, _ presence.AccountID, e *audit.Event) error {
	*r = append(*r, *e)
	return nil
}

// A world is an account whose users have been put into it by hand.
type world struct {
	*signage.Registry

	t         *testing.T
	store     store.Store
	directory *directory.Directory
	account   directory.Account
	events    recorder
	now       time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Now()}
	clock := func() time.Time { return w.now }
	w.store = enginetest.Open(t, clock)
	w.directory = directory.New(w.store, clock)
	var err error
	if w.account, err = w.directory.CreateAccount(t.Context(), "Example"); err != nil {
		t.Fatal(err)
	}
	w.Registry = signage.New(signage.Options{Store: w.store, Directory: w.directory, Views: &view.Reader{Store: w.store}, Audit: &w.events, Clock: clock})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// user adds a user, and plays events into the record.
func (w *world) user(u directory.User, events ...presence.Event) directory.User {
	w.t.Helper()
	u.Email = mailbox(u.DisplayName+u.FirstName) + "@example.com"
	u.Active = true
	made, err := w.directory.Create(w.t.Context(), w.account.ID, u)
	w.must(err)
	for _, e := range events {
		_, err := w.store.Update(w.t.Context(), store.User{Account: w.account.ID, ID: made.ID}, storetest.Apply(e, presence.Policy{}, presence.InstantOf(w.now)))
		w.must(err)
	}
	return made
}

func mailbox(name string) string {
	return "mail." + strings.ReplaceAll(strings.ToLower(name), " ", ".")
}

// blocked holds reads of records, and counts them.
type blocked struct {
	store.Store
	reads  atomic.Int32
	opened chan struct{}
}

func (b *blocked) Read(ctx context.Context, users []store.User, fresh store.Freshness) ([]store.Record, store.Cursor, error) {
	b.reads.Add(1)
	<-b.opened
	return b.Store.Read(ctx, users, fresh)
}

func (b *blocked) Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error) {
	docs, err := b.Store.Load(ctx, account, keys...)
	if e, ok := ctx.(*entering); ok {
		e.loaded.Store(true)
	}
	return docs, err
}

// entering is the context of a request, which counts it when it waits after its link was read.
type entering struct {
	context.Context

	loaded  atomic.Bool
	once    sync.Once
	entered *atomic.Int32
}

func (e *entering) Done() <-chan struct{} {
	if e.loaded.Load() {
		e.once.Do(func() { e.entered.Add(1) })
	}
	return e.Context.Done()
}

// panicking panics when records are read.
type panicking struct{ store.Store }

func (panicking) Read(context.Context, []store.User, store.Freshness) ([]store.Record, store.Cursor, error) {
	panic("a fault")
}

// TestPanic: a panic while a link is read is an error of the request, and does not end the
// process.
func TestPanic(t *testing.T) {
	w := newWorld(t)
	w.user(directory.User{DisplayName: "Ada"})
	_, address := w.make("")
	w.Registry = signage.New(signage.Options{
		Store: w.store, Directory: w.directory, Views: &view.Reader{Store: panicking{w.store}}, Audit: &w.events, Clock: func() time.Time { return w.now },
	})
	if _, err := w.Show(t.Context(), address); err == nil || !strings.Contains(err.Error(), "a fault") {
		t.Errorf("%v", err)
	}
}

// TestConcurrentRequests: displays that ask at the same time are shown one reading, which does
// not end with the request that began it.
func TestConcurrentRequests(t *testing.T) {
	w := newWorld(t)
	w.user(directory.User{DisplayName: "Ada"})
	_, address := w.make("")
	held := &blocked{Store: w.store, opened: make(chan struct{})}
	w.Registry = signage.New(signage.Options{
		Store: held, Directory: w.directory, Views: &view.Reader{Store: held}, Audit: &w.events, Clock: func() time.Time { return w.now },
	})
	first, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := w.Show(first, address)
		failed <- err
	}()
	for held.reads.Load() == 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("a request that was canceled gets %v", err)
	}
	shown := make(chan error, 20)
	var entered atomic.Int32
	for range cap(shown) {
		go func() {
			v, err := w.Show(&entering{Context: t.Context(), entered: &entered}, address)
			if err == nil && len(v.People) != 1 {
				err = errors.New("nobody is shown")
			}
			shown <- err
		}()
	}
	for int(entered.Load()+held.reads.Load()-1) < cap(shown) { // each waits, or reads by itself
		runtime.Gosched()
	}
	close(held.opened)
	for range cap(shown) {
		w.must(<-shown)
	}
	if n := held.reads.Load(); n != 1 {
		t.Errorf("%d readings for requests at the same time, want 1", n)
	}
}

// make makes a link and returns its address.
func (w *world) make(group string) (signage.Link, string) {
	w.t.Helper()
	link, address, err := w.Create(w.t.Context(), w.account.ID, audit.Actor{User: "owner"}, "Entrance", group)
	w.must(err)
	return link, address
}

// shown is what an address shows, in order: "Ada busy".
func (w *world) shown(address string) (title string, people []string) {
	w.t.Helper()
	v, err := w.Show(w.t.Context(), address)
	w.must(err)
	for _, p := range v.People {
		people = append(people, p.Name+" "+p.Status.String())
	}
	slices.Sort(people)
	return v.Title, people
}

// forget lets what was shown become old.
func (w *world) forget() { w.now = w.now.Add(time.Minute) }

var (
	signIn = presence.SignIn{Session: "s", Client: presence.Desktop}
	busy   = presence.SetClaim{ID: presence.ManualClaim, Source: presence.Manual, Status: presence.Busy, Note: "secret"}
)

// A display shows names and statuses as everybody may see them, and nothing of users who are
// not active.
func TestShow(t *testing.T) {
	w := newWorld(t)
	w.user(directory.User{DisplayName: "Ada", Groups: []string{"Support"}}, signIn, busy)
	w.user(directory.User{FirstName: "Bo", LastName: "Berg"})
	w.user(directory.User{DisplayName: "Hidden", Groups: []string{"Support"}}, signIn, busy, presence.SetVisibility{Everyone: presence.VisibilityOffline})
	w.user(directory.User{}, signIn)
	gone := w.user(directory.User{DisplayName: "Gone", Groups: []string{"Support"}}, signIn)
	w.must(w.directory.Delete(t.Context(), w.account.ID, gone.ID))
	off := w.user(directory.User{DisplayName: "Off"}, signIn)
	off.Active = false
	_, err := w.directory.Update(t.Context(), w.account.ID, off)
	w.must(err)
	w.user(directory.User{DisplayName: "Erased"}, signIn, presence.SetUserState{State: presence.UserDeleted})

	_, everybody := w.make("")
	_, support := w.make("support")
	for _, row := range []struct {
		address, title string
		people         []string
	}{
		{everybody, "Example", []string{" available", "Ada busy", "Bo Berg offline", "Hidden offline"}},
		{support, "support", []string{"Ada busy", "Hidden offline"}},
	} {
		if title, people := w.shown(row.address); title != row.title || !slices.Equal(people, row.people) {
			t.Errorf("%s: %q, want %s: %q", title, people, row.title, row.people)
		}
	}
}

// A revoked link, one of a suspended account, and one that never existed get the same error.
func TestNoLink(t *testing.T) {
	w := newWorld(t)
	link, address := w.make("")
	_, other := w.make("")
	w.shown(address)
	w.must(w.Revoke(t.Context(), w.account.ID, audit.Actor{User: "owner"}, link.ID))
	check := func(addresses ...string) {
		t.Helper()
		for _, address := range addresses {
			if _, err := w.Show(t.Context(), address); err != signage.ErrNoLink { //nolint:errorlint // nothing may be added to it
				t.Errorf("%q: %v", address, err)
			}
		}
	}
	id := string(w.account.ID)
	check(address, "", ".", "x", id, id+".", id+"."+link.ID, "nobody"+address[len(id):], "."+address, address+"x", strings.Repeat("x", 300)+".y", id+"\x00."+link.ID)
	for _, id := range []string{link.ID, "", "x", "a/b"} {
		if err := w.Revoke(t.Context(), w.account.ID, audit.Actor{}, id); !errors.Is(err, signage.ErrNoLink) {
			t.Errorf("revoke %q: %v", id, err)
		}
	}

	w.shown(other)
	suspended := true
	account, err := w.directory.Account(t.Context(), w.account.ID)
	w.must(err)
	_, err = w.directory.UpdateAccount(t.Context(), account, directory.AccountChange{Suspended: &suspended})
	w.must(err)
	w.forget()
	check(other)
}

// What a display shows is as new as documented, and is read once for many requests.
func TestFresh(t *testing.T) {
	w := newWorld(t)
	_, address := w.make("")
	first, err := w.Show(t.Context(), address)
	w.must(err)
	w.user(directory.User{DisplayName: "Ada"})
	if again, err := w.Show(t.Context(), address); err != nil || again != first {
		t.Errorf("%p again after %p, %v", again, first, err)
	}
	w.now = w.now.Add(2 * time.Second)
	if _, people := w.shown(address); !slices.Equal(people, []string{"Ada offline"}) {
		t.Errorf("%q", people)
	}
}

// Links are listed without their addresses, of which the store has no copy, and bounded;
// events tell who made and revoked them.
func TestLinks(t *testing.T) {
	w := newWorld(t)
	link, address := w.make(" Night  shift ")
	secret := address[strings.LastIndex(address, ".")+1:]
	links, err := w.List(t.Context(), w.account.ID)
	w.must(err)
	if len(links) != 1 || links[0].ID != link.ID || links[0].Name != "Entrance" || links[0].Group != link.Group || !links[0].Created.Equal(link.Created) {
		t.Errorf("%+v, made %+v", links, link)
	}
	docs, err := w.store.List(t.Context(), w.account.ID, "signage-link", "", 10)
	w.must(err)
	if len(docs) != 1 || strings.Contains(docs[0].Key.Key+string(docs[0].Value), secret) || len(secret) != 43 {
		t.Errorf("the store has %q of %q", docs, secret)
	}
	w.must(w.Revoke(t.Context(), w.account.ID, audit.Actor{User: "admin"}, link.ID))
	if e := w.events; len(e) != 2 || e[0].Action != "signage-link.create" || e[0].By.User != "owner" || e[1].Action != "signage-link.revoke" || e[1].By.User != "admin" || e[1].Target != "signage-link/"+link.ID {
		t.Errorf("%+v", w.events)
	}
	for _, name := range []string{"", " ", "a\nb", strings.Repeat("x", 101)} {
		if _, _, err := w.Create(t.Context(), w.account.ID, audit.Actor{}, name, ""); err == nil {
			t.Errorf("a link with the name %q", name)
		}
	}
	for range signage.MaxLinks {
		w.make("")
	}
	_, _, err = w.Create(t.Context(), w.account.ID, audit.Actor{}, "one more", "")
	if _, ok := errors.AsType[*directory.LimitError](err); !ok {
		t.Errorf("one more link: %v", err)
	}
}
