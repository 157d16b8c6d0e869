package tail_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store/enginetest"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/tail"
)

// nodeEnv makes the process a node of a cluster, which only consumes: its value is the
// URL of the store and that of the system account.
const nodeEnv = "TAIL_TEST_NATS"

// nodeLease is long enough for a slow machine, and short enough for a test.
const nodeLease = 4 * time.Second

// nodeProcess consumes until the parent closes its standard input, or kills it.
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
	o := tail.Options{Store: st, Lease: nodeLease, Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- tail.New(o, tail.Consumer{Name: "diary", Handler: entryWriter{to}}).Run(ctx) }()
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes standard input
	stop()
	return errors.Join(<-ended, st.Close())
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
	node := nodeEnv + "=" + nats.URL() + " " + nats.SystemURL()
	commit(t, st, 1)
	first, firstIn, _ := startChild(t, dir, node)
	awaitLines(t, dir, 1)
	second, secondIn, _ := startChild(t, dir, node)
	commit(t, st, 10)
	awaitLines(t, dir, 11)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	_ = firstIn.Close()
	before := countLines(t, dir)
	commit(t, st, 10)
	awaitLines(t, dir, before+10)
	if err := secondIn.Close(); err != nil { // a clean stop
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Fatal(err)
	}
	checkLogFile(t, st, logFile(dir))
}

func countLines(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(logFile(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

func awaitLines(t *testing.T, dir string, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); countLines(t, dir) < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d lines", countLines(t, dir), n)
		}
	}
}
