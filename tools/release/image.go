package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// imageUser runs the server in a container. It is the number that "nonroot" images have.
const imageUser = 65532

// writeImage writes the image of a platform as an archive that is both an OCI layout and what
// `docker save` writes. So every `docker load`, `podman load`, containerd, skopeo and crane read
// it: Docker's classic image store needs manifest.json, which has one platform.
func (r *release) writeImage(p platform, binary string) error {
	image, err := r.image(p, binary)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	names := map[string]string{
		"org.opencontainers.image.ref.name": imageTag(r.version),
		"io.containerd.image.name":          "docker.io/library/" + imageName(r.version),
	}
	if err := at.AppendImage(image, layout.WithPlatform(v1.Platform{OS: p.os, Architecture: p.arch}), layout.WithAnnotations(names)); err != nil {
		return err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	docker := tarball.Descriptor{Config: blob(manifest.Config), RepoTags: []string{imageName(r.version)}}
	for _, l := range manifest.Layers {
		docker.Layers = append(docker.Layers, blob(l))
	}
	body, err := json.Marshal(tarball.Manifest{docker})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), body, 0o644); err != nil {
		return err
	}
	return writeFile(r.path(p, "_image.tar"), func(w io.Writer) error { return writeDir(w, dir, r.made) })
}

// blob is where a layout has what d describes.
func blob(d v1.Descriptor) string { return path.Join("blobs", d.Digest.Algorithm, d.Digest.Hex) }

func imageName(version string) string { return "porchlight:" + imageTag(version) }

// imageTag is the version as a tag, which cannot have a plus sign.
func imageTag(version string) string {
	return string(bytes.ReplaceAll([]byte(version), []byte("+"), []byte("-")))
}

// writeDir writes the files of a directory as a tar archive.
func writeDir(w io.Writer, dir string, made time.Time) error {
	var entries []entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		body, err := os.ReadFile(path)
		entries = append(entries, entry{name: filepath.ToSlash(name), mode: 0o644, body: body})
		return err
	})
	if err != nil {
		return err
	}
	return writeTar(w, entries, made)
}

// image is that of one platform: a layer that seldom changes, and one with the binary.
func (r *release) image(p platform, binary string) (v1.Image, error) {
	body, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range []struct {
		entries []entry
		comment string
	}{
		{r.imageBase(), "certificates, user, data directory"},
		{[]entry{{name: "usr/bin/porchlight", mode: 0o755, body: body}}, "porchlight " + r.version},
	} {
		layer, err := r.layer(l.entries)
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: r.made}, CreatedBy: "tools/release", Comment: l.comment}})
		if err != nil {
			return nil, err
		}
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created, file.Config = p.os, p.arch, v1.Time{Time: r.made}, r.imageConfig()
	return mutate.ConfigFile(image, file)
}

// imageConfig is how a container starts: on port 8080 of all addresses, with the data in a
// volume. The health check is Docker's; other runtimes have their own probes.
func (r *release) imageConfig() v1.Config {
	return v1.Config{
		User: "65532:65532", WorkingDir: dataDir, StopSignal: "SIGTERM",
		Entrypoint: []string{"/usr/bin/porchlight"}, Cmd: []string{"serve"},
		Env:          []string{"PATH=/usr/bin", "PORCHLIGHT_DATA_DIR=" + dataDir, "PORCHLIGHT_LISTEN=:8080"},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Volumes:      map[string]struct{}{dataDir: {}},
		Healthcheck: &v1.HealthConfig{
			Test: []string{"CMD", "/usr/bin/porchlight", "health"}, Interval: 10 * time.Second, Timeout: 6 * time.Second, StartPeriod: time.Minute, Retries: 3,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "Porchlight",
			"org.opencontainers.image.description": summary,
			"org.opencontainers.image.version":     r.version,
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.url":         "https://porchlight.dev",
			"org.opencontainers.image.created":     r.made.Format(time.RFC3339),
		},
	}
}

// imageBase is what a static binary needs beside itself. The time zones are in the binary.
func (r *release) imageBase() []entry {
	all := []entry{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, body: []byte("root:x:0:\nporchlight:x:65532:\n")},
		{name: "etc/passwd", mode: 0o644, body: []byte("root:x:0:0:root:/:/sbin/nologin\nporchlight:x:65532:65532:Porchlight:" + dataDir + ":/sbin/nologin\n")},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, body: authorities()},
		{name: "tmp/", mode: fs.FileMode(0o1777)},
		{name: "usr/", mode: 0o755},
		{name: "usr/bin/", mode: 0o755},
		{name: "usr/share/", mode: 0o755},
		{name: "usr/share/doc/", mode: 0o755},
		{name: "usr/share/doc/porchlight/", mode: 0o755},
	}
	for _, d := range r.shared.documents {
		if d.name != "README.md" && d.name != "CHANGELOG.md" {
			all = append(all, entry{name: "usr/share/doc/porchlight/" + d.name, mode: 0o644, body: d.body})
		}
	}
	return append(all,
		entry{name: "var/", mode: 0o755}, entry{name: "var/lib/", mode: 0o755},
		entry{name: dataDir[1:] + "/", mode: 0o700, uid: imageUser},
	)
}

// authorities are the certificates that Mozilla trusts without a condition: a PEM file
// cannot express one.
func authorities() []byte {
	var all [][]byte
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	slices.SortFunc(all, bytes.Compare)
	return bytes.Join(all, nil)
}

func (r *release) layer(entries []entry) (v1.Layer, error) {
	var b bytes.Buffer
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	if err := writeTar(&b, entries, r.made); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
}
