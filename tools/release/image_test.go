package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// maxImage is how large the compressed layers of a platform may be.
const maxImage = 35 << 20

// TestImage: the archive is a valid image, as an OCI layout and for Docker's image store, small,
// for a user that is not root. Its content starts with nothing writable but the data directory,
// and answers its own health check.
func TestImage(t *testing.T) {
	r := fixture.release(t, fixture.version)
	if err := r.writeImage(linux, fixture.binary); err != nil {
		t.Fatal(err)
	}
	archive := r.path(linux, "_image.tar")
	image := readImage(t, archive, "docker.io/library/porchlight:"+r.version)
	checkDocker(t, archive, "porchlight:"+r.version, image)
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.OS != "linux" || file.Architecture != linux.arch || !file.Created.Time.Equal(r.made) {
		t.Errorf("%s/%s, created %v", file.OS, file.Architecture, file.Created)
	}
	c := file.Config
	if c.User != "65532:65532" || len(c.Volumes) != 1 || len(c.ExposedPorts) != 1 || c.Labels["org.opencontainers.image.version"] != r.version {
		t.Errorf("%+v", c)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	var size int64
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			t.Fatal(err)
		}
		size += n
		if err := extract(l, root); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("image %s/%s: %.1f MiB compressed", file.OS, file.Architecture, mebibytes(size))
	if size > maxImage {
		t.Errorf("the layers have %d bytes, more than %d", size, maxImage)
	}
	checkAuthorities(t, filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
	runImage(t, root, c)
}

// runImage runs the entrypoint as a container does, in directories that cannot be written.
// It is a process of this system: the paths of the image are replaced by those below root.
// Root can write to every directory, so a test of root runs it as the image's user.
func runImage(t *testing.T, root string, c v1.Config) {
	data := t.TempDir()
	var user *syscall.Credential
	if os.Geteuid() == 0 {
		user = &syscall.Credential{Uid: imageUser, Gid: imageUser}
		if err := errors.Join(os.Chown(data, imageUser, imageUser), os.Chmod(filepath.Dir(data), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"TMPDIR=/nonexistent", "HOME=/nonexistent", "SSL_CERT_FILE=" + filepath.Join(root, "etc/ssl/certs/ca-certificates.crt")}
	for _, variable := range c.Env {
		name, value, _ := strings.Cut(variable, "=")
		switch name {
		case "PORCHLIGHT_DATA_DIR":
			value = data
		case "PORCHLIGHT_LISTEN":
			value = freeAddress(t)
		}
		env = append(env, name+"="+value)
	}
	env = append(env, "PORCHLIGHT_ADMIN_LISTEN="+freeAddress(t), "PORCHLIGHT_DRAIN_DELAY=0s")
	makeReadOnly(t, root)
	s := &service{command: append([]string{filepath.Join(root, c.Entrypoint[0])}, c.Cmd...), env: env, dir: filepath.Join(root, "etc"), user: user}
	health := func() ([]byte, error) {
		return s.other(t, slices.Concat([]string{filepath.Join(root, c.Healthcheck.Test[1])}, c.Healthcheck.Test[2:])...)
	}

	s.start(t)
	if printed, err := health(); err == nil {
		t.Errorf("before there is an account, the health check passes: %s", printed)
	}
	s.stop(t)
	if printed, err := s.other(t, s.command[0], "init"); err != nil {
		t.Fatalf("init: %v\n%s", err, printed)
	}
	took := s.start(t)
	t.Logf("start to ready: %v", took)
	awaitHealth(t, health)
	s.stop(t)
	if printed, err := health(); err == nil {
		t.Errorf("the health check of a stopped server passes: %s", printed)
	}
}

// awaitHealth repeats a health check, which fails while the disk is slow, for at most a minute.
func awaitHealth(t *testing.T, health func() ([]byte, error)) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		printed, err := health()
		if err == nil && string(printed) == "ready\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("health check: %q, %v", printed, err)
		}
	}
}

// makeReadOnly removes everybody's permission to write, which root does not need.
func makeReadOnly(t *testing.T, root string) {
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()&^0o222)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // so that it can be removed
		_ = filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
			if err == nil && info.IsDir() {
				err = os.Chmod(path, 0o700)
			}
			return err
		})
	})
}

// readImage unpacks an archive and returns its image, which has that name for containerd.
func readImage(t *testing.T, archive, called string) v1.Image {
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	if err := unpack(tar.NewReader(f), dir); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("the index is invalid: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%+v, %v", manifest, err)
	}
	only := manifest.Manifests[0]
	if only.Platform.String() != "linux/"+linux.arch || only.Annotations["io.containerd.image.name"] != called {
		t.Errorf("%+v", only)
	}
	image, err := index.Image(only.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// checkDocker reads an archive by its manifest.json, as Docker's classic image store does, and
// compares its image of that tag with the one of the layout.
func checkDocker(t *testing.T, archive, called string, want v1.Image) {
	tag, err := name.NewTag(called)
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(archive, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Errorf("the image of manifest.json is invalid: %v", err)
	}
	got, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := want.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b v1.Descriptor) bool { return a.Digest == b.Digest }
	if !same(got.Config, manifest.Config) || !slices.EqualFunc(got.Layers, manifest.Layers, same) {
		t.Errorf("manifest.json has %+v, the layout %+v", got, manifest)
	}
}

// checkAuthorities checks that the certificates are usable, by connecting to nothing.
func checkAuthorities(t *testing.T, file string) {
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(pem), "BEGIN CERTIFICATE"); n < 50 {
		t.Errorf("%d certificates of authorities", n)
	}
}

// extract writes the files of a layer below dir.
func extract(layer v1.Layer, dir string) error {
	stream, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer stream.Close()
	return unpack(tar.NewReader(stream), dir)
}

func unpack(t *tar.Reader, dir string) error {
	for {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(header.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, header.FileInfo().Mode().Perm()|0o700)
		} else {
			err = unpackFile(t, to, header.FileInfo().Mode().Perm())
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(r io.Reader, to string, mode os.FileMode) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		_ = f.Close() // the other error is the cause
		return err
	}
	return f.Close()
}
