package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runIn runs a command in a directory, with more environment variables.
func runIn(t *testing.T, dir string, env []string, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, output)
	}
	return string(output)
}

// startDemo runs the demo until the test ends, and returns the variables that it asks the
// reader to set.
func startDemo(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), fixture.binary, "demo", "--json", "--quiet-users", "--listen", "127.0.0.1:0")
	cmd.Cancel, cmd.Env = func() error { return cmd.Process.Signal(os.Interrupt) }, append(os.Environ(), "PORCHLIGHT_ADMIN_LISTEN=127.0.0.1:0", "HOME="+t.TempDir())
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the context has stopped it
	var printed struct {
		URL         string
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(output).Decode(&printed); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, output) }()
	return []string{"PORCHLIGHT_URL=" + printed.URL, "PORCHLIGHT_TOKEN=" + printed.AccessToken}
}

// makeSDKs writes the client libraries of a version, and returns their paths by extension.
func makeSDKs(t *testing.T, version string) map[string]string {
	t.Helper()
	r := fixture.release(t, version)
	if err := r.writeSDKs(); err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, pattern := range []string{"*.tgz", "*.whl", "*.tar.gz"} {
		found, err := filepath.Glob(filepath.Join(r.out, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %q, %v", pattern, found, err)
		}
		files[pattern[1:]] = found[0]
	}
	return files
}

// TestSDKs: npm and pip install the client libraries from the release, without a registry, and
// each makes a call.
func TestSDKs(t *testing.T) {
	env := startDemo(t)
	files := makeSDKs(t, fixture.version)
	t.Run("javascript", func(t *testing.T) {
		dir := t.TempDir()
		runIn(t, dir, nil, "npm", "install", "--no-update-notifier", "--offline", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", dir, files[".tgz"])
		const program = `import { Porchlight } from "@porchlight/client";
import installed from "@porchlight/client/package.json" with { type: "json" };
const porchlight = new Porchlight({ url: process.env.PORCHLIGHT_URL, token: process.env.PORCHLIGHT_TOKEN });
await porchlight.setStatus("ada.okafor@example.com", "busy");
console.log(installed.version, (await porchlight.presence("ada.okafor@example.com")).status);`
		if err := os.WriteFile(filepath.Join(dir, "program.mjs"), []byte(program), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := runIn(t, dir, env, "node", "--no-warnings", "program.mjs"); got != fixture.version+" busy\n" {
			t.Errorf("the program printed %q", got)
		}
	})
	t.Run("python", func(t *testing.T) {
		dir := t.TempDir()
		runIn(t, dir, []string{"HOME=" + dir}, "python3", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-build-isolation",
			"--target", "installed", files[".whl"])
		const program = `import os, importlib.metadata, porchlight
with porchlight.Client(os.environ["PORCHLIGHT_URL"], os.environ["PORCHLIGHT_TOKEN"]) as client:
    client.set_status("ada.okafor@example.com", "away")
    print(importlib.metadata.version("porchlight-client"), client.presence("ada.okafor@example.com").status)`
		if got := runIn(t, dir, append(env, "PYTHONPATH=installed"), "python3", "-W", "error", "-c", program); got != fixture.version+" away\n" {
			t.Errorf("the program printed %q", got)
		}
		checkSources(t, tarFiles(t, files[".tar.gz"]), filepath.Join(dir, "installed"))
	})
}

// checkSources checks that the source distribution has the modules that pip installed from the
// wheel, and says the version. To build it, pip needs setuptools from a registry.
func checkSources(t *testing.T, sources map[string]string, installed string) {
	t.Helper()
	dir := "porchlight_client-" + fixture.version + "/"
	modules, err := filepath.Glob(filepath.Join(installed, "porchlight", "*.*"))
	if err != nil || len(modules) < 8 {
		t.Fatalf("%q, %v", modules, err)
	}
	for _, file := range modules {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := dir + "src/porchlight/" + filepath.Base(file)
		if source, ok := sources[name]; !ok || source != string(body) {
			t.Errorf("%s differs from the wheel", name)
		}
	}
	for name, needle := range map[string]string{
		"pyproject.toml": "\nversion = \"" + fixture.version + "\"\n", "PKG-INFO": "\nVersion: " + fixture.version + "\n", "LICENSE": "Apache License", "README.md": "# porchlight-client",
	} {
		if !strings.Contains(sources[dir+name], needle) {
			t.Errorf("%s lacks %q:\n%s", name, needle, sources[dir+name])
		}
	}
}

// TestNPM: the tarball has the files that npm pack writes, and the license.
func TestNPM(t *testing.T) {
	file := makeSDKs(t, "0.3.0-dev.20270101000000+abc")[".tgz"]
	if filepath.Base(file) != "porchlight-client-0.3.0-dev.20270101000000+abc.tgz" {
		t.Errorf("the file is %s", file)
	}
	ours := tarFiles(t, file)
	dir := t.TempDir()
	runIn(t, filepath.Join(fixture.root, "sdk", "javascript"), nil, "npm", "pack", "--no-update-notifier", "--silent", "--pack-destination", dir)
	packed, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(packed) != 1 {
		t.Fatalf("%q, %v", packed, err)
	}
	theirs := tarFiles(t, packed[0])
	if !strings.Contains(ours["package/package.json"], `"version": "0.3.0-dev.20270101000000+abc"`) || ours["package/LICENSE"] == "" {
		t.Errorf("package.json is\n%s", ours["package/package.json"])
	}
	delete(ours, "package/LICENSE")
	delete(ours, "package/package.json")
	delete(theirs, "package/package.json")
	for name, body := range theirs {
		if ours[name] != body {
			t.Errorf("%s differs from what npm pack writes", name)
		}
	}
	if len(ours) != len(theirs) {
		t.Errorf("%d files, and npm pack writes %d", len(ours), len(theirs))
	}
}

func tarFiles(t *testing.T, archive string) map[string]string {
	t.Helper()
	packed, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for reader := tar.NewReader(plain); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(body)
	}
}

// TestPythonVersion: the forms that tools/version prints, and the one of a release candidate.
func TestPythonVersion(t *testing.T) {
	for version, want := range map[string]string{
		"0.1.0": "0.1.0", "0.3.0-rc.1": "0.3.0rc1", "0.1.0-dev.20261129191233+408418996792": "0.1.0.dev20261129191233+408418996792",
	} {
		if got := pythonVersion(version); got != want {
			t.Errorf("%s is %s, want %s", version, got, want)
		}
	}
}

// TestOutDirectory: a directory of an earlier release is emptied, and nothing is removed from
// one that has another file.
func TestOutDirectory(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		ok    bool
	}{
		{"new", nil, true},
		{"an earlier release", []string{
			"SHA256SUMS", "porchlight_0.0.8_linux_amd64.tar.gz", "porchlight_0.0.8_windows_arm64.zip", "porchlight_0.0.8_linux_amd64.deb", "porchlight_0.0.8_linux_arm64.rpm",
			"porchlight_0.0.8_darwin_arm64.cdx.json", "porchlight_0.0.8_linux_arm64_image.tar", "porchlight-client-0.0.8.tgz", "porchlight_client-0.0.8-py3-none-any.whl", "porchlight_client-0.0.8.tar.gz",
		}, true},
		{"a file of somebody", []string{"SHA256SUMS", "notes.txt"}, false},
		{"a directory with the name of an archive", []string{"porchlight_0.0.8_linux_amd64.tar.gz/file"}, false},
		{"a repository", []string{".git/HEAD", "porchlight_0.0.8_linux_arm64_image.tar"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			for _, name := range c.files {
				if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			err := emptyDir(dir)
			if (err == nil) != c.ok {
				t.Errorf("emptyDir: %v", err)
			}
			left, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			removed := func(name string) bool {
				_, err := os.Stat(filepath.Join(dir, name))
				return err != nil
			}
			if c.ok && len(left) > 0 || !c.ok && slices.ContainsFunc(c.files, removed) {
				t.Errorf("%v is left", left)
			}
		})
	}
}
