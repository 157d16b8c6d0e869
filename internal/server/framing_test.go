package server_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// A framingCase is what a client sends on a new connection, and what must come of it.
//
// These words in raw are replaced:
//
//	{put}   request line, Host and {auth} of a PUT to {target}
//	{get}   the same of a GET
//	{auth}  Authorization and Content-Type
//	{body}  JSON; {n} is its length and {hex} the same in hexadecimal
//	{chunk} {body} as one chunk; {chunked} ends the body as well
//	{next}  a second request, which sets the user's status to Away; {nextn} is its length
//
// want has the possible outcomes, separated by "|". Each is a sequence of responses: "ok",
// the success of the route; "next", the success of {next}; or a status such as 400 or 4xx.
// After "close" the connection is closed; otherwise the next request is answered on it.
type framingCase struct {
	name, raw, want string
	inBody          bool // a route that reads no body may answer before the fault, and then closes
	fin             bool // the client sends nothing else
}

// A framingRoute is where the requests of the table go.
type framingRoute struct {
	name, target string // {user} is the user's id
	success      int
	// body changes the user from the state that it gets.
	body func(was userState) (string, userState)
}

var framingRoutes = []framingRoute{
	{"hot", "/v2/users/{user}/presence_status", http.StatusNoContent, func(was userState) (string, userState) {
		word := "Do_Not_Disturb"
		now := userState{api.DoNotDisturb, was.note}
		if was.status == api.DoNotDisturb {
			word, now.status = "Available", api.Available
		}
		return `{"status":"` + word + `"}`, now
	}},
	{"native", "/v1/users/{user}/note", http.StatusOK, func(was userState) (string, userState) {
		now := userState{was.status, "one"}
		if was.note == now.note {
			now.note = "two"
		}
		return `{"text":"` + now.note + `"}`, now
	}},
	{"unknown", "/v1/nothing/{user}", http.StatusNotFound, func(was userState) (string, userState) {
		return `{"text":"three"}`, was
	}},
}

// userState is what requests of the table change.
type userState struct {
	status api.Status
	note   string
}

func (r *running) stateOf(t *testing.T, user string) userState {
	t.Helper()
	p, err := r.client.Presence(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return userState{p.Status, p.Note}
}

// forEachMode runs a test on servers with and without TLS, and with and without the fast
// path, at the same time. prepare may change the settings.
func forEachMode(t *testing.T, prepare func(*config.Config, *server.Options), test func(t *testing.T, r *running)) {
	t.Helper()
	for _, secure := range []bool{false, true} {
		for _, fast := range []bool{true, false} {
			name := "plain"
			if secure {
				name = "TLS"
			}
			if !fast {
				name += " without fast path"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				// A TLS handshake has as long as a head, also while the machine stands still.
				cfg, opts := settings(t), server.Options{Timeouts: server.Timeouts{ReadHeader: waitLimit}}
				cfg.RateLimitPlan = "off"
				cfg.FastPath = fast
				if secure {
					dir := t.TempDir()
					cfg.TLSCertFile, cfg.TLSKeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
					writeCertificate(t, cfg.TLSCertFile, cfg.TLSKeyFile, 1)
				}
				if prepare != nil {
					prepare(&cfg, &opts)
				}
				test(t, startTrusted(t, cfg, opts))
			})
		}
	}
}

// startTrusted starts a server whose client accepts its certificate.
func startTrusted(t *testing.T, cfg config.Config, opts server.Options) *running {
	t.Helper()
	r := start(t, cfg, opts)
	transport := &http.Transport{TLSClientConfig: trustAnyServer()}
	t.Cleanup(transport.CloseIdleConnections)
	r.http.Transport = transport
	return r
}

// TestFraming: requests whose end is ambiguous are refused for every route, and nothing
// that follows them is executed. Requests that are valid are served.
func TestFraming(t *testing.T) {
	t.Parallel()
	forEachMode(t, nil, func(t *testing.T, r *running) {
		t.Helper()
		const atOnce = 4
		users := make(chan string, atOnce)
		for _, id := range r.createUsers(t, atOnce) {
			users <- id
		}
		for _, c := range framingCases() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				user := <-users
				defer func() { users <- user }()
				f := &framing{running: r, framingCase: c, user: user, state: r.stateOf(t, user)}
				for _, route := range framingRoutes {
					for _, pieces := range []int{0, 1} {
						if err := f.try(t, &route, pieces); err != nil {
							t.Errorf("%s route, in pieces of %d: %v", route.name, pieces, err)
						}
					}
				}
			})
		}
	})
}

// framing runs one case.
type framing struct {
	*running
	framingCase

	user  string
	state userState // of the user
}

// try runs the case once and compares the user's state with the responses.
func (f *framing) try(t *testing.T, route *framingRoute, pieces int) error {
	t.Helper()
	target := strings.ReplaceAll(route.target, "{user}", f.user)
	body, after := route.body(f.state)
	e := f.exchange(t)
	defer e.close()
	e.method, e.success, e.fin = f.method(), route.success, f.fin
	outcome, err := e.run(f.expand(target, body), pieces, f.outcomes())
	if err == nil && !slices.Contains(outcome, "close") {
		err = f.probe(e)
	}
	if err == nil {
		err = f.checkState(t, outcome, after)
	}
	f.state = f.stateOf(t, f.user)
	return err
}

func (f *framing) method() string {
	if strings.HasPrefix(f.raw, "HEAD") {
		return http.MethodHead
	}
	return http.MethodPut
}

// expand replaces the words of the case.
func (f *framing) expand(target, body string) string {
	raw := strings.NewReplacer(
		"{put}", "PUT {target} HTTP/1.1\r\nHost: porchlight.example\r\n{auth}", "{get}", "GET {target} HTTP/1.1\r\nHost: porchlight.example\r\n{auth}",
		"{chunked}", "{chunk}0\r\n\r\n",
	).Replace(f.raw)
	raw = strings.ReplaceAll(raw, "{chunk}", "{hex}\r\n{body}\r\n")
	next := "PUT /v2/users/" + f.user + "/presence_status HTTP/1.1\r\nHost: porchlight.example\r\n" + f.auth() + "Content-Length: 17\r\n\r\n{\"status\":\"Away\"}"
	return strings.NewReplacer(
		"{target}", target, "{auth}", f.auth(), "{body}", body, "{n}", strconv.Itoa(len(body)), "{hex}", strconv.FormatInt(int64(len(body)), 16),
		"{next}", next, "{nextn}", strconv.Itoa(len(next)),
	).Replace(raw)
}

func (f *framing) auth() string {
	return "Authorization: Bearer " + f.made.AccessToken + "\r\nContent-Type: application/json\r\n"
}

// outcomes returns the possible sequences of responses.
func (f *framing) outcomes() (all [][]string) {
	for outcome := range strings.SplitSeq(f.want, "|") {
		all = append(all, strings.Fields(outcome))
	}
	if f.inBody {
		all = append(all, []string{"404", "close"})
	}
	return all
}

// probe sends another request on the same connection.
func (f *framing) probe(e *exchange) error {
	e.method = http.MethodGet
	if _, err := io.WriteString(e.conn, "GET /v2/users/"+f.user+"/presence_status HTTP/1.1\r\nHost: porchlight.example\r\n"+f.auth()+"\r\n"); err != nil {
		return fmt.Errorf("the next request: %w", err)
	}
	resp, body, err := e.read()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, `{"status":"`) {
		return fmt.Errorf("the next request on the connection gets %v %q, %w", resp, body, err)
	}
	return nil
}

// checkState checks that exactly the requests with a response of success were executed.
func (f *framing) checkState(t *testing.T, outcome []string, after userState) error {
	t.Helper()
	want := f.state
	if slices.Contains(outcome, "ok") {
		want = after
	}
	if slices.Contains(outcome, "next") {
		want.status = api.Away
	}
	if got := f.stateOf(t, f.user); got != want {
		return fmt.Errorf("after %v the user is %+v, want %+v", outcome, got, want)
	}
	return nil
}

// An exchange is a connection on which a client sends bytes and reads responses.
type exchange struct {
	conn    net.Conn
	in      *bufio.Reader
	method  string // of the first request
	success int    // status of the first request's success
	fin     bool   // the client ends its side; then the server need not announce that it closes
}

// exchangeTimeout is far more than an exchange takes.
const exchangeTimeout = 2 * time.Minute

// exchange connects to the server.
func (r *running) exchange(t *testing.T) *exchange {
	t.Helper()
	conn := r.dial(t)
	if err := conn.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		t.Fatal(err)
	}
	return newExchange(conn)
}

func newExchange(conn net.Conn) *exchange {
	return &exchange{conn: conn, in: bufio.NewReader(conn)}
}

func (e *exchange) close() { _ = e.conn.Close() }

// run sends raw and returns which of the outcomes happened.
func (e *exchange) run(raw string, pieces int, outcomes [][]string) (outcome []string, err error) {
	sent := make(chan error, 1)
	go func() { sent <- e.send(raw, pieces) }()
	outcome, err = e.outcome(outcomes)
	if err != nil || slices.Contains(outcome, "close") { // the server need not read what follows
		_ = e.conn.Close()
		<-sent //nolint:errcheck // it may be cut short
		return outcome, err
	}
	return outcome, <-sent
}

// send writes raw in pieces; 0: whole. Large texts are written in larger pieces.
func (e *exchange) send(raw string, pieces int) error {
	switch {
	case pieces == 0:
		pieces = len(raw)
	case len(raw) > 4<<10:
		pieces = 509
	}
	for piece := range slices.Chunk([]byte(raw), pieces) {
		if _, err := e.conn.Write(piece); err != nil {
			return err
		}
	}
	if half, ok := e.conn.(interface{ CloseWrite() error }); ok && e.fin {
		return half.CloseWrite()
	}
	return nil
}

// outcome reads responses until they are one of the outcomes.
func (e *exchange) outcome(possible [][]string) ([]string, error) {
	var got []string
	for n := 0; ; n++ {
		for _, outcome := range possible {
			if len(outcome) == n {
				return outcome, nil
			}
		}
		resp, _, err := e.read()
		switch {
		case errors.Is(err, io.EOF), n > 0 && errors.Is(err, syscall.ECONNRESET):
			got = append(got, "close")
		case err != nil:
			return nil, fmt.Errorf("after %v: %w", got, err)
		default:
			got = append(got, strconv.Itoa(resp.StatusCode))
		}
		possible = slices.DeleteFunc(slices.Clone(possible), func(outcome []string) bool {
			closes := len(outcome) == n+2 && outcome[n+1] == "close"
			return !e.matches(outcome[n], got[n]) || resp != nil && resp.StatusCode >= 200 && resp.Close != closes && !e.fin
		})
		if len(possible) == 0 {
			return nil, fmt.Errorf("the responses are %v, announcing a close: %t", got, resp != nil && resp.Close)
		}
	}
}

// matches reports whether a response is as the word of an outcome says.
func (e *exchange) matches(want, got string) bool {
	switch {
	case want == "ok":
		return got == strconv.Itoa(e.success)
	case want == "next":
		return got == "204"
	case strings.HasSuffix(want, "xx"):
		return got[0] == want[0] && len(got) == len(want)
	default:
		return got == want
	}
}

// read reads a response and its body.
func (e *exchange) read() (*http.Response, string, error) {
	if _, err := e.in.Peek(1); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(e.in, &http.Request{Method: e.method})
	if err != nil {
		return nil, "", fmt.Errorf("not a response: %v", err) //nolint:errorlint // it is not the end of the connection
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", fmt.Errorf("not a body: %v", err) //nolint:errorlint // likewise
	}
	return resp, string(body), nil
}
