package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An entry is a file of an archive, or a directory if its name ends in a slash.
type entry struct {
	name string
	mode fs.FileMode
	body []byte
	uid  int // also the gid
}

// writeArchive writes the archive of a platform: zip for Windows, else tar.gz.
func (r *release) writeArchive(p platform, binary string) error {
	body, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	entries := []entry{{name: "porchlight" + suffix(p), mode: 0o755, body: body}}
	entries = append(entries, r.shared.archived()...)
	for i := range entries {
		entries[i].name = r.name(p) + "/" + entries[i].name
	}
	if p.os == "windows" {
		return writeFile(r.path(p, ".zip"), func(w io.Writer) error { return writeZip(w, entries, r.made) })
	}
	return writeFile(r.path(p, ".tar.gz"), func(w io.Writer) error { return writeTarGzip(w, entries, r.made) })
}

func writeTarGzip(w io.Writer, entries []entry, made time.Time) error {
	z := gzip.NewWriter(w)
	if err := writeTar(z, entries, made); err != nil {
		return err
	}
	return z.Close()
}

// writeTar writes files that belong to root or to the entry's user, all of one time.
func writeTar(w io.Writer, entries []entry, made time.Time) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: int64(e.mode), Size: int64(len(e.body)), ModTime: made, Typeflag: tar.TypeReg, Uid: e.uid, Gid: e.uid, Format: tar.FormatPAX}
		if strings.HasSuffix(e.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(e.body); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeZip(w io.Writer, entries []entry, made time.Time) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: made}
		header.SetMode(e.mode)
		f, err := z.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := f.Write(e.body); err != nil {
			return err
		}
	}
	return z.Close()
}

// writeFile writes a new file.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		_ = f.Close() // the other error is the cause
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return f.Close()
}

// writeSums writes SHA256SUMS of all files in dir, in the format of sha256sum.
func writeSums(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, f := range files {
		body, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(body), f.Name())
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
