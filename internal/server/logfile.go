package server

import (
	"log/slog"
	"os"
	"sync"
)

// A logFile is a file that is appended to, and reopened after it was moved. Lines that
// cannot be written are lost, which is logged once: no request fails because of it, and
// writing continues when the disk works again.
type logFile struct {
	name string
	log  *slog.Logger

	mu      sync.Mutex
	file    *os.File // nil: closed
	failing bool
}

func openLogFile(name string, log *slog.Logger) (*logFile, error) {
	file, err := appendTo(name)
	if err != nil {
		return nil, err
	}
	return &logFile{name: name, log: log, file: file}, nil
}

func appendTo(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
}

// Write implements io.Writer. It never fails: a bufio.Writer would write nothing
// more after an error.
func (f *logFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return len(p), nil
	}
	_, err := f.file.Write(p)
	if err != nil && !f.failing {
		f.log.Error("access log write failed; some lines were lost", slog.Any("err", err))
	}
	f.failing = err != nil
	return len(p), nil
}

// reopen opens the file by its name again, and creates it if necessary. If it cannot be
// opened, the old one stays in use.
func (f *logFile) reopen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return
	}
	file, err := appendTo(f.name)
	if err != nil {
		f.log.Error("access log cannot be reopened; continuing with the old file: correct the path or the permissions", slog.Any("err", err))
		return
	}
	if err := f.file.Close(); err != nil {
		f.log.Error("closing the old access log failed", slog.Any("err", err))
	}
	f.file, f.failing = file, false
	f.log.Info("access log reopened", slog.String("file", f.name))
}

// close ends the writing. A nil logFile has nothing to close.
func (f *logFile) close() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}
