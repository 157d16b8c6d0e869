package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
	"porchlight.dev/porchlight/internal/store/transfer"
)

// A Migration copies a store that no server uses to a new one, in a data directory or on
// NATS.
type Migration struct {
	From, To config.Config // of the stores
	Verify   bool          // compares the stores, and copies nothing
	// Copying and Comparing report the progress of the two halves; nil: not reported.
	Copying, Comparing Progress
}

// A MigrationReport describes two stores with the same content.
type MigrationReport struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Seconds  Second `json:"seconds"`
	Epoch    string `json:"epoch,omitempty"` // empty: the copy has a new one
	Position uint64 `json:"position"`        // of the last change in the source
	transfer.Content
}

// ErrDiffer: the source and the target of a migration do not have the same content.
var ErrDiffer = transfer.ErrDiffer

// A storeSource is a transfer.Source that must be closed.
type storeSource interface {
	transfer.Source
	Close() error
}

// Run copies the store, and compares the copy with it before the copy can be used. The
// source is not changed, and the target must not exist. After an error the target cannot be
// used: the next migration removes it.
func (m Migration) Run(ctx context.Context) (report MigrationReport, err error) {
	begun := time.Now()
	m.From, m.To = m.From.Filled(), m.To.Filled()
	if problems := append(m.From.Check(), m.To.Check()...); len(problems) > 0 {
		return report, problems
	}
	from, err := openSource(ctx, &m.From)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	info := from.Info()
	report = MigrationReport{From: location(&m.From), To: location(&m.To), Epoch: info.Epoch, Position: uint64(info.Last)}
	compare := func(ctx context.Context, stored transfer.Source) (err error) {
		report.Content, err = m.compare(ctx, from, stored)
		return err
	}
	if m.Verify {
		err = m.verify(ctx, compare)
	} else {
		err = m.copy(ctx, transfer.Metered(from, m.Copying.report), compare)
	}
	report.Seconds = Second(time.Since(begun))
	return report, err
}

// location is the store's URL or data directory.
func location(cfg *config.Config) string {
	if cfg.Store != "" {
		return cfg.Store
	}
	return cfg.DataDir
}

// verify compares the source with a target that exists.
func (m Migration) verify(ctx context.Context, compare transfer.Verify) error {
	to, err := openSource(ctx, &m.To)
	if err != nil {
		return err
	}
	return errors.Join(compare(ctx, to), to.Close())
}

func (m Migration) copy(ctx context.Context, from transfer.Source, compare transfer.Verify) error {
	opts := Options{}.withDefaults()
	if m.To.Store != "" {
		no := natsOptions(&m.To, &opts)
		at, err := reach(&m.To, &no)
		if err != nil {
			return err
		}
		return explainNATS(natsstore.Import(ctx, at, from, no, compare))
	}
	if err := checkUnused(m.To.DataDir, "migration", pebblestore.MigratingSuffix); err != nil {
		return err
	}
	o := pebbleOptions(&m.To, &opts)
	o.Retention = keepAll
	return explainSpace(m.To.DataDir, pebblestore.Import(ctx, storeDir(m.To.DataDir), from, o, compare))
}

// compare reads both stores.
func (m Migration) compare(ctx context.Context, from, to transfer.Source) (transfer.Content, error) {
	total := from.Info().Bytes + to.Info().Bytes
	report := func(before int64) func(done, total int64) {
		return func(done, _ int64) { m.Comparing.report(before+done, max(total, before+done)) }
	}
	source, err := transfer.Summarize(ctx, transfer.Metered(from, report(0)))
	if err != nil {
		return transfer.Content{}, err
	}
	target, err := transfer.Summarize(ctx, transfer.Metered(to, report(from.Info().Bytes)))
	if err != nil {
		return transfer.Content{}, err
	}
	return transfer.Compare(source, target, time.Now())
}

// openSource opens a store to read it. It is ErrInUse if a server uses it.
func openSource(ctx context.Context, cfg *config.Config) (storeSource, error) {
	opts := Options{}.withDefaults()
	if cfg.Store != "" {
		no := natsOptions(cfg, &opts)
		at, err := reach(cfg, &no)
		if err != nil {
			return nil, err
		}
		source, err := natsstore.OpenSource(ctx, at, no)
		if errors.Is(err, natsstore.ErrLeaseHeld) {
			err = fmt.Errorf("%w: %w", ErrInUse, err)
		}
		if err != nil {
			return nil, explainNATS(err)
		}
		return source, nil
	}
	if err := checkRestored(cfg.DataDir); err != nil {
		return nil, err
	}
	source, err := pebblestore.OpenSource(storeDir(cfg.DataDir), pebblestore.Options{Logger: opts.Log})
	if errors.Is(err, pebblestore.ErrLocked) {
		if isServed(ctx, cfg.DataDir) {
			err = fmt.Errorf("a server is running on the %s: stop it first", cfg.StoreDescription())
		}
		err = fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return nil, err
	}
	return source, nil
}

// explainNATS names the setting that fixes an error.
func explainNATS(err error) error {
	switch {
	case errors.Is(err, natsstore.ErrSystemAccount):
		return fmt.Errorf("%w; set store-system-credentials, or durability to os", err)
	case errors.Is(err, natsstore.ErrDenied):
		return fmt.Errorf("%w; set store-credentials", err)
	}
	return err
}

// ErrMigrating: a migration has not ended, or never will.
var ErrMigrating = errors.New("a migration is running or was interrupted")

// checkUnused refuses a directory that contains anything but what an interrupted run of the
// same kind left, with a suffix.
func checkUnused(dataDir, what, suffix string) error {
	entries, err := os.ReadDir(dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s to %s: %w", what, dataDir, err)
	}
	for _, e := range entries {
		if e.Name() != "store"+suffix {
			return fmt.Errorf("%w: %s contains %q; a %s creates a new data directory: specify one that is missing or empty", pebblestore.ErrOccupied, dataDir, e.Name(), what)
		}
	}
	return nil
}

// IsNATS reports whether the location of a store is the URL of NATS servers.
func IsNATS(location string) bool { return strings.Contains(location, "://") }
