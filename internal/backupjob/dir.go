package backupjob

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

const (
	// inProgress is the name of a backup until it is complete, with the suffix of package
	// backup. It is always the same, so the next backup overwrites what a kill left.
	inProgress = "porchlight-backup"

	nameTime = "20060102T150405Z"
)

// namePattern matches the names of complete backups: the time in UTC and the position.
var namePattern = regexp.MustCompile(`^porchlight-(\d{8}T\d{6}Z)-\d+\.backup$`)

func nameOf(at time.Time, position uint64) string {
	return fmt.Sprintf("porchlight-%s-%d.backup", at.UTC().Format(nameTime), position)
}

// A File is a complete backup in a directory.
type File struct {
	Path string
	Time time.Time // when it began
}

// List returns the complete backups in a directory, the oldest first.
func List(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the directory for backups %s does not exist: create it, or mount its disk", dir)
	case err != nil:
		return nil, fmt.Errorf("read the directory for backups: %w", err)
	}
	var all []File
	for _, e := range entries {
		match := namePattern.FindStringSubmatch(e.Name())
		if match == nil || !e.Type().IsRegular() {
			continue
		}
		if at, err := time.Parse(nameTime, match[1]); err == nil {
			all = append(all, File{filepath.Join(dir, e.Name()), at})
		}
	}
	slices.SortFunc(all, func(a, b File) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Path, b.Path)) })
	return all, nil
}

// Newest returns the newest complete backup in a directory.
func Newest(dir string, now time.Time) (File, error) {
	all, err := List(dir)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("the directory %s contains no backup made by backup-schedule: specify a backup file", dir)
	}
	if err != nil {
		return File{}, err
	}
	futureFirst(all, now.Add(clockTolerance))
	return all[len(all)-1], nil
}

// clockTolerance is how far ahead the clock of the machine that made a backup may be.
const clockTolerance = 24 * time.Hour

// futureFirst moves the backups of the future to the front: they were made before the clock was
// set back, so that they are older than the others.
func futureFirst(all []File, now time.Time) {
	slices.SortStableFunc(all, func(a, b File) int {
		switch x, y := a.Time.After(now), b.Time.After(now); {
		case x == y:
			return 0
		case x:
			return -1
		default:
			return 1
		}
	})
}

// prune deletes the oldest backups, so that keep remain. It never deletes the one that
// was made last, whatever the clock was when the others were made. One that cannot be deleted
// keeps no other one.
func prune(dir, last string, keep int, remove func(name string) error) error {
	all, err := List(dir)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(f File) bool { return f.Path == last }); i >= 0 {
		futureFirst(all, all[i].Time)
	}
	excess := len(all) - keep
	for _, f := range all {
		if excess <= 0 {
			break
		}
		if f.Path == last {
			continue
		}
		if failed := remove(f.Path); failed != nil {
			err = errors.Join(err, fmt.Errorf("delete an old backup: %w", failed))
		}
		excess--
	}
	return err
}
