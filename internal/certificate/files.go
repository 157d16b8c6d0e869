package certificate

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pollEvery is how often files are checked.
const pollEvery = 2 * time.Second

// A fileVersion distinguishes one version of a file from the next. A file that was replaced by
// renaming has another inode, and thus another os.FileInfo.
type fileVersion struct {
	modified time.Time
	size     int64
	info     os.FileInfo
}

func (a fileVersion) same(b fileVersion) bool {
	if a.info == nil || b.info == nil { // os.SameFile tells two missing files apart
		return a.info == nil && b.info == nil
	}
	return a.modified.Equal(b.modified) && a.size == b.size && os.SameFile(a.info, b.info)
}

// watched is files that are read again when they change.
type watched struct {
	names []string
	seen  []fileVersion // that were read
	last  []fileVersion // of the last call of changed
}

// changed reports whether a file differs from the version that record has recorded, and none has changed
// since the last call: programs replace a certificate and its key one after the other.
func (w *watched) changed() bool {
	now := w.versions()
	settled := slices.EqualFunc(now, w.last, fileVersion.same)
	w.last = now
	return settled && !slices.EqualFunc(now, w.seen, fileVersion.same)
}

// record remembers the present versions. It must be called before the files are read, so
// that a change in between is noticed.
func (w *watched) record() { w.seen = w.versions() }

// versions reads the versions of the files; a missing file has the zero version.
func (w *watched) versions() []fileVersion {
	found := make([]fileVersion, len(w.names))
	for i, name := range w.names {
		if info, err := os.Stat(name); err == nil {
			found[i] = fileVersion{info.ModTime(), info.Size(), info}
		}
	}
	return found
}

// Files is a certificate and its key, read again when the files change. A new pair that
// does not work leaves the old one in use.
type Files struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]
	failures          atomic.Uint64
	problem           atomic.Pointer[string] // nil: the last attempt succeeded

	mu    sync.Mutex // locked while the files are read
	files watched
}

// LoadFiles reads a certificate chain and its key.
func LoadFiles(certFile, keyFile string, log *slog.Logger) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, log: log, files: watched{names: []string{certFile, keyFile}}}
	f.files.record()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and key %s cannot be used: %w; correct tls-cert-file and tls-key-file", certFile, keyFile, err)
	}
	f.current.Store(&pair)
	return f, nil
}

// Config implements Source.
func (f *Files) Config() *tls.Config { return baseConfig(f.get) }

func (f *Files) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.current.Load(), nil }

// Certificates implements Source.
func (f *Files) Certificates() []Info {
	info := describe(FromFile, f.certFile, f.current.Load().Leaf)
	if problem := f.problem.Load(); problem != nil {
		info.Problem = *problem
	}
	return []Info{info}
}

// Failures implements Source.
func (f *Files) Failures() uint64 { return f.failures.Load() }

// Run implements Source.
func (f *Files) Run(ctx context.Context) {
	runEvery(ctx, pollEvery, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.files.changed() {
			f.read()
		}
	})
}

// Reload implements Source.
func (f *Files) Reload() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read()
}

func (f *Files) read() {
	f.files.record()
	pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		problem := err.Error()
		f.problem.Store(&problem)
		f.failures.Add(1)
		f.log.Error("new certificate cannot be used; keeping the old one: correct the files",
			slog.String("cert", f.certFile), slog.String("key", f.keyFile), slog.Any("err", err))
		return
	}
	f.problem.Store(nil)
	f.current.Store(&pair)
	f.log.Info("certificate reloaded", slog.String("cert", f.certFile), slog.Time("expires", pair.Leaf.NotAfter))
}
