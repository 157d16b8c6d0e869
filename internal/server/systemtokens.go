package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A SystemToken is a system token as the command shows it. Secret is set only by the
// command that creates it.
type SystemToken struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Secret  string    `json:"secret,omitempty"`
}

// A SystemTokenRequest is what to do with the system tokens of a store: create one, revoke
// one, or list them. Who may read the data directory, or has the credentials of the store
// on NATS, may do so.
type SystemTokenRequest struct {
	Create bool          `json:"create,omitempty"`
	Name   string        `json:"name,omitempty"`
	Lasts  time.Duration `json:"lasts,omitempty"` // 0: it does not expire
	Revoke string        `json:"revoke,omitempty"`
}

// SystemTokens carries out a request, through the server of the data directory if it runs.
func SystemTokens(ctx context.Context, cfg config.Config, asked SystemTokenRequest) (made []SystemToken, err error) {
	cfg = cfg.Filled()
	if problems := cfg.Check(); len(problems) > 0 {
		return nil, problems
	}
	if cfg.Store == "" {
		made, err = asked.ask(ctx, cfg.DataDir)
		if !errors.Is(err, errNotRunning) {
			return made, err
		}
	}
	st, err := openForTokens(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if ready, err := initialised(ctx, st, time.Now); err != nil || !ready {
		return nil, errors.Join(err, notInitialised(&cfg))
	}
	dir := directory.New(st, time.Now)
	return asked.carryOut(ctx, auth.New(st, dir, time.Now), audit.New(st, time.Now))
}

// openForTokens opens a store on NATS beside the nodes that serve it, or an embedded one
// that no server uses.
func openForTokens(ctx context.Context, cfg *config.Config) (store.Store, error) {
	opts := Options{}.withDefaults()
	if cfg.Store != "" {
		no := natsOptions(cfg, &opts)
		no.MustExist = true
		return openNATS(ctx, cfg, no)
	}
	if err := checkOwner(storeDir(cfg.DataDir), os.Geteuid()); err != nil {
		return nil, err
	}
	cfg.LogRetention = keepLog
	st, err := openEngine(ctx, cfg, &opts, openExclusively, 0)
	if errors.Is(err, pebblestore.ErrLocked) || errors.Is(err, natsstore.ErrLeaseHeld) {
		return nil, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return st, err
}

// carryOut does what is asked. The result is the new token, or the list.
func (q *SystemTokenRequest) carryOut(ctx context.Context, a *auth.Authority, log audit.Recorder) ([]SystemToken, error) {
	record := func(action, id string) error {
		return log.Record(ctx, "", &audit.Event{Action: action, Target: "system-token/" + id})
	}
	switch {
	case q.Create:
		t, secret, err := a.IssueSystem(ctx, q.Name, q.Lasts)
		if err != nil {
			return nil, err
		}
		return []SystemToken{{t.ID, t.Name, t.Created, t.Expires, secret}}, record("system-token.create", t.ID)
	case q.Revoke != "":
		if err := a.RevokeSystem(ctx, q.Revoke); err != nil {
			return nil, err
		}
		return nil, record("system-token.revoke", q.Revoke)
	}
	found, err := a.SystemTokens(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]SystemToken, 0, len(found))
	for _, t := range found {
		list = append(list, SystemToken{t.ID, t.Name, t.Created, t.Expires, ""})
	}
	return list, nil
}

const (
	systemTokensPath   = "/system-tokens"
	maxControlResponse = 1 << 20
)

// ask sends the request to the control socket of a running server.
func (q *SystemTokenRequest) ask(ctx context.Context, dataDir string) (made []SystemToken, err error) {
	return made, askControl(ctx, dataDir, systemTokensPath, q, &made)
}

// askControl sends a request to the control socket of the running server of a data
// directory, and decodes the answer.
func askControl(ctx context.Context, dataDir, path string, asked, answered any) error {
	body, err := json.Marshal(asked)
	if err != nil {
		return err
	}
	answer, err := postControl(ctx, dataDir, path, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, answered)
}

// postControl returns the answer to a request, or what it says as an error if the server
// refused.
func postControl(ctx context.Context, dataDir, path string, body []byte) ([]byte, error) {
	client, done, err := controlClient(dataDir)
	if err != nil {
		return nil, err
	}
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+controlHost+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("permission denied on the server's control socket: run this as the same user as the server (%w)", cause(err))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNotRunning, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxControlResponse))
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, err
}

// controlClient is a client of the control socket of a data directory.
func controlClient(dataDir string) (client *http.Client, done func(), err error) {
	address, dir, err := socketAddress(dataDir)
	if err != nil {
		return nil, nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", address)
	}
	transport := &http.Transport{DialContext: dial}
	return &http.Client{Transport: transport}, func() {
		transport.CloseIdleConnections()
		dir.Close() // also if it is nil
	}, nil
}

// systemTokens serves a SystemTokenRequest.
func (c *control) systemTokens(w http.ResponseWriter, r *http.Request) {
	var asked SystemTokenRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxControlResponse)).Decode(&asked); err != nil {
		writeText(w, http.StatusBadRequest, "the request cannot be read: use the same version of porchlight as the server")
		return
	}
	made, err := asked.carryOut(r.Context(), c.authority, c.audit)
	if err != nil {
		writeText(w, http.StatusConflict, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(made) // a failed write ends the connection
}
