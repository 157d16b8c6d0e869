package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// writeSDKs writes the client libraries as npm and pip install them: a tarball of npm, a
// wheel and a source distribution. npm and setuptools do not write them, because other
// versions of these tools make other bytes.
func (r *release) writeSDKs() error {
	return errors.Join(r.writeNPM(), r.writePython())
}

var npmVersion = regexp.MustCompile(`"version": "[^"]*"`)

// writeNPM writes the files that `npm pack` would, and the license, with the version of the
// release.
func (r *release) writeNPM() error {
	dir := filepath.Join(r.root, "sdk", "javascript")
	manifest, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return err
	}
	manifest = npmVersion.ReplaceAll(manifest, []byte(`"version": "`+r.version+`"`))
	var described struct{ Files []string }
	if err := json.Unmarshal(manifest, &described); err != nil {
		return fmt.Errorf("sdk/javascript/package.json: %w", err)
	}
	entries := []entry{{name: "package.json", mode: 0o644, body: manifest}}
	for _, name := range append(described.Files, "README.md", "../../LICENSE") {
		e, err := readEntry(dir, name)
		if err != nil {
			return err
		}
		e.name = path.Base(name)
		entries = append(entries, e)
	}
	return r.writeUnder(filepath.Join(r.out, "porchlight-client-"+r.version+".tgz"), "package", entries)
}

// writeUnder writes entries to a tar.gz, below a directory.
func (r *release) writeUnder(to, dir string, entries []entry) error {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].name = dir + "/" + entries[i].name
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return writeFile(to, func(w io.Writer) error { return writeTarGzip(w, entries, r.made) })
}

func readEntry(dir, name string) (entry, error) {
	body, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	return entry{name: name, mode: 0o644, body: body}, err
}

// A pythonProject is what sdk/python/pyproject.toml says of the package.
type pythonProject struct {
	Name, Version, Description string
	RequiresPython             string `toml:"requires-python"`
	License                    struct{ Text string }
	Dependencies               []string
}

// writePython writes a wheel and a source distribution.
func (r *release) writePython() error {
	dir := filepath.Join(r.root, "sdk", "python")
	var settings struct{ Project pythonProject }
	source, err := os.ReadFile(filepath.Join(dir, "pyproject.toml"))
	if err != nil {
		return err
	}
	if _, err := toml.Decode(string(source), &settings); err != nil {
		return fmt.Errorf("sdk/python/pyproject.toml: %w", err)
	}
	project := settings.Project
	if len(project.Dependencies) > 0 {
		return errors.New("sdk/python/pyproject.toml: the release does not write dependencies; add them to metadata in tools/release/sdk.go")
	}
	source = bytes.Replace(source, []byte(`version = "`+project.Version+`"`), []byte(`version = "`+pythonVersion(r.version)+`"`), 1)
	project.Version = pythonVersion(r.version)
	readme, err := readEntry(dir, "README.md")
	if err != nil {
		return err
	}
	license, err := readEntry(dir, "../../LICENSE")
	if err != nil {
		return err
	}
	license.name = "LICENSE"
	modules, err := pythonModules(dir)
	if err != nil {
		return err
	}
	metadata := entry{name: "PKG-INFO", mode: 0o644, body: project.metadata(readme.body)}
	sources := []entry{readme, license, metadata, {name: "pyproject.toml", mode: 0o644, body: source}}
	for _, m := range modules {
		sources = append(sources, entry{name: "src/" + m.name, mode: m.mode, body: m.body})
	}
	return errors.Join(
		r.writeWheel(project, modules, metadata, license),
		r.writeUnder(filepath.Join(r.out, project.stem()+".tar.gz"), project.stem(), sources),
	)
}

// pythonModules are the files of the package, by their names below the place where Python
// looks for it.
func pythonModules(dir string) (modules []entry, err error) {
	src := filepath.Join(dir, "src")
	for _, pattern := range []string{"*.py", "py.typed"} {
		files, err := filepath.Glob(filepath.Join(src, "porchlight", pattern))
		if err != nil || len(files) == 0 {
			return nil, errors.Join(err, fmt.Errorf("sdk/python has no %s", pattern))
		}
		for _, file := range files {
			e, err := readEntry(src, "porchlight/"+filepath.Base(file))
			if err != nil {
				return nil, err
			}
			modules = append(modules, e)
		}
	}
	return modules, nil
}

// writeWheel writes the wheel, whose last entry lists the others with their checksums.
func (r *release) writeWheel(project pythonProject, modules []entry, metadata, license entry) error {
	info := project.stem() + ".dist-info/"
	entries := append(slices.Clone(modules),
		entry{name: info + "METADATA", mode: 0o644, body: metadata.body},
		entry{name: info + "WHEEL", mode: 0o644, body: []byte("Wheel-Version: 1.0\nGenerator: porchlight tools/release\nRoot-Is-Purelib: true\nTag: py3-none-any\n")},
		entry{name: info + "licenses/LICENSE", mode: 0o644, body: license.body},
	)
	var record strings.Builder
	for _, e := range entries {
		sum := sha256.Sum256(e.body)
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", e.name, base64.RawURLEncoding.EncodeToString(sum[:]), len(e.body))
	}
	fmt.Fprintf(&record, "%sRECORD,,\n", info)
	entries = append(entries, entry{name: info + "RECORD", mode: 0o644, body: []byte(record.String())})
	to := filepath.Join(r.out, project.stem()+"-py3-none-any.whl")
	return writeFile(to, func(w io.Writer) error { return writeZip(w, entries, r.made) })
}

// stem begins the names of the project's files.
func (p pythonProject) stem() string {
	return strings.ReplaceAll(p.Name, "-", "_") + "-" + p.Version
}

// metadata is the core metadata of the package, with the README as its description.
func (p pythonProject) metadata(readme []byte) []byte {
	return fmt.Appendf(nil, "Metadata-Version: 2.1\nName: %s\nVersion: %s\nSummary: %s\nLicense: %s\nRequires-Python: %s\nDescription-Content-Type: text/markdown\n\n%s",
		p.Name, p.Version, p.Description, p.License.Text, p.RequiresPython, readme)
}

// pythonVersion is the version in the form of Python's packages (PEP 440): 0.1.0-rc.1 is
// 0.1.0rc1, and 0.1.0-dev.1+COMMIT is 0.1.0.dev1+COMMIT.
func pythonVersion(version string) string {
	return strings.NewReplacer("-dev.", ".dev", "-rc.", "rc").Replace(version)
}
