package e2e_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDemoOutput runs each command that the demo prints in a shell, as it is printed, with
// an empty home directory: with a built binary that is not in PATH, and with "go run",
// before anything is installed.
func TestDemoOutput(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root = strings.TrimSuffix(root, "/e2e")
	env := cleanEnv(t)
	for _, c := range []struct {
		name  string
		start []string
		call  string
	}{
		{"a binary", []string{binary, "demo"}, binary},
		{"go run", []string{"go", "run", "./cmd/porchlight", "demo"}, "go run ./cmd/porchlight"},
	} {
		t.Run(c.name, func(t *testing.T) {
			printed := startPrinting(t, root, append(env, storeEnv(t)...), c.start...)
			var export string
			commands := 0
			for line := range strings.Lines(printed) {
				command, isCommand := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "  ")
				first, rest, _ := strings.Cut(command, " ")
				switch {
				case !isCommand || strings.Contains(command, "  "): // prose, or a link
					continue
				case first == "export":
					export = command
					continue
				case first != "curl" && !strings.HasPrefix(command, c.call+" status "):
					t.Errorf("the demo prints a command of another program: %s", command)
				}
				commands++
				endless := strings.HasPrefix(rest, "-N ") || strings.Contains(command, "status watch")
				runPrinted(t, root, env, export, command, endless)
			}
			if commands != 5 {
				t.Errorf("%d commands, want 5:\n%s", commands, printed)
			}
			for _, name := range []string{"URL", "TOKEN", "ACCOUNT_ID", "CLIENT_ID", "CLIENT_SECRET"} {
				if !strings.Contains(export, " PORCHLIGHT_"+name+"=") {
					t.Errorf("the line with export lacks PORCHLIGHT_%s: %s", name, export)
				}
			}
			token := `curl -sS "$PORCHLIGHT_URL/oauth/token" -u "$PORCHLIGHT_CLIENT_ID:$PORCHLIGHT_CLIENT_SECRET" -d grant_type=account_credentials -d "account_id=$PORCHLIGHT_ACCOUNT_ID" --fail`
			runPrinted(t, root, env, export, token, false)
		})
	}
}

// cleanEnv is the environment of a person who has just installed Go: no variables of
// Porchlight, and an empty home directory. The build cache stays where it is, and a server
// listens on a free port.
func cleanEnv(t *testing.T) []string {
	t.Helper()
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "PORCHLIGHT_LISTEN=127.0.0.1:0",
		"CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false", // as in the Makefile, so that nothing is compiled again
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY"} {
		value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	return env
}

// startPrinting runs a server until the test ends, and returns what it prints up to the
// last command.
func startPrinting(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	command := exec.Command(args[0], args[1:]...)
	command.Dir, command.Env = dir, env
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // "go run" does not pass on the interrupt
	stderr := new(buffer)
	command.Stderr = stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGINT) // it may have exited
		_ = command.Wait()                                     // "go run" exits with 1 after an interrupt
	})
	printed := make(chan string, 1)
	go func() {
		var text strings.Builder
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			text.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "status watch") {
				break
			}
		}
		printed <- text.String()
		_, _ = io.Copy(io.Discard, stdout) // until the process ends
	}()
	select {
	case text := <-printed:
		return text
	case <-time.After(8 * time.Minute): // "go run" may have to compile
		t.Fatalf("%v printed nothing within eight minutes\n%s", args, stderr)
		return ""
	}
}

// runPrinted runs a command in a shell after the line with export. An endless one must
// print a line and is then interrupted.
func runPrinted(t *testing.T, dir string, env []string, export, command string, endless bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-e", "-c", export+"\n"+command)
	shell.Dir, shell.Env = dir, env
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	stderr := new(buffer)
	shell.Stderr = stderr
	stdout, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	output := bufio.NewReader(stdout)
	first, _ := output.ReadString('\n') // what is missing shows below
	if endless {
		_ = shell.Cancel() // it may have exited
	}
	rest, _ := io.ReadAll(output)
	err = shell.Wait()
	if text := first + string(rest); text == "" || err != nil && !endless || strings.Contains(text, `"error"`) || strings.HasPrefix(text, `{"code":`) || strings.HasPrefix(text, "HTTP/1.1 4") {
		t.Errorf("%s\n%s\n%v\nprinted\n%s%s", export, command, err, text, stderr)
	}
}
