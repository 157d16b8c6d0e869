// Package apitest checks exchanges of HTTP against api/openapi.yaml. For tests.
//
// It is separate from api so that no program links a validator, and public
// within the module so that every part that speaks a documented route can be held
// to the document. It guarantees that an answer that was let through has a
// status, headers and a body that the document describes, and that a request
// which was accepted is one that the document allows.
//
// It must not know any route: what there is, the document says.
package apitest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"porchlight.dev/porchlight/api"
)

// Document is openapi.yaml, loaded and checked to be valid OpenAPI.
func Document() (*openapi3.T, error) {
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(api.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	if err := doc.Validate(loader.Context); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	// The validator's own date-time knows no small letters.
	doc.SetStringFormatValidator("date-time", openapi3.NewCallbackValidator(func(text string) error {
		_, err := api.ParseTime(text)
		return err
	}))
	return doc, nil
}

// reporter is the part of a *testing.T that is told of what is wrong.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// Validator checks what goes through the handlers that it wraps. It is safe for
// concurrent use.
type Validator struct {
	t      reporter
	doc    *openapi3.T
	router routers.Router

	mu     sync.Mutex
	hit    map[string]bool            // operation ids, guarded by mu
	shapes map[string]map[string]bool // what responses consisted of, by their place in the document, guarded by mu
}

// New is a validator that tells t. Make one for a whole test, and ask it in the
// end what was never Missed.
func New(t reporter) (*Validator, error) {
	for _, text := range []string{"application/x-ndjson", "text/csv"} { // whose lines the document does not describe
		openapi3filter.RegisterBodyDecoder(text, openapi3filter.FileBodyDecoder)
	}
	doc, err := Document()
	if err != nil {
		return nil, err
	}
	return newValidator(t, doc)
}

func newValidator(t reporter, doc *openapi3.T) (*Validator, error) {
	router, err := legacy.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	return &Validator{t: t, doc: doc, router: router, hit: make(map[string]bool), shapes: make(map[string]map[string]bool)}, nil
}

// Wrap is h, watched. Answers are recorded before they are passed on, so it is
// not for streams.
func (v *Validator) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			v.t.Errorf("%s %s: read the request: %v", r.Method, r.URL, err)
		}
		asked := r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, r)
		v.check(asked, body, recorder.Result())
		for name, values := range recorder.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes()) // nobody is there to tell
	})
}

func (v *Validator) check(r *http.Request, body []byte, got *http.Response) {
	v.t.Helper()
	if r.Method == http.MethodHead {
		return
	}
	route, params, err := v.router.FindRoute(r)
	if err != nil || nameless(params) || strings.HasSuffix(r.URL.Path, "/") {
		v.undocumented(r, got)
		return
	}
	v.note(route.Operation.OperationID)
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true,
			SchemaValidationOptions: v.doc.GetSchemaValidationOptions(),
		},
	}
	if got.StatusCode < 400 {
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
			v.t.Errorf("%s %s was accepted, but the document does not allow it: %v\nbody: %s", r.Method, r.URL, err, body)
		}
	}
	v.checkAnswer(r, input, got)
}

func (v *Validator) checkAnswer(r *http.Request, input *openapi3filter.RequestValidationInput, got *http.Response) {
	v.t.Helper()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		v.t.Errorf("%s %s: read the answer: %v", r.Method, r.URL, err)
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: got.StatusCode, Header: got.Header, Options: input.Options,
	}
	output.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(r.Context(), output); err != nil {
		v.t.Errorf("%s %s: the answer %d is not as documented: %v\nbody: %s", r.Method, r.URL, got.StatusCode, err, body)
	}
	if len(body) > 0 && strings.Contains(got.Header.Get("Content-Type"), "json") && !bytes.HasSuffix(body, []byte("}\n")) {
		v.t.Errorf("%s %s: the answer %d does not end in a line feed: %q", r.Method, r.URL, got.StatusCode, body)
	}
	v.recordShape(input.Route.Operation, got.StatusCode, got.Header.Get("Content-Type"), body)
	documented := input.Route.Operation.Responses.Status(got.StatusCode)
	if len(body) > 0 && documented != nil && documented.Value != nil && len(documented.Value.Content) == 0 {
		v.t.Errorf("%s %s: the answer %d has a body, and none is documented: %s", r.Method, r.URL, got.StatusCode, body)
	}
}

// undocumented is for paths and methods that the document does not have: there
// is nothing there, pages for people apart.
func (v *Validator) undocumented(r *http.Request, got *http.Response) {
	v.t.Helper()
	page := r.URL.Path == "/" || r.URL.Path == "/docs" || strings.HasPrefix(r.URL.Path, "/docs/") || strings.HasPrefix(r.URL.Path, "/help")
	if !page && got.StatusCode != http.StatusNotFound && got.StatusCode != http.StatusMethodNotAllowed {
		v.t.Errorf("%s %s answered %d and is not documented", r.Method, r.URL, got.StatusCode)
	}
}

// nameless reports whether a parameter of the path is empty. Such a path, and one
// that ends in a slash, is another than the document's, though the router of the
// validator finds it.
func nameless(params map[string]string) bool {
	for _, value := range params {
		if value == "" {
			return true
		}
	}
	return false
}

func (v *Validator) note(operation string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hit[operation] = true
}

// Missed lists the operations of the given tags that no exchange has hit; of all
// tags if none is given.
func (v *Validator) Missed(tags ...string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var missed []string
	for path, item := range v.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			asked := len(tags) == 0 || slices.ContainsFunc(operation.Tags, func(tag string) bool { return slices.Contains(tags, tag) })
			if asked && !v.hit[operation.OperationID] {
				missed = append(missed, method+" "+path)
			}
		}
	}
	slices.Sort(missed)
	return missed
}
