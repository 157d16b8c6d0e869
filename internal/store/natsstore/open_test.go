package natsstore_test

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// touch is an update that changes only the revision.
func touch(s presence.State) (presence.State, error) {
	s.At = max(s.At, presence.InstantOf(time.Now()))
	s.Revision = max(s.Revision+1, presence.Revision(s.At))
	return s, nil
}

func userNumber(i int) store.User {
	return store.User{Account: "acme", ID: presence.UserID(fmt.Sprint("user", i))}
}

// An admin changes streams directly.
type admin struct {
	jetstream.JetStream
	testing.TB
}

func (c *cluster) admin(tb testing.TB) admin {
	tb.Helper()
	conn, err := nats.Connect(c.url(), nats.Timeout(waitLimit))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(waitLimit))
	if err != nil {
		tb.Fatal(err)
	}
	return admin{js, tb}
}

func (a admin) config(stream string) jetstream.StreamConfig {
	a.Helper()
	s, err := a.Stream(a.Context(), stream)
	if err != nil {
		a.Fatal(err)
	}
	return s.CachedInfo().Config
}

func (a admin) change(stream string, change func(*jetstream.StreamConfig)) {
	a.Helper()
	config := a.config(stream)
	change(&config)
	if _, err := a.UpdateStream(a.Context(), config); err != nil {
		a.Fatal(err)
	}
}

func (a admin) remove(stream string) {
	a.Helper()
	if err := a.DeleteStream(a.Context(), stream); err != nil {
		a.Fatal(err)
	}
}

func (a admin) create(config jetstream.StreamConfig) {
	a.Helper()
	if _, err := a.CreateStream(a.Context(), config); err != nil {
		a.Fatal(err)
	}
}

// TestRefusals: Open refuses every configuration or damage that could lose acknowledged
// writes, names it in the error, and creates or repairs nothing.
func TestRefusals(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	state := func(change func(*jetstream.StreamConfig)) func(a admin, prefix string) {
		return func(a admin, prefix string) { a.change(prefix+"-state", change) }
	}
	history := func(change func(*jetstream.StreamConfig)) func(a admin, prefix string) {
		return func(a admin, prefix string) { a.change(prefix+"-history", change) }
	}
	// recreate recreates a stream with a change that an update of the stream would
	// refuse.
	recreate := func(kind string, change func(*jetstream.StreamConfig)) func(a admin, prefix string) {
		return func(a admin, prefix string) {
			config := a.config(prefix + kind)
			a.remove(prefix + kind)
			change(&config)
			a.create(config)
		}
	}
	unmodified := func(*jetstream.StreamConfig) {}
	for name, c := range map[string]struct {
		corrupt func(a admin, prefix string)
		want    error
		text    string
	}{
		"fewer versions":        {state(func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 4 }), natsstore.ErrSettings, "max_msgs_per_subject"},
		"an age limit":          {state(func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }), natsstore.ErrSettings, "max_age"},
		"a limit of messages":   {state(func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 << 20 }), natsstore.ErrSettings, "max_msgs"},
		"a limit of bytes":      {state(func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 }), natsstore.ErrSettings, "max_bytes"},
		"no direct gets":        {state(func(c *jetstream.StreamConfig) { c.AllowDirect = false }), natsstore.ErrSettings, "allow_direct"},
		"no batches":            {state(func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }), natsstore.ErrSettings, "allow_atomic"},
		"no acknowledgements":   {state(func(c *jetstream.StreamConfig) { c.NoAck = true }), natsstore.ErrSettings, "no_ack"},
		"another subject":       {state(func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "elsewhere.>") }), natsstore.ErrSettings, "subjects"},
		"republished documents": {state(func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{Source: ">", Destination: "all.>"} }), natsstore.ErrSettings, "republish"},
		"nothing republished":   {state(func(c *jetstream.StreamConfig) { c.RePublish = nil }), natsstore.ErrSettings, "republish"},
		"a size limit":          {state(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 }), natsstore.ErrSettings, "max_msg_size"},
		"delete markers":        {state(func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Hour }), natsstore.ErrSettings, "subject_delete_marker_ttl"},
		"history: bytes":        {history(func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 }), natsstore.ErrSettings, "max_bytes"},
		"history: size":         {history(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 }), natsstore.ErrSettings, "max_msg_size"},
		"history: age":          {history(func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }), natsstore.ErrSettings, "max_age"},
		"history: versions":     {history(func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }), natsstore.ErrSettings, "max_msgs_per_subject"},
		"history: no gets":      {history(func(c *jetstream.StreamConfig) { c.AllowDirect = false }), natsstore.ErrSettings, "allow_direct"},
		"history: no source":    {history(func(c *jetstream.StreamConfig) { c.Sources, c.Subjects = nil, []string{"other"} }), natsstore.ErrSettings, "stream"},
		"no state":              {func(a admin, p string) { a.remove(p + "-state") }, natsstore.ErrLost, "-state"},
		"no history":            {func(a admin, p string) { a.remove(p + "-history") }, natsstore.ErrLost, "-history"},
		"state recreated":       {recreate("-state", unmodified), natsstore.ErrLost, "-state"},
		"history recreated":     {recreate("-history", unmodified), natsstore.ErrLost, "-history"},
		// Only a caller that knows of the store can distinguish these from a new one.
		"both recreated, must exist": {func(a admin, p string) { recreate("-state", unmodified)(a, p); recreate("-history", unmodified)(a, p) }, natsstore.ErrMissing, "-state"},
		"both gone, must exist":      {func(a admin, p string) { a.remove(p + "-state"); a.remove(p + "-history") }, natsstore.ErrMissing, "-state"},
		"state copied":               {func(a admin, p string) { a.copy(p) }, natsstore.ErrLost, "-state"},
		"state purged":               {func(a admin, p string) { a.purge(p + "-state") }, natsstore.ErrForeign, "-state"},
		"a newer format":             {func(a admin, p string) { a.reformat(p, 5) }, natsstore.ErrNewer, "format 5"},
		"a damaged identity":         {func(a admin, p string) { a.put(p+".m", []byte("rot")) }, nil, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := servers.options()
			o.Prefix = "r" + strings.NewReplacer(" ", "-", ":", "", ",", "").Replace(name)
			s := servers.open(t, o)
			if _, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			a := servers.admin(t)
			if strings.HasSuffix(name, "recreated") || strings.HasPrefix(name, "no ") {
				waitFor(t, "the history", func() bool { return a.messages(o.Prefix+"-history") > 0 })
			}
			c.corrupt(a, o.Prefix)
			before := a.streams()
			o.MustExist = strings.HasSuffix(name, "must exist")
			s, err := natsstore.Open(t.Context(), servers.url(), o)
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v; want %v, with %q", err, c.want, c.text)
			}
			for _, kind := range []string{"-state", "-history"} {
				if has := strings.Contains(before, o.Prefix+kind+" "); has != strings.Contains(a.streams(), o.Prefix+kind+" ") {
					t.Errorf("stream %s%s existed: %v, and that changed", o.Prefix, kind, has)
				}
			}
		})
	}
}

func (a admin) streams() string {
	var b strings.Builder
	names := a.StreamNames(a.Context())
	for name := range names.Name() {
		b.WriteString(name + " ")
	}
	if err := names.Err(); err != nil {
		a.Fatal(err)
	}
	return b.String()
}

func (a admin) messages(stream string) uint64 {
	a.Helper()
	s, err := a.Stream(a.Context(), stream)
	if err != nil {
		a.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// last is the newest message of the state stream on a subject.
func (a admin) last(subject string) *jetstream.RawStreamMsg {
	a.Helper()
	s, err := a.Stream(a.Context(), "porchlight-state")
	if err != nil {
		a.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(a.Context(), subject)
	if err != nil {
		a.Fatal(err)
	}
	return m
}

func (a admin) purge(stream string) {
	a.Helper()
	s, err := a.Stream(a.Context(), stream)
	if err == nil {
		err = s.Purge(a.Context())
	}
	if err != nil {
		a.Fatal(err)
	}
}

func (a admin) put(subject string, data []byte) {
	a.Helper()
	if _, err := a.Publish(a.Context(), subject, data); err != nil {
		a.Fatal(err)
	}
}

// copy recreates the state stream with the identity of the old one.
func (a admin) copy(prefix string) {
	a.Helper()
	s, err := a.Stream(a.Context(), prefix+"-state")
	if err != nil {
		a.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(a.Context(), prefix+".m")
	if err != nil {
		a.Fatal(err)
	}
	a.remove(prefix + "-state")
	a.create(s.CachedInfo().Config)
	a.put(prefix+".m", m.Data)
}

// reformat replaces the format in the identity.
func (a admin) reformat(prefix string, format int) {
	a.Helper()
	s, err := a.Stream(a.Context(), prefix+"-state")
	if err != nil {
		a.Fatal(err)
	}
	subject := prefix + ".m"
	m, err := s.GetLastMsgForSubject(a.Context(), subject)
	if err != nil {
		a.Fatal(err)
	}
	body := regexp.MustCompile(`"format":[0-9]+`).ReplaceAll(natsstore.Unsealed(m.Data), fmt.Appendf(nil, `"format":%d`, format))
	a.put(subject, natsstore.Sealed(subject, body))
}

// TestUpgrade: Open upgrades a store of the first format, and a running node notices a
// newer format than its own.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	s := servers.open(t, servers.options())
	was := update(t, s, userNamed("u"), noEdit)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a := servers.admin(t)
	a.reformat("porchlight", 1)
	s = closeAtEnd(t, servers.open(t, servers.options()))
	if identity := string(natsstore.Unsealed(a.last("porchlight.m").Data)); !strings.Contains(identity, `"format":4,`) {
		t.Errorf("after the upgrade the identity is %s", identity)
	}
	if records, _, err := s.Read(t.Context(), []store.User{userNamed("u")}, store.Freshness{}); err != nil || len(records) != 1 || records[0].At != was.At {
		t.Errorf("after the upgrade Read gave %+v, %v", records, err)
	}
	a.reformat("porchlight", 5)
	if err := s.VerifyOnce(t.Context()); !errors.Is(err, natsstore.ErrNewer) {
		t.Errorf("VerifyOnce of a newer format: %v, want ErrNewer", err)
	}
}

// TestServerRefusals: Open refuses insufficient settings of servers.
func TestServerRefusals(t *testing.T) {
	t.Parallel()
	lax := startServersIn(t, enginetest.DirInMemory(t), 1, "2m")
	strict := startServers(t, 1)
	for name, c := range map[string]struct {
		servers *cluster
		change  func(*natsstore.Options)
		want    error
		text    string
	}{
		"sync not always":     {lax, func(*natsstore.Options) {}, natsstore.ErrSettings, "sync_interval: always"},
		"sync unknown":        {strict, func(o *natsstore.Options) { o.SystemURL = "" }, natsstore.ErrSettings, "system account"},
		"no system account":   {strict, func(o *natsstore.Options) { o.SystemURL = strict.url() }, nil, "system account"},
		"more replicas":       {strict, func(o *natsstore.Options) { o.Replicas = 3 }, natsstore.ErrSettings, "3 replicas"},
		"nothing there":       {strict, func(o *natsstore.Options) { o.MustExist = true }, natsstore.ErrMissing, "missing-state"},
		"a prefix with a dot": {strict, func(o *natsstore.Options) { o.Prefix = "a.b" }, natsstore.ErrSettings, "prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := c.servers.options()
			o.Prefix = "missing"
			c.change(&o)
			s, err := natsstore.Open(t.Context(), c.servers.url(), o)
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v; want %v, with %q", err, c.want, c.text)
			}
			if got := c.servers.admin(t).streams(); strings.Contains(got, "missing") {
				t.Errorf("streams were created: %s", got)
			}
			if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), sysSecret) {
				t.Errorf("the error contains a password: %v", err)
			}
		})
	}
	o := lax.options()
	o.Relaxed = true
	if err := lax.open(t, o).Close(); err != nil {
		t.Errorf("relaxed durability was not accepted: %v", err)
	}
}

// TestExistingReplicas: Open refuses a stream with too few replicas, unless durability is
// relaxed.
func TestExistingReplicas(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	if err := servers.open(t, servers.options()).Close(); err != nil {
		t.Fatal(err)
	}
	o := servers.options()
	o.Replicas = 3
	if _, err := natsstore.Open(t.Context(), servers.url(), o); !errors.Is(err, natsstore.ErrSettings) || !strings.Contains(err.Error(), "num_replicas") {
		t.Errorf("one replica of three: %v", err)
	}
	o.Relaxed = true
	if err := servers.open(t, o).Close(); err != nil {
		t.Error(err)
	}
}

// TestCreationGoesOn: the next Open completes an interrupted creation, but only while
// nothing was stored.
func TestCreationGoesOn(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	o := servers.options()
	o.Prefix = "model"
	if err := servers.open(t, o).Close(); err != nil {
		t.Fatal(err)
	}
	a := servers.admin(t)
	model := map[string]jetstream.StreamConfig{"-state": a.config("model-state"), "-history": a.config("model-history")}
	for name, kinds := range map[string][]string{"first": {"-state"}, "second": {"-state", "-history"}} {
		o.Prefix = name
		for _, kind := range kinds {
			a.create(renamed(model[kind], "model", name))
		}
		o.MustExist = true
		if _, err := natsstore.Open(t.Context(), servers.url(), o); !errors.Is(err, natsstore.ErrMissing) {
			t.Errorf("interrupted after the %s step: %v, want ErrMissing", name, err)
		}
		o.MustExist = false
		s := servers.open(t, o)
		if _, err := s.Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch)); err != nil {
			t.Error(err)
		}
		epoch := s.Epoch()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s = servers.open(t, o)
		if s.Epoch() != epoch || epoch == "" {
			t.Errorf("the epoch went from %q to %q", epoch, s.Epoch())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenWithoutLeader: a node that starts while the streams and the cluster have no leader waits
// for one, although nobody responds to what it asked before.
func TestOpenWithoutLeader(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 3)
	o := servers.options()
	if err := servers.open(t, o).Close(); err != nil {
		t.Fatal(err)
	}
	url := servers.url()
	servers.stopServer(1)
	servers.stopServer(2)
	o.Logger, o.Timeout = slog.New(slog.DiscardHandler), 0
	opened := make(chan error, 1)
	go func() {
		s, err := natsstore.Open(t.Context(), url, o)
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	waitFor(t, "the request of the node", func() bool { return servers.servers[0].NumClients() > 0 })
	servers.startServer(t, 1)
	servers.startServer(t, 2)
	if err := <-opened; err != nil {
		t.Errorf("Open: %v", err)
	}
}

// renamed is c for another prefix.
func renamed(c jetstream.StreamConfig, from, to string) jetstream.StreamConfig {
	change := func(text string) string {
		if rest, ok := strings.CutPrefix(text, from); ok {
			return to + rest
		}
		return text
	}
	c.Name = change(c.Name)
	subjects := make([]string, len(c.Subjects))
	for i := range c.Subjects {
		subjects[i] = change(c.Subjects[i])
	}
	c.Subjects = subjects
	if c.RePublish != nil {
		c.RePublish = &jetstream.RePublish{Source: change(c.RePublish.Source), Destination: change(c.RePublish.Destination)}
	}
	for i, s := range c.Sources {
		c.Sources[i] = &jetstream.StreamSource{Name: change(s.Name), FilterSubject: change(s.FilterSubject)}
	}
	return c
}

// TestManyCreateAtOnce: nodes that start together open one store.
func TestManyCreateAtOnce(t *testing.T) {
	t.Parallel()
	servers := startServers(t, 1)
	const nodes = 6
	stores := make(chan *natsstore.Store, nodes)
	for range nodes {
		go func() {
			s, err := natsstore.Open(t.Context(), servers.url(), servers.options())
			if err != nil {
				t.Errorf("Open: %v", err)
			}
			stores <- s
		}()
	}
	epochs := make(map[string]bool)
	for range nodes {
		if s := <-stores; s != nil {
			epochs[s.Epoch()] = true
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if len(epochs) != 1 {
		t.Errorf("%d nodes opened stores of the epochs %v", nodes, epochs)
	}
}
