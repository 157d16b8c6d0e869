package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
)

// TestChangelog: a release has its section, and a development version needs none.
func TestChangelog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "CHANGELOG.md")
	if err := os.WriteFile(file, []byte("# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2027-01-31\n\n## [0.1.0]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for version, ok := range map[string]bool{
		"0.2.0": true, "0.1.0": false, "0.3.0": false, "0.2": false, "0.3.0-dev.20270101000000+abc": true, "0.3.0-rc.1": true,
	} {
		if err := checkChangelog(file, version); (err == nil) != ok {
			t.Errorf("%s: %v", version, err)
		}
	}
	if err := os.WriteFile(file, []byte("# Changelog\n\n## [Unreleased]\n\n### Fixed\n- It starts.\n\n## [0.2.0] - 2027-01-31\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkChangelog(file, "0.2.0"); err == nil {
		t.Error("a release without the newest entries was made")
	}
	if _, err := newRelease(t.Context(), fixture.root, t.TempDir(), ""); err == nil {
		t.Error("a release without a version was made")
	}
}

// TestArchive: the archive has the program, which names its version, and everything beside
// it. The list of its parts names every module.
func TestArchive(t *testing.T) {
	r := fixture.release(t, fixture.version)
	if err := r.writeArchive(linux, fixture.binary); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(r.path(linux, ".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := unpack(tar.NewReader(plain), root); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, r.name(linux))
	for _, name := range []string{
		"LICENSE", "README.md", "CHANGELOG.md", "THIRD-PARTY-LICENSES", "man/porchlight.1", "completions/porchlight.bash", "completions/_porchlight", "completions/porchlight.fish", "porchlight.yaml",
		"deploy/packages/porchlight.service", "deploy/compose.yaml", "deploy/kubernetes/kustomization.yaml", "deploy/prometheus/alerts.yaml", "deploy/grafana/porchlight.json", "deploy/nginx/porchlight.conf", "deploy/caddy/Caddyfile", "deploy/traefik/traefik.yaml",
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "deploy/packages/deb")); err == nil {
		t.Error("the archive has the sources of packages")
	}
	if printed, err := exec.CommandContext(t.Context(), filepath.Join(dir, "porchlight"), "version").Output(); err != nil || string(printed) != "porchlight "+r.version+"\n" {
		t.Errorf("version: %q, %v", printed, err)
	}

	if err := r.writeSBOM(linux, fixture.binary); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(r.path(linux, ".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom cyclonedx.BOM
	if err := json.Unmarshal(body, &bom); err != nil {
		t.Fatal(err)
	}
	licenses := string(r.shared.documents[3].body)
	for _, c := range *bom.Components {
		if c.Version == "" || !strings.HasPrefix(c.PackageURL, "pkg:golang/") {
			t.Errorf("%+v", c)
		}
		if c.Name != "std" && !strings.Contains(licenses, "\n"+c.Name+" "+c.Version+"\n") {
			t.Errorf("THIRD-PARTY-LICENSES lacks %s", c.Name)
		}
	}
	if n := len(*bom.Components); n < 20 || bom.Metadata.Component.Version != r.version {
		t.Errorf("%d components of %+v", n, bom.Metadata.Component)
	}
}

// TestReproducible: two clones in different directories make the same bytes of every artefact.
// The second starts with an empty build cache. `make test` builds only the program of this
// platform from another directory, and writes each format twice, with a small program;
// `make test-full` builds all platforms.
func TestReproducible(t *testing.T) {
	if !full() {
		checkSameProgram(t)
	}
	var sums [2]string
	for i := range sums {
		r := fixture.release(t, fixture.version)
		var err error
		if full() {
			r.root = clone(t)
			r.env = []string{"GOCACHE=" + [2]string{cacheDir(t), t.TempDir()}[i]}
			err = r.makeAll(t.Context(), platforms())
		} else {
			err = r.writeFormats(filepath.Join(t.TempDir(), "porchlight"))
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := os.ReadFile(filepath.Join(r.out, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = string(body)
		if check, err := checkSums(t, r.out); err != nil {
			t.Errorf("sha256sum: %v\n%s", err, check)
		}
		if i == 0 && full() {
			logSizes(t, r.out)
		}
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds differ:\n%s\n%s", sums[0], sums[1])
	}
}

// checkSameProgram builds the program from a copy of this directory, as it is, and compares it
// with that of the fixture.
func checkSameProgram(t *testing.T) {
	t.Helper()
	r := fixture.release(t, fixture.version)
	r.root = t.TempDir()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = fixture.root
	names, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	copying := exec.CommandContext(t.Context(), "cp", "--parents", "--target-directory", r.root, "--")
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(fixture.root, name)); err == nil { // else it was removed since the commit
			copying.Args = append(copying.Args, name)
		}
	}
	copying.Dir = fixture.root
	if output, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, output)
	}
	program := filepath.Join(t.TempDir(), "porchlight")
	if err := r.build(t.Context(), linux, program); err != nil {
		t.Fatal(err)
	}
	if compared, err := exec.CommandContext(t.Context(), "cmp", program, fixture.binary).CombinedOutput(); err != nil {
		t.Errorf("the program depends on the directory: %v\n%s", err, compared)
	}
}

// writeFormats writes one artefact of each format, with a program of a few bytes.
func (r *release) writeFormats(program string) error {
	windows := platform{"windows", "amd64"}
	return errors.Join(
		os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755),
		r.writeArchive(linux, program), r.writeArchive(windows, program), r.writePackage("deb", linux, program), r.writePackage("rpm", linux, program),
		r.writeSBOM(linux, fixture.binary), r.writeImage(linux, program), r.writeSDKs(), writeSums(r.out),
	)
}

// checkSums verifies a release as docs/install.md says.
func checkSums(t *testing.T, dir string) ([]byte, error) {
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	cmd.Dir = dir
	return cmd.CombinedOutput()
}

func logSizes(t *testing.T, dir string) {
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			t.Logf("%6.2f MiB  %s", mebibytes(info.Size()), f.Name())
		}
	}
}

// clone is a new clone of the repository's newest commit.
func clone(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "clone")
	if output, err := exec.CommandContext(t.Context(), "git", "clone", "--quiet", "--no-hardlinks", fixture.root, dir).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v\n%s", err, output)
	}
	return dir
}

func cacheDir(t *testing.T) string {
	output, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}
