package apitest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestInvented: an example is accepted once a response had its members, whatever their values.
func TestInvented(t *testing.T) {
	const document = `{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{"/thing":{"get":{"operationId":"readThing","responses":{"200":{
		"description":"A thing.","content":{"application/json":{"schema":{"type":"object"},"example":{"name":"a","size":1}},"text/plain":{"example":"x"}}}}}}}}`
	doc, err := openapi3.NewLoader().LoadFromData([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	v, err := newValidator(t, doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		body    string // of a response
		matches bool
	}{{`{}`, false}, {`{"name":"b"}`, false}, {`{"name":"b","size":"big"}`, false}, {`{"name":"b","size":2}`, true}} {
		v.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, c.body+"\n")
		})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/thing", http.NoBody))
		if got := v.Invented(); (len(got) == 0) != c.matches {
			t.Errorf("after %s: %q", c.body, got)
		}
	}
	doc.Paths.Value("/thing").Get.Responses.Value("200").Value.Content["application/json"].Example = nil
	if got := v.Invented(); len(got) != 1 || got[0] != "readThing 200 application/json: no example" {
		t.Errorf("without an example: %q", got)
	}
}

// TestShape: values do not count, and neither do ids and addresses that are names of members.
func TestShape(t *testing.T) {
	one := map[string]any{"users": map[string]any{"Qm3vT8nKRz2LwXy5uHs1cA": "all"}, "list": []any{1.5, 2.0}, "until": nil}
	for name, c := range map[string]struct {
		other any
		same  bool
	}{
		"other values":   {map[string]any{"users": map[string]any{"ada@example.com": "status"}, "list": []any{3}, "until": nil}, true},
		"a type":         {map[string]any{"users": map[string]any{"ada@example.com": "status"}, "list": []any{3}, "until": "now"}, false},
		"a member more":  {map[string]any{"users": map[string]any{"ada@example.com": "status"}, "list": []any{3}, "until": nil, "more": 1}, false},
		"another member": {map[string]any{"users": map[string]any{"everyone": "status"}, "list": []any{3}, "until": nil}, false},
		"an empty list":  {map[string]any{"users": map[string]any{"ada@example.com": "status"}, "list": []any{}, "until": nil}, false},
	} {
		if got := shape(one) == shape(c.other); got != c.same {
			t.Errorf("%s: the same is %v: %s and %s", name, got, shape(one), shape(c.other))
		}
	}
}
