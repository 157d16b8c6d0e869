package natsstore_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/leveltest"
	"porchlight.dev/porchlight/internal/porttest"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/storetest"
)

// startProcesses runs three servers, each a process, as a cluster.
func startProcesses(tb testing.TB) (all []*process, url, systemURL string) {
	tb.Helper()
	const n = 3
	ports := porttest.Free(tb, 2*n)
	var routes, urls, systemURLs []string
	for _, port := range ports[n:] {
		routes = append(routes, strconv.Quote(fmt.Sprintf("nats://127.0.0.1:%d", port)))
	}
	for i := range n {
		dir := enginetest.DirInMemory(tb)
		p := &process{config: dir + "/nats.conf", port: ports[i]}
		config := fmt.Sprintf(serverConfig, dir+"/data", always) + fmt.Sprintf("server_name: p%d\ncluster {name: test, listen: \"127.0.0.1:%d\", routes: [%s]}\n", i, ports[n+i], strings.Join(routes, ", "))
		if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
			tb.Fatal(err)
		}
		p.start(tb)
		tb.Cleanup(p.kill)
		all, urls, systemURLs = append(all, p), append(urls, p.url()), append(systemURLs, p.systemURL())
	}
	return all, strings.Join(urls, ","), strings.Join(systemURLs, ",")
}

// leaderName is the name of the server that leads the state stream.
func leaderName(tb testing.TB, url string) string {
	tb.Helper()
	conn, err := nats.Connect(url, nats.Timeout(waitLimit))
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		tb.Fatal(err)
	}
	var name string
	waitFor(tb, "the leader", func() bool {
		stream, err := js.Stream(tb.Context(), "porchlight-state")
		if err == nil {
			name = stream.CachedInfo().Cluster.Leader
		}
		return name != ""
	})
	return name
}

// TestStrongReadPausedLeader: while the leader of the stream is stopped, and after it goes
// on as if it still led, a strong read is right or refused.
func TestStrongReadPausedLeader(t *testing.T) {
	t.Parallel()
	if !leveltest.Full(t, "the leader of the stream is paused") {
		return
	}
	servers, url, systemURL := startProcesses(t)
	o := natsstore.Options{Replicas: 3, SystemURL: systemURL, Logger: slog.New(slog.DiscardHandler)}
	var nodes []*natsstore.Store
	for range 2 {
		s := openSoon(t, url, o)
		defer closeStore(t, s)
		nodes = append(nodes, s)
	}
	acked, right, refused := uint64(0), 0, 0
	round := func() {
		r, err := nodes[0].Update(t.Context(), userNumber(1), storetest.UpdateFunc(store.By{}, touch))
		if err == nil {
			acked = uint64(r.State.Revision)
		}
		records, _, err := nodes[1].Read(t.Context(), []store.User{userNumber(1)}, store.Freshness{Strong: true})
		switch {
		case errors.Is(err, store.ErrUnavailable):
			refused++
		case err != nil || acked > 0 && (len(records) != 1 || uint64(records[0].State.Revision) < acked):
			t.Fatalf("a strong read gave %+v, %v; revision %d was acknowledged before", records, err, acked)
		default:
			right++
		}
	}
	waitFor(t, "reads", func() bool { round(); return right > 10 })
	name := leaderName(t, url)
	i, err := strconv.Atoi(strings.TrimPrefix(name, "p"))
	if err != nil {
		t.Fatal(name, err)
	}
	paused := servers[i].cmd.Process
	if err := paused.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	right, refused = 0, 0
	waitFor(t, "reads without the leader", func() bool { round(); return right > 50 })
	took := time.Since(began)
	if err := paused.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	was := right
	waitFor(t, "reads after the leader went on", func() bool { round(); return right > was+50 })
	t.Logf("paused %s: 50 reads took %v; %d were refused", name, took, refused)
	if took < time.Second {
		t.Errorf("invalid: without the leader, 50 reads took only %v", took)
	}
}
