package tail_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/tail"
)

// childEnv makes the test binary a process that commits and consumes until it is
// killed. Its value is the directory of the store.
const childEnv = "TAIL_TEST_DIR"

func TestMain(m *testing.M) {
	var err error
	switch dir, urls := os.Getenv(childEnv), os.Getenv(nodeEnv); {
	case dir == "":
		m.Run()
	case urls != "":
		err = runNodeProcess(dir, urls)
	default:
		err = runChild(dir)
	}
	if err != nil {
		panic(err)
	}
}

// An entryWriter is a consumer that writes every entry that it handles to a file.
type entryWriter struct{ to *os.File }

func (d entryWriter) Handle(_ context.Context, entries []store.Entry) error {
	var lines strings.Builder
	for i := range entries {
		fmt.Fprintln(&lines, entries[i].At)
	}
	_, err := d.to.WriteString(lines.String())
	return err
}

func runChild(dir string) error {
	st, err := pebblestore.Open(filepath.Join(dir, "store"), pebblestore.Options{MinFreeBytes: -1})
	if err != nil {
		return err
	}
	to, err := os.OpenFile(logFile(dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	o := tail.Options{Store: st, Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	runtime := tail.New(o, tail.Consumer{Name: "diary", Handler: entryWriter{to}})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- runtime.Run(ctx) }()
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes standard input
		close(closed)
	}()
	if err := commitUntil(closed, st); err != nil {
		return err
	}
	for stats, err := runtime.Stats(ctx); stats[0].LagEntries > 0; stats, err = runtime.Stats(ctx) {
		if err != nil {
			return err
		}
	}
	stop()
	return errors.Join(<-ended, st.Close())
}

func commitUntil(closed <-chan struct{}, st store.Store) error {
	for {
		select {
		case <-closed:
			return nil
		default:
		}
		if err := commitOne(context.Background(), st, "alice"); err != nil {
			return err
		}
	}
}

func logFile(dir string) string { return filepath.Join(dir, "diary") }

// TestConsumerSurvivesKill: a process that is killed while it consumes continues at its
// next start: no entry is skipped, and entries that are handled again are in order.
func TestConsumerSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	for range 5 {
		cmd, in, out := startChild(t, dir)
		for range 1 + rand.N(3) { // the kill depends on progress, not on time
			awaitGrowth(t, logFile(dir))
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // it was killed
		_ = in.Close()
	}
	cmd, in, _ := startChild(t, dir)
	awaitGrowth(t, logFile(dir))
	if err := in.Close(); err != nil { // a clean stop
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	st, err := pebblestore.Open(filepath.Join(dir, "store"), pebblestore.Options{MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	checkLogFile(t, st, logFile(dir))
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

func startChild(t *testing.T, dir string, env ...string) (*exec.Cmd, io.Closer, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childEnv+"="+dir), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the process wrote %q, %v", line, err)
	}
	return cmd, in, lines
}

func awaitGrowth(t *testing.T, name string) {
	t.Helper()
	before, _ := os.Stat(name)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if now, err := os.Stat(name); err == nil && (before == nil || now.Size() > before.Size()) {
			return
		}
	}
	t.Fatal("nothing is handled")
}

// checkLogFile compares the file with the log: a line may go back to an earlier entry,
// and never skips one.
func checkLogFile(t *testing.T, st store.Log, name string) {
	t.Helper()
	var log []store.Entry
	for {
		var after store.Position
		if len(log) > 0 {
			after = log[len(log)-1].At
		}
		more, err := st.Log(t.Context(), after, store.MaxFeedGroup)
		if err != nil {
			t.Fatal(err)
		}
		if len(more) == 0 {
			break
		}
		log = append(log, more...)
	}
	index := make(map[string]int, len(log))
	for i := range log {
		index[fmt.Sprint(log[i].At)] = i
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	furthest, last, repeats := -1, -1, 0
	for _, line := range strings.Fields(string(text)) {
		i, ok := index[line]
		switch {
		case !ok:
			t.Fatalf("%s is not an entry", line)
		case i > furthest+1:
			t.Fatalf("entry %d of %d was skipped", furthest+1, len(log))
		case i <= last:
			repeats++
		case i != last+1:
			t.Fatalf("entry %d follows %d", i, last)
		}
		furthest, last = max(furthest, i), i
	}
	if furthest != len(log)-1 {
		t.Errorf("the last handled entry of %d is %d", len(log), furthest)
	}
	t.Logf("%d entries, %d steps back", len(log), repeats)
}
