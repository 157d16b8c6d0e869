// Command release makes what people install: archives, packages, images, the client libraries
// and their checksums. `make release` runs it.
//
// It is a module of its own, so that the libraries that write these formats are not in the
// server's go.mod. It guarantees that a commit always makes the same bytes, wherever and
// whenever it is built, and that a version that is not a development version has its section
// in the changelog. It must not publish anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1) //nolint:gocritic,forbidigo // this is main, and stop was called
	}
}

// A platform is an operating system and a processor, in Go's words.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "_" + p.arch }

// platforms are those of a release.
func platforms() []platform {
	return []platform{
		{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"},
	}
}

func host() platform { return platform{runtime.GOOS, runtime.GOARCH} }

// A release is one version of the repository in root, whose artefacts are written to out.
type release struct {
	root, out string
	version   string
	made      time.Time // the time of the commit, which every file has
	env       []string  // more variables for the go command
	shared    sharedFiles
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	root := flags.String("root", "../..", "directory of the repository")
	out := flags.String("out", "../../dist", "directory for the artefacts: a new or empty one, or that of an earlier release, which is replaced")
	version := flags.String("version", "", "version, as tools/version prints it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := newRelease(ctx, *root, *out, *version)
	if err != nil {
		return err
	}
	return r.makeAll(ctx, platforms())
}

func newRelease(ctx context.Context, root, out, version string) (*release, error) {
	if version == "" {
		return nil, errors.New("there is no version: run `make release` in a clone of the repository, or set -version")
	}
	if err := checkChangelog(filepath.Join(root, "CHANGELOG.md"), version); err != nil {
		return nil, err
	}
	made, err := commitTime(ctx, root)
	return &release{root: root, out: out, version: version, made: made}, err
}

// commitTime is the time of the newest commit, or SOURCE_DATE_EPOCH.
func commitTime(ctx context.Context, root string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		cmd := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct")
		cmd.Dir = root
		output, err := cmd.Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("the time of the commit is unknown; set SOURCE_DATE_EPOCH: %w", err)
		}
		text = strings.TrimSpace(string(output))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

// makeAll writes every artefact of these platforms, and their checksums.
func (r *release) makeAll(ctx context.Context, all []platform) error {
	if err := emptyDir(r.out); err != nil {
		return err
	}
	binaries := make(map[platform]string)
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for _, p := range append([]platform{host()}, all...) {
		if binaries[p] != "" {
			continue
		}
		binaries[p] = filepath.Join(work, p.String(), "porchlight"+suffix(p))
		if err := r.build(ctx, p, binaries[p]); err != nil {
			return err
		}
	}
	if r.shared, err = r.collectShared(ctx, binaries[host()], work); err != nil {
		return err
	}
	if err := r.writeArtefacts(all, binaries); err != nil {
		return err
	}
	if err := r.writeSDKs(); err != nil {
		return err
	}
	return writeSums(r.out)
}

func (r *release) writeArtefacts(all []platform, binaries map[platform]string) error {
	for _, p := range all {
		if err := r.writeArchive(p, binaries[p]); err != nil {
			return err
		}
		if err := r.writeSBOM(p, binaries[p]); err != nil {
			return err
		}
		if p.os != "linux" {
			continue
		}
		for _, format := range []string{"deb", "rpm"} {
			if err := r.writePackage(format, p, binaries[p]); err != nil {
				return err
			}
		}
		if err := r.writeImage(p, binaries[p]); err != nil {
			return err
		}
	}
	return nil
}

// artefact matches the names of all files that a release has.
var artefact = regexp.MustCompile(`^(SHA256SUMS|porchlight_.+\.(tar\.gz|zip|deb|rpm|cdx\.json|tar)|porchlight-client-.+\.tgz|porchlight_client-.+\.(whl|tar\.gz))$`)

// emptyDir creates dir, and removes what an earlier release left in it. It removes nothing if
// there is anything else: dir may be a directory that somebody named by mistake.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.Type().IsRegular() || !artefact.MatchString(f.Name()) {
			return fmt.Errorf("%s contains %s, which is not a file of a release: remove it, or choose an empty directory with -out", dir, f.Name())
		}
	}
	for _, f := range files {
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// path is where an artefact of the platform is written.
func (r *release) path(p platform, extension string) string {
	return filepath.Join(r.out, r.name(p)+extension)
}

func (r *release) name(p platform) string { return "porchlight_" + r.version + "_" + p.String() }
