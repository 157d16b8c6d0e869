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
	asked := firstRequest(t, text)
	u := d.signedIn(t, 0)
	asked.URL = strings.NewReplacer("https://presence.example.com", d.URL, "${$.userId}", u.Email).Replace(asked.URL)
	for _, c := range []struct {
		name, key string
		want      int
	}{
		{"the task", "execution-1", 204},
		{"its retry after a lost response", "execution-1", 204},
		{"another execution within the minute", "execution-2", 429},
	} {
		if status, body := asked.send(t, d.AccessToken, c.key); status != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.want)
		}
	}
	if got := d.status(t, u); got != "Do_Not_Disturb" {
		t.Errorf("shown: %s, want Do_Not_Disturb", got)
	}
}

// A taskRequest is the request of an HTTP task.
type taskRequest struct {
	URL, Method string
	Headers     map[string]string
	Body        json.RawMessage
}

// firstRequest is the request of the first task of a workflow.
func firstRequest(t *testing.T, text string) taskRequest {
	t.Helper()
	var workflow struct {
		StartTask string
		Tasks     map[string]struct {
			Type        string
			HTTPRequest taskRequest `json:"httpRequest"`
		}
	}
	if err := json.Unmarshal([]byte(text), &workflow); err != nil {
		t.Fatal(err)
	}
	task := workflow.Tasks[workflow.StartTask]
	if task.Type != "Http" {
		t.Fatalf("the first task is %+v", task)
	}
	return task.HTTPRequest
}

// send sends the request as the engine would, and returns the status and the body.
func (asked taskRequest) send(t *testing.T, token, key string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), asked.Method, asked.URL, strings.NewReader(string(asked.Body)))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range asked.Headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Authorization", "Bearer "+token)
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
