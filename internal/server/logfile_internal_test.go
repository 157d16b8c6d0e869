package server

import (
	"os"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/config"
)

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
