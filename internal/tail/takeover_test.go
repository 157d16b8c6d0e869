package tail_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/tail"
)

// nodeEnv makes the process a node of a cluster, which only consumes: its value is the
// URL of the store and that of the system account.
const nodeEnv = "TAIL_TEST_NATS"

// nodeTimes are long enough for a slow machine, and short enough for a test.
func nodeTimes() membership.Times {
	return membership.Times{Interval: 200 * time.Millisecond, IsolatedAfter: 10 * time.Second, DeadAfter: 20 * time.Second}
}

// runNodeProcess consumes until the parent closes its standard input, or kills it.
func runNodeProcess(dir, urls string) error {
	url, system, _ := strings.Cut(urls, " ")
	st, err := natsstore.Open(context.Background(), url, natsstore.Options{Clock: time.Now, Replicas: 1, SystemURL: system, Timeout: enginetest.Timeout})
	if err != nil {
		return err
	}
	to, err := os.OpenFile(logFile(dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	members := membership.New(membership.Options{Store: st, Clock: time.Now, Times: nodeTimes(), Facts: membership.Facts{Reads: membership.ThisVersion()}})
	if err := members.Join(ctx); err != nil {
		return err
	}
	consumers := tail.New(tail.Options{Store: st, Nodes: members, Clock: time.Now, Log: slog.New(slog.DiscardHandler)},
		tail.Consumer{Name: "diary", Handler: entryWriter{to}})
	ended := make(chan error, 2)
	go func() { ended <- consumers.Run(ctx) }()
	go func() { ended <- members.Run(ctx) }()
	if _, err := os.Stdout.WriteString("ready\n" + members.Self() + "\n"); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes standard input
	members.Leave(ctx)
	stop()
	return errors.Join(<-ended, <-ended, st.Close())
}

// A nodeProcess is a running child.
type nodeProcess struct {
	cmd *exec.Cmd
	in  io.Closer
	id  string // its incarnation
}

func startNode(t *testing.T, dir, env string) nodeProcess {
	t.Helper()
	cmd, in, out := startChild(t, dir, env)
	id, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return nodeProcess{cmd, in, strings.TrimSpace(id)}
}

// awaitHolder waits until one of the nodes runs the consumer, and returns it and the other one.
func awaitHolder(t *testing.T, st store.Store, a, b nodeProcess) (holder, other nodeProcess) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		docs, err := st.Load(t.Context(), "", store.Key{Collection: "consumer", Key: "diary"})
		switch {
		case err != nil:
			t.Fatal(err)
		case len(docs) == 0:
		case strings.Contains(string(docs[0].Value), a.id):
			return a, b
		case strings.Contains(string(docs[0].Value), b.id):
			return b, a
		}
	}
	t.Fatal("no node runs the consumer")
	return a, b
}

// TestTakeoverBetweenProcesses: one of two processes on a store consumes. When it is
// killed, the other one continues at its position, and no entry is skipped.
func TestTakeoverBetweenProcesses(t *testing.T) {
	nats := enginetest.StartNATS(t)
	st, err := natsstore.Open(t.Context(), nats.URL(), natsstore.Options{Clock: time.Now, Replicas: 1, SystemURL: nats.SystemURL(), Timeout: enginetest.Timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	env := nodeEnv + "=" + nats.URL() + " " + nats.SystemURL()
	commit(t, st, 1)
	first := startNode(t, dir, env)
	awaitEnd(t, st, dir)
	second := startNode(t, dir, env)
	commit(t, st, 10)
	awaitEnd(t, st, dir)
	holder, other := awaitHolder(t, st, first, second)
	if err := holder.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.cmd.Wait() // it was killed
	_ = holder.in.Close()
	commit(t, st, 10)
	awaitEnd(t, st, dir)
	if err := other.in.Close(); err != nil { // a clean stop
		t.Fatal(err)
	}
	if err := other.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	checkLogFile(t, st, logFile(dir))
}

// awaitEnd waits until the last entry of the log is in the file. The number of lines does not
// tell: a node that takes over repeats what was handled since the position was saved.
func awaitEnd(t *testing.T, st store.Log, dir string) {
	t.Helper()
	entries, err := st.Log(t.Context(), 0, store.MaxFeedGroup)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	last := fmt.Sprintf("\n%d\n", entries[len(entries)-1].At)
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains("\n"+handled(t, dir), last); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q is not in\n%s", last, handled(t, dir))
		}
	}
}

func handled(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(logFile(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}
