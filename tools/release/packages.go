package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

const summary = "Self-hosted presence server that speaks Zoom's presence API"

// writePackage writes a deb or an rpm for Linux. Its name is that of the format.
func (r *release) writePackage(format string, p platform, binary string) error {
	info := &nfpm.Info{
		Name: "porchlight", Arch: p.arch, Platform: p.os, Version: r.version, Section: "net", Priority: "optional",
		Maintainer: "The Porchlight authors <packages@porchlight.dev>", Vendor: "Porchlight",
		Description: summary + "\nIt stores, computes and distributes people's availability, from a static binary\nwith the database built in.",
		Homepage:    "https://porchlight.dev", License: "Apache-2.0", MTime: r.made, DisableGlobbing: true,
	}
	info.Umask = 0o022
	writers := map[string]nfpm.Packager{"deb": deb.Default, "rpm": rpm.DefaultRPM}
	contents, err := r.packaged(format, filepath.Dir(binary), binary)
	if err != nil {
		return err
	}
	info.Contents = contents
	r.addScripts(format, info)
	info = nfpm.WithDefaults(info)
	info.RPM.BuildHost = "porchlight.dev" // not that of this machine
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	return writeFile(r.path(p, "."+format), func(w io.Writer) error { return writers[format].Package(info, w) })
}

// addScripts sets what the package manager runs, and what that needs.
func (r *release) addScripts(format string, info *nfpm.Info) {
	script := func(name string) string { return filepath.Join(r.root, "deploy", "packages", format, name) }
	switch format {
	case "deb":
		info.Depends = []string{"init-system-helpers", "systemd | systemd-standalone-sysusers", "systemd | systemd-standalone-tmpfiles"}
		info.Recommends = []string{"ca-certificates"}
		info.Deb.Compression = "gzip"
		info.Scripts = nfpm.Scripts{PostInstall: script("postinst"), PreRemove: script("prerm"), PostRemove: script("postrm")}
	case "rpm":
		info.Depends = []string{"systemd"}
		info.RPM.Summary = summary
		info.RPM.Compression = "gzip"
		info.Scripts = nfpm.Scripts{PostInstall: script("post"), PreRemove: script("preun"), PostRemove: script("postun")}
	}
}

// packaged lists the files of a package. Those that are made for it are written to dir.
func (r *release) packaged(format, dir, binary string) (files.Contents, error) {
	unit := func(name string) string { return filepath.Join(r.root, "deploy", "packages", name) }
	settings, err := r.packagedSettings(dir)
	if err != nil {
		return nil, err
	}
	all := files.Contents{
		{Source: binary, Destination: "/usr/bin/porchlight", FileInfo: mode(0o755)},
		{Source: settings, Destination: "/etc/porchlight/porchlight.yaml", Type: files.TypeConfigNoReplace, FileInfo: mode(0o644)},
		{Source: unit("porchlight.service"), Destination: "/usr/lib/systemd/system/porchlight.service", FileInfo: mode(0o644)},
		{Source: unit("sysusers.conf"), Destination: "/usr/lib/sysusers.d/porchlight.conf", FileInfo: mode(0o644)},
		{Source: unit("tmpfiles.conf"), Destination: "/usr/lib/tmpfiles.d/porchlight.conf", FileInfo: mode(0o644)},
		{Source: r.shared.path("completions/porchlight.bash"), Destination: "/usr/share/bash-completion/completions/porchlight", FileInfo: mode(0o644)},
		{Source: r.shared.path("completions/porchlight.fish"), Destination: "/usr/share/fish/vendor_completions.d/porchlight.fish", FileInfo: mode(0o644)},
		{Source: r.shared.path("completions/_porchlight"), Destination: zshDir[format] + "/_porchlight", FileInfo: mode(0o644)},
	}
	for _, page := range r.shared.manuals {
		to := "/usr/share/man/man1/" + filepath.Base(page.name) + ".gz"
		packed, err := packedFile(dir, page)
		if err != nil {
			return nil, err
		}
		all = append(all, &files.Content{Source: packed, Destination: to, FileInfo: mode(0o644)})
	}
	for _, document := range r.shared.documents {
		name := document.name
		if format == "deb" && name == "LICENSE" {
			name = "copyright"
		}
		all = append(all, &files.Content{Source: r.shared.path(document.name), Destination: "/usr/share/doc/porchlight/" + name, FileInfo: mode(0o644)})
	}
	for _, example := range r.shared.examples {
		if example.name == unitFile {
			continue // it is installed
		}
		to := "/usr/share/doc/porchlight/examples/" + strings.TrimPrefix(example.name, "deploy/")
		all = append(all, &files.Content{Source: r.shared.path(example.name), Destination: to, FileInfo: mode(0o644)})
	}
	return all, nil
}

// zshDir is where each family of systems keeps completions of packages.
var zshDir = map[string]string{"deb": "/usr/share/zsh/vendor-completions", "rpm": "/usr/share/zsh/site-functions"}

func mode(m fs.FileMode) *files.ContentFileInfo { return &files.ContentFileInfo{Mode: m} }

// path is where the file of this name in an archive is stored.
func (s *sharedFiles) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// packagedSettings is the settings file with the directories of a package.
func (r *release) packagedSettings(dir string) (string, error) {
	text := strings.ReplaceAll(string(r.shared.settings.body), "--config FILE", "--config /etc/porchlight/porchlight.yaml")
	to := filepath.Join(dir, "porchlight.yaml")
	return to, os.WriteFile(to, []byte(text), 0o644)
}

// packedFile compresses a file without its name and time.
func packedFile(dir string, e entry) (string, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := z.Write(e.body); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	to := filepath.Join(dir, filepath.Base(e.name)+".gz")
	return to, os.WriteFile(to, b.Bytes(), 0o644)
}
