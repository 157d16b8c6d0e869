package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// A firefox is a tab of Debian's Firefox, driven by WebDriver BiDi: commands as JSON over a
// WebSocket, one at a time.
type firefox struct {
	ctx  context.Context
	conn *websocket.Conn
	last int // id of the last command
	tab  string
}

// fields are the parameters of a command.
type fields map[string]any

var listening = regexp.MustCompile(`WebDriver BiDi listening on (ws://\S+)`)

// browseFirefox runs Firefox with its own profile until the test ends.
func browseFirefox(t *testing.T) *firefox {
	t.Helper()
	program, err := exec.LookPath("firefox-esr")
	if err != nil {
		t.Fatal("firefox-esr is not installed: run `TEST_LEVEL=full make test-tools`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, startFirefox(ctx, t, program)+"/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	f := &firefox{ctx: ctx, conn: conn}
	f.command(t, "session.new", fields{"capabilities": fields{}}, nil)
	var tree struct{ Contexts []struct{ Context string } }
	f.command(t, "browsingContext.getTree", fields{}, &tree)
	f.tab = tree.Contexts[0].Context
	return f
}

// startFirefox returns the address at which Firefox takes commands.
func startFirefox(ctx context.Context, t *testing.T, program string) string {
	t.Helper()
	home := t.TempDir()
	command := exec.CommandContext(ctx, program, "--headless", "--profile", t.TempDir(), "--remote-debugging-port", "0", "about:blank")
	command.Env = append(command.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "MOZ_DISABLE_CONTENT_SANDBOX=1") // the sandbox needs permissions that containers lack
	output, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have exited
		for range lines {          // until it has closed its output
		}
		_ = command.Wait()
	})
	for line := range lines {
		if found := listening.FindStringSubmatch(line); found != nil {
			go func() {
				for range lines { // so that it can write on
				}
			}()
			return found[1]
		}
	}
	t.Fatal("firefox-esr takes no commands")
	return ""
}

// command sends a command and waits for its result.
func (f *firefox) command(t *testing.T, method string, params fields, result any) {
	t.Helper()
	if err := f.try(method, params, result); err != nil {
		t.Fatal(err)
	}
}

func (f *firefox) try(method string, params fields, result any) error {
	f.last++
	if err := wsjson.Write(f.ctx, f.conn, fields{"id": f.last, "method": method, "params": params}); err != nil {
		return err
	}
	for {
		var answer struct {
			ID             int
			Type           string
			Result         json.RawMessage
			Error, Message string
		}
		if err := wsjson.Read(f.ctx, f.conn, &answer); err != nil {
			return err
		}
		switch {
		case answer.ID != f.last: // an event
		case answer.Type == "error":
			return fmt.Errorf("%s: %s: %s", method, answer.Error, answer.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(answer.Result, result)
		}
	}
}

func (f *firefox) open(t *testing.T, address string) {
	t.Helper()
	f.command(t, "browsingContext.navigate", fields{"context": f.tab, "url": address, "wait": "complete"}, nil)
}

func (f *firefox) wait(t *testing.T, expression string) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for range 1200 {
		var answer struct{ Result struct{ Value any } }
		err := f.try("script.evaluate", fields{"expression": "!!(" + expression + ")", "target": fields{"context": f.tab}, "awaitPromise": false}, &answer)
		if err == nil && answer.Result.Value == true { // an error is that the tab goes from one page to another
			return
		}
		<-again.C
	}
	t.Fatalf("it never holds in Firefox that %s", expression)
}

// click moves the pointer to an element and presses its button.
func (f *firefox) click(t *testing.T, selector string) {
	t.Helper()
	f.wait(t, fmt.Sprintf("document.querySelector(%q)", selector))
	f.wait(t, fmt.Sprintf(`document.querySelector(%q).scrollIntoView({block: "center", behavior: "instant"}) || true`, selector))
	var found struct{ Nodes []struct{ SharedID string } }
	f.command(t, "browsingContext.locateNodes", fields{"context": f.tab, "locator": fields{"type": "css", "value": selector}, "maxNodeCount": 1}, &found)
	element := fields{"type": "element", "element": fields{"sharedId": found.Nodes[0].SharedID}}
	f.perform(t, "pointer", fields{"type": "pointerMove", "x": 0, "y": 0, "origin": element}, fields{"type": "pointerDown", "button": 0}, fields{"type": "pointerUp", "button": 0})
}

// retype replaces the text of an input, key by key.
func (f *firefox) retype(t *testing.T, selector, value string) {
	t.Helper()
	f.click(t, selector)
	f.wait(t, fmt.Sprintf("document.querySelector(%q).select() || true", selector))
	var keys []fields
	for _, key := range value {
		keys = append(keys, fields{"type": "keyDown", "value": string(key)}, fields{"type": "keyUp", "value": string(key)})
	}
	f.perform(t, "key", keys...)
	f.wait(t, fmt.Sprintf("document.querySelector(%q).value === %q", selector, value))
}

func (f *firefox) perform(t *testing.T, device string, actions ...fields) {
	t.Helper()
	f.command(t, "input.performActions", fields{"context": f.tab, "actions": []fields{{"type": device, "id": device, "actions": actions}}}, nil)
}
