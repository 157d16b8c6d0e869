package cli_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"porchlight.dev/porchlight/internal/cli"
	"porchlight.dev/porchlight/internal/server"
)

// TestInterruptedStream interrupts commands that read a backup from a pipe, whose writer waits
// or ends as well. They end, and do not call the backup damaged.
func TestInterruptedStream(t *testing.T) {
	for _, args := range [][]string{
		{"verify", "-"},
		{"verify", "--drill", "--temp-dir", t.TempDir(), "-"},
		{"restore", "--data-dir", filepath.Join(t.TempDir(), "data"), "-"},
	} {
		for _, ends := range []bool{false, true} {
			ctx, cancel := context.WithCancelCause(t.Context())
			stdin, writer := io.Pipe()
			go func() {
				_, _ = io.WriteString(writer, "porchlight") // a backup begins like this
				cancel(server.ErrInterrupted)
				if ends {
					_ = writer.Close()
				}
			}()
			var stderr strings.Builder
			code := cli.Run(ctx, args, cli.Env{Getenv: func(string) string { return "" }}, stdin, io.Discard, &stderr)
			if code != 1 || !strings.HasSuffix(stderr.String(), "reading the backup was cut short: interrupted\n") {
				t.Errorf("%v, the writer ends: %v: exit code %d, %s", args, ends, code, stderr.String())
			}
			_ = writer.Close()
			cancel(nil)
		}
	}
}

// killBackup is a command of scripts; see TestScripts.
func killBackup(ts *testscript.TestScript, _ bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	sent, done := make(chan struct{}), make(chan struct{})
	defer close(done)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(data[:len(data)/2]) // the client reports an incomplete response
		_ = http.NewResponseController(w).Flush()
		close(sent)
		<-done
	})
	l, err := net.Listen("unix", ts.MkAbs(args[0]+"/control.sock"))
	ts.Check(err)
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()

	cmd := exec.Command("porchlight", "backup", "--data-dir", args[0], args[2])
	cmd.Dir = ts.Getenv("WORK")
	ts.Check(cmd.Start())
	defer func() { _ = cmd.Wait() }() // the error is that it was killed
	defer func() { _ = cmd.Process.Kill() }()
	select {
	case <-sent:
	case <-time.After(time.Minute):
		ts.Fatalf("the command did not request a backup")
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if info, err := os.Stat(ts.MkAbs(args[2] + ".partial")); err == nil && info.Size() > 0 {
			return
		}
	}
	ts.Fatalf("the command wrote nothing")
}
