package server

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/config"
)

// A tracedError prints a stack trace if it is asked for details, as Pebble's errors do.
type tracedError struct{}

func (tracedError) Error() string { return "disk broken" }

func (tracedError) Format(f fmt.State, verb rune) {
	_, _ = io.WriteString(f, "disk broken")
	if verb == 'v' && f.Flag('+') {
		_, _ = io.WriteString(f, "\n(1) attached stack trace\ngoroutine 1 [running]")
	}
}

// TestNoStackInLog: an error in the log is its message, without a stack trace.
func TestNoStackInLog(t *testing.T) {
	for format, want := range map[string]string{"text": `err="disk broken"`, "json": `"err":"disk broken"`} {
		var output strings.Builder
		cfg := config.Default()
		cfg.LogFormat = format
		NewLog(cfg, &output).Warn("failed; will retry", slog.Any("err", tracedError{}))
		if line := output.String(); !strings.Contains(line, want) || strings.Contains(line, "stack") {
			t.Errorf("%s: %s, want %s", format, line, want)
		}
	}
}

// TestLogFileFails: when a log file cannot be written, writers get no error, the
// failure is logged once, and writing resumes when possible.
func TestLogFileFails(t *testing.T) {
	var output strings.Builder
	name := t.TempDir() + "/access.log"
	f, err := openLogFile(name, NewLog(config.Default(), &output))
	if err != nil {
		t.Fatal(err)
	}
	well := f.file
	if f.file, err = os.Open(name); err != nil { // for reading only
		t.Fatal(err)
	}
	for range 3 {
		if n, err := f.Write([]byte("lost\n")); n != 5 || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if got := strings.Count(output.String(), "some lines were lost"); got != 1 {
		t.Errorf("the failure was logged %d times:\n%s", got, &output)
	}
	_ = f.file.Close()
	f.file = well
	_, _ = f.Write([]byte("kept\n"))
	if err := f.close(); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(name); string(data) != "kept\n" {
		t.Errorf("the file has %q, %v", data, err)
	}
	if err := f.close(); err != nil {
		t.Errorf("the second close: %v", err)
	}
}
