package audit_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/apptest"
)

// TestScript runs the script of docs/audit.md on a sound export and on others.
func TestScript(t *testing.T) {
	for _, program := range []string{"python3", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not installed: run `make test-tools`", program)
		}
	}
	text, err := os.ReadFile("../../docs/audit.md")
	apptest.Check(t, err)
	_, script, ok := strings.Cut(string(text), "```python\n")
	script, _, ended := strings.Cut(script, "```")
	if !ok || !ended {
		t.Fatal("docs/audit.md has no script")
	}
	w := newWorld(t)
	w.record(5)
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		apptest.Check(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
		return filepath.Join(dir, name)
	}
	program, key := write("verify.py", []byte(script)), write("key.pem", w.key.PublicPEM())
	run := func(export []byte) string {
		out, _ := exec.CommandContext(t.Context(), "python3", program, write("export.jsonl", export), key).CombinedOutput()
		return string(out)
	}
	export := w.export()
	if out := run(export); out != "sound: 6 events\n" {
		t.Fatal(out)
	}
	all := lines(export)
	for what, tt := range map[string]struct {
		export []byte
		want   string
	}{
		"an edit":      {bytes.Replace(export, []byte("app/2"), []byte("app/9"), 1), "event 3"},
		"a deletion":   {[]byte(strings.Join(append(all[:2:2], all[3:]...), "\n")), "event 3"},
		"no end":       {[]byte(strings.Join(all[:4], "\n")), "the end is missing"},
		"another hash": {[]byte(strings.Join(rehash(edited(all, 1, strings.Replace(all[1], "app/1", "app/7", 1))), "\n")), "checkpoint after 6"},
		"a signature":  {bytes.Replace(export, []byte(`"reason":"export"`), []byte(`"reason":"interval"`), 1), "signature after 6"},
	} {
		if out := run(tt.export); !strings.Contains(out, tt.want) {
			t.Errorf("%s: %s", what, out)
		}
	}
}
