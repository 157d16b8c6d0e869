package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/backupjob"
	"porchlight.dev/porchlight/internal/store/backup"
)

// Commands on this machine reach the server of a data directory through its control
// socket. The permissions of the directory allow exactly the users who may read the
// data to ask for a backup or a system token, which the network listeners could not check.
const (
	controlName = "control.sock"
	controlHost = "control" // in URLs; nothing resolves it

	// maxSocketPath is the longest path of a socket that every system accepts.
	maxSocketPath = 103

	// estimateHeader has the estimated number of bytes that follow.
	estimateHeader = "Porchlight-Estimate"
	// lowDiskHeader has the free space that the server needs on its disk.
	lowDiskHeader = "Porchlight-Low-Disk"
	// backupAction is how the server's audit log names a backup.
	backupAction = "backup.create"
	// errorTrailer has the reason if a backup ends early.
	errorTrailer = "Porchlight-Error"

	// readerTimeout cuts off a client that reads nothing: a backup keeps old data on
	// the disk.
	readerTimeout = time.Minute
	// controlTimeout is how long a backup may take to end at a shutdown.
	controlTimeout = 2 * time.Second
)

var errStopping = errors.New("the server is stopping: run the command again when it has stopped or has started again")

// A backupSource is a store that can be backed up while it runs.
type backupSource interface {
	Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (backup.Info, error)
	BackupEstimate() int64
}

// A control serves the control socket.
type control struct {
	source  backupSource
	lowDisk uint64
	log     *slog.Logger
	// authority and audit are set before the socket is served.
	authority *auth.Authority
	audit     audit.Recorder
	record    func(*audit.Event) // records an event of the server, soon

	listener *net.UnixListener
	server   *http.Server
	dir      *os.File // of the socket, if its path is too long to be used; nil
	path     string
	stopping context.CancelCauseFunc
	stopOnce sync.Once
	slot     *backupjob.Slot
}

// openControl makes the socket. The server works without it, so errors are only logged.
func (s *Server) openControl(source backupSource) {
	c := &control{source: source, slot: s.backups, lowDisk: uint64(s.config.LowDisk), log: s.log, path: filepath.Join(s.config.DataDir, controlName)}
	c.record = func(e *audit.Event) { s.audit.Later(audit.System, e) }
	if err := c.listen(s.config.DataDir); err != nil {
		c.close()
		s.log.Warn("no control socket: \"porchlight backup\" works only while the server is stopped", slog.String("path", c.path), slog.Any("err", err))
		return
	}
	ctx, stop := context.WithCancelCause(context.Background())
	c.stopping = stop
	mux := http.NewServeMux()
	mux.HandleFunc("POST /backup", unlessStopping(c.backup))
	mux.HandleFunc("POST "+systemTokensPath, unlessStopping(c.systemTokens))
	mux.HandleFunc("POST "+logLevelPath, s.level.serve)
	mux.HandleFunc("POST "+servedPath, unlessStopping(func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "served") }))
	mux.HandleFunc("POST "+readyPath, evenStopping(s.readyz))
	mux.HandleFunc("POST "+factsPath, evenStopping(s.serveFacts))
	c.server = administrative(mux, s.log)
	c.server.BaseContext = func(net.Listener) context.Context { return ctx }
	s.control = c
}

// listen makes the socket in dataDir, for its owner alone. The caller has the lock
// of the store, so a socket that is there is one that nobody listens on any more.
func (c *control) listen(dataDir string) error {
	switch info, err := os.Lstat(c.path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket: remove it", c.path)
	default:
		if err := os.Remove(c.path); err != nil {
			return err
		}
	}
	address, dir, err := socketAddress(dataDir)
	if err != nil {
		return err
	}
	c.dir = dir
	c.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return err
	}
	c.listener.SetUnlinkOnClose(false) // by its name; close does it by its path
	return os.Chmod(c.path, 0o600)
}

// socketAddress is what the system takes for the path of dataDir's control socket.
// It holds as long as dir, which may be nil, is open.
func socketAddress(dataDir string) (address string, dir *os.File, err error) {
	path := filepath.Join(dataDir, controlName)
	if len(path) <= maxSocketPath {
		return path, nil, nil
	}
	if dir, err = os.Open(dataDir); err != nil {
		return "", nil, err
	}
	through := fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
	if _, err := os.Stat(through); err != nil {
		dir.Close()
		return "", nil, fmt.Errorf("the path has more than %d bytes, which this system cannot use for a socket: choose a shorter data-dir", maxSocketPath)
	}
	return filepath.Join(through, controlName), dir, nil
}

// serve runs until the control is stopped.
func (c *control) serve() {
	if err := serveOn(c.server, c.listener); err != nil {
		c.log.Error("control socket failed: \"porchlight backup\" works only while the server is stopped", slog.Any("err", err))
	}
}

// cancel ends a running backup. From then on, only requests for the state of the server are
// answered. A nil control has nothing to cancel.
func (c *control) cancel() {
	if c != nil {
		c.stopping(errStopping)
	}
}

// evenStopping serves requests also after cancel.
func evenStopping(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { h(w, r.WithContext(context.WithoutCancel(r.Context()))) }
}

// unlessStopping refuses requests that come after cancel.
func unlessStopping(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if errors.Is(context.Cause(r.Context()), errStopping) {
			writeText(w, http.StatusServiceUnavailable, errStopping.Error())
			return
		}
		h(w, r)
	}
}

// servedPath answers as long as the server is not stopping: see isServed.
const servedPath = "/served"

// stop gives a cancelled backup a moment to report that to its client. A nil control has
// nothing to stop.
func (c *control) stop(ctx context.Context) {
	if c == nil {
		return
	}
	c.stopOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
		defer cancel()
		if c.server.Shutdown(ctx) != nil {
			_ = c.server.Close() // the client does not read; the backup ends at its next write
		}
	})
}

// close removes the socket, while the store is still locked.
func (c *control) close() {
	if c == nil {
		return
	}
	if c.listener != nil {
		_ = c.listener.Close() // stop may have done so
		if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("removing the control socket failed", slog.Any("err", err))
		}
	}
	c.dir.Close() // also if it is nil
}

// backup streams a backup. One that fails is cut short, so that the client detects an
// incomplete backup, and has the reason in its trailer.
func (c *control) backup(w http.ResponseWriter, r *http.Request) {
	begun, ctx := time.Now(), r.Context()
	to := &patientWriter{to: w, conn: http.NewResponseController(w)}
	head := w.Header()
	info, err := c.slot.Run(func(progress func(done, total int64)) (backup.Info, error) {
		c.announce(head)
		return c.source.Backup(ctx, to, progress)
	}, func() bool { return ctx.Err() != nil })
	if err == nil {
		c.record(backupEvent(info))
		c.log.InfoContext(ctx, "backup finished", slog.Int64("bytes", info.Bytes), slog.Uint64("position", info.Position), slog.String("took", time.Since(begun).Round(time.Millisecond).String()))
		return
	}
	if errors.Is(err, backupjob.ErrBusy) {
		writeText(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	c.log.WarnContext(ctx, "backup failed", slog.Any("err", err))
	if !to.begun {
		head.Del("Trailer")
		writeText(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	head.Set(errorTrailer, strconv.QuoteToASCII(err.Error()))
}

// announce sets the headers of a backup that begins.
func (c *control) announce(head http.Header) {
	head.Set("Content-Type", "application/octet-stream")
	head.Set(estimateHeader, strconv.FormatInt(c.source.BackupEstimate(), 10))
	head.Set(lowDiskHeader, strconv.FormatUint(c.lowDisk, 10))
	head.Set("Trailer", errorTrailer)
}

func backupEvent(info backup.Info) *audit.Event {
	return &audit.Event{Action: backupAction, After: audit.Fields{"bytes": info.Bytes, "position": info.Position}}
}

// A patientWriter waits for a reader, but not for ever.
type patientWriter struct {
	to    io.Writer
	conn  *http.ResponseController
	begun bool
}

func (w *patientWriter) Write(p []byte) (int, error) {
	w.begun = true
	if err := w.conn.SetWriteDeadline(time.Now().Add(readerTimeout)); err != nil {
		return 0, err
	}
	return w.to.Write(p)
}
