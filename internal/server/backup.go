package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/store/backup"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A Progress is called with the bytes done and the estimated total; zero: unknown.
type Progress func(done, total int64)

// A Backup describes what to back up and where to write it.
type Backup struct {
	DataDir string
	// File is created for its owner alone, and gets its name when it is complete.
	File  string
	Force bool // replaces File
	// To, unless it is nil, is written to instead of a file.
	To       io.Writer
	Progress Progress // nil: not reported

	usage diskUsage // nil: of this machine. Tests replace it
}

// A diskUsage is pebblestore.DiskUsage.
type diskUsage func(dir string, low uint64) (free, total, refused uint64, err error)

// A BackupReport describes a finished backup.
type BackupReport struct {
	File    string `json:"file,omitempty"` // empty: standard output
	Online  bool   `json:"online"`         // from a running server
	Seconds Second `json:"seconds"`
	backup.Info
}

// A Second is a duration that JSON has in seconds.
type Second time.Duration

// MarshalJSON implements json.Marshaler.
func (s Second) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', 3, 64), nil
}

// errNotRunning: no server has the data directory open.
var errNotRunning = errors.New("no server runs on the data directory")

// Run makes the backup. If a server runs on the data directory, it asks that server
// through the control socket; otherwise it reads the directory itself.
func (b Backup) Run(ctx context.Context) (report BackupReport, err error) {
	begun := time.Now()
	if err := checkRestored(b.DataDir); err != nil {
		return report, err
	}
	if _, err := os.Stat(storeDir(b.DataDir)); errors.Is(err, fs.ErrNotExist) {
		return report, fmt.Errorf("%w: %s holds no store; correct --data-dir", pebblestore.ErrMissing, b.DataDir)
	}
	to := b.To
	var file *backup.File
	lowDisk := uint64(config.Default().LowDisk)
	if to == nil {
		if file, err = backup.Create(b.File, b.Force, b.space(&lowDisk)); err != nil {
			return report, err
		}
		to = file
	}
	report.Info, report.Online, err = b.fetch(ctx, to, &lowDisk)
	switch {
	case err == nil && file != nil:
		err = file.Commit()
	case file != nil:
		err = errors.Join(explainSpace(b.File, err), file.Discard())
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("the backup was cut short: %w", context.Cause(ctx))
	}
	if err != nil {
		return report, err
	}
	report.File, report.Seconds = b.File, Second(time.Since(begun))
	return report, nil
}

// fetch gets the backup from the server, or from the data directory if none runs.
func (b Backup) fetch(ctx context.Context, to io.Writer, lowDisk *uint64) (info backup.Info, online bool, err error) {
	response, err := b.requestBackup(ctx)
	if err == nil {
		defer response.Body.Close()
		*lowDisk, _ = strconv.ParseUint(response.Header.Get(lowDiskHeader), 10, 64) // zero is "no limit"
		info, err = b.receive(to, response)
		return info, true, err
	}
	if errors.Is(err, errNotRunning) {
		until, stop := yielding(ctx, b.DataDir)
		defer stop(nil)
		info, err = pebblestore.BackupDir(until, storeDir(b.DataDir), to, pebblestore.Options{}, b.Progress)
		if err != nil && errors.Is(context.Cause(until), errYield) {
			err = errYield
		}
	}
	if errors.Is(err, pebblestore.ErrLocked) {
		err = fmt.Errorf("another porchlight uses %s but does not answer on %s: it may be starting or stopping, so try again; if that does not help, see its log (%w)", b.DataDir, filepath.Join(b.DataDir, controlName), err)
	}
	return info, false, err
}

func explainSpace(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("there is no space for %s: use another disk, or free space (%w)", path, err)
	}
	return err
}

// space returns how many bytes a backup may use on the server's disk, of which the
// server needs lowDisk; nil: the backup goes to another disk.
func (b Backup) space(lowDisk *uint64) func() (uint64, error) {
	dir := filepath.Dir(b.File)
	if !sameDisk(b.DataDir, dir) {
		return nil
	}
	usage := b.usage
	if usage == nil {
		usage = pebblestore.DiskUsage
	}
	return func() (uint64, error) { return availableFor(b.DataDir, dir, *lowDisk, usage) }
}

// availableFor returns how many bytes a backup in dir may use: on the disk of the data
// directory, the server needs lowDisk; 0: the server does not check the disk.
func availableFor(dataDir, dir string, lowDisk uint64, usage diskUsage) (uint64, error) {
	if lowDisk == 0 || !sameDisk(dataDir, dir) {
		return math.MaxUint64, nil
	}
	free, _, low, err := usage(dir, lowDisk)
	if err != nil {
		return 0, fmt.Errorf("measure the free space: %w", err)
	}
	return free - min(free, low), nil
}

// requestBackup asks the running server for a backup.
func (b Backup) requestBackup(ctx context.Context) (*http.Response, error) {
	address, dir, err := socketAddress(b.DataDir)
	if err != nil {
		return nil, errNotRunning // there can be no socket
	}
	defer dir.Close() // also if it is nil
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+controlHost+"/backup", nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", address)
	}}
	response, err := transport.RoundTrip(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, errNotRunning
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("permission denied on the server's control socket: run this as the same user as the server (%w)", cause(err))
	case err != nil:
		return nil, fmt.Errorf("ask the server for a backup: %w", err)
	case response.StatusCode != http.StatusOK:
		text, _ := io.ReadAll(io.LimitReader(response.Body, 4096)) // an error leaves a shorter text
		response.Body.Close()
		return nil, fmt.Errorf("the server refused the backup: %s", strings.TrimSpace(string(text)))
	}
	return response, nil
}

// receive verifies the server's backup while it writes it.
func (b Backup) receive(to io.Writer, response *http.Response) (backup.Info, error) {
	estimate, _ := strconv.ParseInt(response.Header.Get(estimateHeader), 10, 64) // zero is "not known"
	info, err := backup.Copy(to, response.Body, func(done int64) { b.Progress.report(done, max(done, estimate)) })
	if err == nil {
		b.Progress.report(info.Bytes, info.Bytes)
		return info, nil
	}
	_, _ = io.Copy(io.Discard, response.Body) // the trailer follows the body
	if reason, err := strconv.Unquote(response.Trailer.Get(errorTrailer)); err == nil {
		return info, fmt.Errorf("the server did not finish the backup: %s", reason)
	}
	if errors.Is(err, backup.ErrDamaged) || errors.Is(err, io.ErrUnexpectedEOF) {
		return info, fmt.Errorf("the server cut the backup short: see its log, then try again (%w)", err)
	}
	return info, err
}

func (p Progress) report(done, total int64) {
	if p != nil {
		p(done, total)
	}
}
