package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentation runs every command of README and the guides in order, as a reader
// would. Blocks of ```sh are run, blocks of ```text are not. After a block,
// <!-- prints: … --> has what the output must contain, and <!-- never: … --> what it
// must not contain.
func TestDocumentation(t *testing.T) {
	for _, page := range []string{"README.md", "docs/guides/curl.md", "docs/guides/postman.md"} {
		t.Run(page, func(t *testing.T) {
			d := startDemo(t)
			env := []string{
				"PORCHLIGHT_URL=" + d.URL, "PORCHLIGHT_TOKEN=" + d.AccessToken, "PORCHLIGHT_ACCOUNT_ID=" + d.AccountID,
				"PORCHLIGHT_CLIENT_ID=" + d.ClientID, "PORCHLIGHT_CLIENT_SECRET=" + d.ClientSecret,
				"PATH=" + filepath.Dir(binary) + string(os.PathListSeparator) + os.Getenv("PATH"),
			}
			blocks := shellBlocks(t, page)
			if len(blocks) == 0 {
				t.Fatal("the page shows no command")
			}
			for _, b := range blocks {
				// The tools that a guide installs are present, and `go run` would build
				// the binary again.
				commands := strings.NewReplacer("npm ci --prefix e2e --ignore-scripts\n", "", "go run ./cmd/porchlight", "porchlight").Replace(b.commands)
				output, err := run(t, env, "bash", "-e", "-c", "cd ..\n"+commands)
				if err != nil {
					t.Errorf("%v:\n%s\nprinted\n%s", err, b.commands, output)
				}
				for _, want := range b.prints {
					if !strings.Contains(output, want) {
						t.Errorf("%s\nprinted\n%s\nwithout %s", b.commands, output, want)
					}
				}
				for _, never := range b.never {
					if strings.Contains(output, never) {
						t.Errorf("%s\nprinted\n%s\nwith %s", b.commands, output, never)
					}
				}
			}
		})
	}
}

// A block is a sequence of commands of a page and the expected output.
type block struct {
	commands      string
	prints, never []string
}

func shellBlocks(t *testing.T, page string) []block {
	t.Helper()
	var blocks []block
	text := read(t, page)
	for {
		_, rest, found := strings.Cut(text, "\n```sh\n")
		if !found {
			return blocks
		}
		commands, after, found := strings.Cut(rest, "\n```\n")
		if !found {
			t.Fatalf("%s: a block is not closed", page)
		}
		b := block{commands: commands + "\n"}
		for {
			comment, next, _ := strings.Cut(after, "\n")
			if want, ok := parseNote(comment, "prints"); ok {
				b.prints = append(b.prints, want)
			} else if never, ok := parseNote(comment, "never"); ok {
				b.never = append(b.never, never)
			} else {
				break
			}
			after = next
		}
		blocks = append(blocks, b)
		text = "\n" + after
	}
}

func parseNote(line, kind string) (string, bool) {
	text, ok := strings.CutPrefix(line, "<!-- "+kind+": ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(text, " -->")
}

func read(t *testing.T, page string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestWorkflowGuide sends the request of the guide's task, as the workflow engine
// would.
func TestWorkflowGuide(t *testing.T) {
	d := startDemo(t)
	_, rest, _ := strings.Cut(read(t, "docs/guides/workflow.md"), "\n```json\n")
	text, _, _ := strings.Cut(rest, "\n```\n")
	var workflow struct {
		StartTask string
		Tasks     map[string]struct {
			Type        string
			HTTPRequest struct {
				URL, Method string
				Headers     map[string]string
				Body        json.RawMessage
			} `json:"httpRequest"`
		}
	}
	if err := json.Unmarshal([]byte(text), &workflow); err != nil {
		t.Fatal(err)
	}
	task := workflow.Tasks[workflow.StartTask]
	if task.Type != "Http" {
		t.Fatalf("the first task is %+v", task)
	}
	u := d.signedIn(t, 0)
	asked := task.HTTPRequest
	at := strings.NewReplacer("https://presence.example.com", d.URL, "${$.userId}", u.Email).Replace(asked.URL)
	send := func(key string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), asked.Method, at, strings.NewReader(string(asked.Body)))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range asked.Headers {
			request.Header.Set(name, value)
		}
		request.Header.Set("Authorization", "Bearer "+d.AccessToken)
		request.Header.Set("Idempotency-Key", key)
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	for _, c := range []struct {
		name, key string
		want      int
	}{
		{"the task", "execution-1", 204},
		{"its retry after a lost response", "execution-1", 204},
		{"another execution within the minute", "execution-2", 429},
	} {
		if status, body := send(c.key); status != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.want)
		}
	}
	if got := d.status(t, u); got != "Do_Not_Disturb" {
		t.Errorf("shown: %s, want Do_Not_Disturb", got)
	}
}

// TestCSharpGuide checks that the guide shows the program that TestCSharpOverTLS runs.
func TestCSharpGuide(t *testing.T) {
	if program := read(t, "e2e/csharp/UpdatePresence.cs"); !strings.Contains(read(t, "docs/guides/csharp.md"), "```csharp\n"+program+"```\n") {
		t.Error("docs/guides/csharp.md does not show e2e/csharp/UpdatePresence.cs")
	}
}

// TestLinks checks every relative link of the documents.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		pages, err := filepath.Glob(filepath.Join("..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			page = strings.TrimPrefix(page, "../")
			for _, found := range link.FindAllStringSubmatch(read(t, page), -1) {
				target := page
				if found[1] != "" {
					target = filepath.Join(filepath.Dir(page), found[1])
				}
				if _, err := os.Stat(filepath.Join("..", target)); err != nil {
					t.Errorf("%s links to %s: %v", page, found[0], err)
					continue
				}
				if found[2] == "" {
					continue
				}
				var anchors []string
				for _, h := range heading.FindAllStringSubmatch(read(t, target), -1) {
					anchors = append(anchors, "#"+anchor(h[1]))
				}
				if !strings.Contains(strings.Join(anchors, " ")+" ", found[2]+" ") {
					t.Errorf("%s links to %s, a heading that does not exist", page, found[0])
				}
			}
		}
	}
}

// anchor returns the link anchor of a heading.
func anchor(heading string) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case r == ' ' || r == '-':
			return '-'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		default:
			return -1
		}
	}, strings.ToLower(heading))
	return kept
}
