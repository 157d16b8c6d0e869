package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// sharedFiles are what every platform gets beside the binary.
type sharedFiles struct {
	dir         string // where packages find them too
	documents   []entry
	manuals     []entry
	completions []entry
	examples    []entry // files to deploy with other programs
	settings    entry
}

// archived are the files of an archive, by their names in it.
func (s *sharedFiles) archived() []entry {
	return slices.Concat(s.documents, s.manuals, s.completions, s.examples, []entry{s.settings})
}

// collectShared reads documents, and asks the binary for the completions and the settings.
func (r *release) collectShared(ctx context.Context, binary, dir string) (s sharedFiles, err error) {
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		body, err := os.ReadFile(filepath.Join(r.root, name))
		if err != nil {
			return s, err
		}
		s.documents = append(s.documents, entry{name: name, mode: 0o644, body: body})
	}
	licenses, err := r.licenses(ctx, binary)
	if err != nil {
		return s, err
	}
	s.documents = append(s.documents, entry{name: "THIRD-PARTY-LICENSES", mode: 0o644, body: licenses})
	pages, err := filepath.Glob(filepath.Join(r.root, "man", "*.1"))
	if err != nil || len(pages) == 0 {
		return s, errors.Join(err, errors.New("there are no manual pages"))
	}
	for _, page := range pages {
		body, err := os.ReadFile(page)
		if err != nil {
			return s, err
		}
		s.manuals = append(s.manuals, entry{name: "man/" + filepath.Base(page), mode: 0o644, body: body})
	}
	for shell, name := range map[string]string{"bash": "porchlight.bash", "fish": "porchlight.fish", "zsh": "_porchlight"} {
		script, err := exec.CommandContext(ctx, binary, "completion", shell).Output()
		if err != nil {
			return s, fmt.Errorf("completion %s: %w", shell, err)
		}
		s.completions = append(s.completions, entry{name: "completions/" + name, mode: 0o644, body: script})
	}
	slices.SortFunc(s.completions, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	if s.examples, err = r.deployed(); err != nil {
		return s, err
	}
	s.settings = entry{name: "porchlight.yaml", mode: 0o644}
	if s.settings.body, err = settingsFile(ctx, binary); err != nil {
		return s, err
	}
	s.dir = filepath.Join(dir, "shared")
	return s, s.store()
}

// unitFile is the only file that packages are made of and that others need too.
const unitFile = "deploy/packages/porchlight.service"

// deployed are the files in deploy that are not made into packages, and the unit. Hidden files
// are left out: somebody's .env can be there.
func (r *release) deployed() (all []entry, err error) {
	root := os.DirFS(r.root)
	err = fs.WalkDir(root, "deploy", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(name, "deploy/packages/") && name != unitFile {
			return err
		}
		body, err := fs.ReadFile(root, name)
		all = append(all, entry{name: name, mode: 0o644, body: body})
		return err
	})
	return all, err
}

// store writes the files to the directory, where packages find them.
func (s *sharedFiles) store() error {
	for _, e := range s.archived() {
		to := filepath.Join(s.dir, filepath.FromSlash(e.name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, e.body, e.mode); err != nil {
			return err
		}
	}
	return nil
}

// dataDir is where a package, and the image, keep the data.
const dataDir = "/var/lib/porchlight"

// settingsFile is a settings file for a package: every setting with its help and its
// default, as comments, and the data directory.
func settingsFile(ctx context.Context, binary string) ([]byte, error) {
	doc, err := exec.CommandContext(ctx, binary, "config", "doc", "--json").Output()
	if err != nil {
		return nil, err
	}
	var described struct {
		Settings []struct{ Name, Help string } `json:"settings"`
	}
	if err := json.Unmarshal(doc, &described); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, "config", "print", "--data-dir", dataDir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no PORCHLIGHT_ variable of this machine
	printed, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	help := make(map[string]string)
	for _, s := range described.Settings {
		help[s.Name] = s.Help
	}
	return commentedSettings(string(printed), help), nil
}

var settingLine = regexp.MustCompile(`^([a-z-]+):.*?(  # [^#]*)?$`)

// commentedSettings turns what "config print" prints into comments, with help above each
// setting.
func commentedSettings(printed string, help map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString("# Settings of the Porchlight server: porchlight-serve(1). A comment shows the default.\n" +
		"# After a change, run `porchlight config check --config FILE` and restart the server.\n")
	for line := range strings.Lines(printed) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "# Connection settings") {
			break
		}
		found := settingLine.FindStringSubmatch(line)
		switch {
		case found == nil && line != "":
			b.WriteString("\n#" + line + "\n")
		case found != nil:
			b.WriteString("\n")
			for _, words := range wrapped(help[found[1]], 90) {
				b.WriteString("# " + words + "\n")
			}
			if found[1] != "data-dir" {
				b.WriteString("#")
			}
			b.WriteString(strings.TrimSuffix(line, found[2]) + "\n")
		}
	}
	return b.Bytes()
}

// wrapped breaks text into lines of at most width characters.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// licenses are those of all modules in the binary.
func (r *release) licenses(ctx context.Context, binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("Porchlight contains these modules, each under its own license.\n")
	for _, m := range info.Deps {
		cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", m.Path)
		cmd.Dir = r.root
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		dir, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("find the license of %s: %w", m.Path, err)
		}
		texts, err := licenseTexts(strings.TrimSpace(string(dir)))
		if err != nil {
			return nil, err
		}
		if len(texts) == 0 {
			return nil, fmt.Errorf("%s %s has no license file", m.Path, m.Version)
		}
		fmt.Fprintf(&b, "\n%s\n%s %s\n\n%s\n", strings.Repeat("=", 80), m.Path, m.Version, bytes.TrimSpace(bytes.Join(texts, []byte("\n\n"))))
	}
	return b.Bytes(), nil
}

var licenseName = regexp.MustCompile(`(?i)^(licen[sc]e|copying|notice)([.-].*)?$`)

func licenseTexts(dir string) (texts [][]byte, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.IsDir() || !licenseName.MatchString(f.Name()) || path.Ext(f.Name()) == ".go" {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		texts = append(texts, body)
	}
	return texts, nil
}
