package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A profile is a server, with the login or the access token for it.
type profile struct {
	Format       int       `json:"format"`
	URL          string    `json:"url"`
	CAFile       string    `json:"ca_file,omitempty"`
	PinnedPubkey string    `json:"pinned_pubkey,omitempty"`
	AccessToken  string    `json:"access_token,omitempty"`
	RefreshToken string    `json:"refresh_token,omitempty"` // "": the token was not obtained by "porchlight login"
	Expires      time.Time `json:"expires,omitzero"`        // of an access token with a refresh token
}

// profileFormat is the format of profile files. Files of later formats are refused.
const profileFormat = 1

// state describes what a profile has, for people.
func (p *profile) state() string {
	switch {
	case p.RefreshToken != "":
		return "logged in"
	case p.AccessToken != "":
		return "token"
	default:
		return "not logged in"
	}
}

// isFor reports whether a URL is the profile's server, which alone gets its tokens.
func (p *profile) isFor(url string) bool {
	return strings.TrimRight(p.URL, "/") == strings.TrimRight(url, "/")
}

// profiles are the profile files of a user: NAME.json each. The file "current" has the name
// of the profile that commands use by default, and "lock" is locked by whoever changes a
// file. Files are replaced atomically, and only their owner can read them.
type profiles struct {
	dir string // "" if there is no directory for settings
}

// profiles returns the user's profiles.
func (s *shell) profiles() profiles {
	parent := s.getenv("XDG_CONFIG_HOME") // as os.UserConfigDir, but from the environment of the command
	switch {
	case runtime.GOOS == "windows":
		parent = s.getenv("AppData")
	case runtime.GOOS == "darwin":
		parent = filepath.Join(s.getenv("HOME"), "Library", "Application Support")
	case parent == "":
		parent = filepath.Join(s.getenv("HOME"), ".config")
	}
	if !filepath.IsAbs(parent) {
		return profiles{}
	}
	return profiles{filepath.Join(parent, "porchlight", "profiles")}
}

const (
	currentFile = "current"
	lockFile    = "lock"
	profileExt  = ".json"
)

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func checkProfileName(name string) error {
	if !profileName.MatchString(name) {
		return &usageError{fmt.Sprintf("%q cannot be the name of a profile: use up to 64 letters, digits, \".\", \"_\" and \"-\"", name)}
	}
	return nil
}

func (p profiles) path(name string) string { return filepath.Join(p.dir, name+profileExt) }

// errNoProfile: there is no profile with the name.
var errNoProfile = errors.New("no such profile")

// errDamagedProfile: the file cannot be understood.
var errDamagedProfile = errors.New("damaged profile")

// load reads a profile. The errors say what to do.
func (p profiles) load(name string) (*profile, error) {
	if err := checkProfileName(name); err != nil {
		return nil, err
	}
	if p.dir == "" {
		return nil, p.unknown(name)
	}
	path := p.path(name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, p.unknown(name)
	}
	if err == nil && !private(info) {
		return nil, &usageError{fmt.Sprintf("other users of this machine can read or change the profile file %s (mode %04o): run \"chmod 600 %s\". If somebody may have done so, run \"porchlight logout --profile %s\" afterwards and log in again", path, info.Mode().Perm(), path, name)}
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the profile %s: %w", name, err)
	}
	return decodeProfile(name, path, data)
}

func decodeProfile(name, path string, data []byte) (*profile, error) {
	var v profile
	err := json.Unmarshal(data, &v)
	switch {
	case err == nil && v.Format > profileFormat:
		return nil, &usageError{fmt.Sprintf("a newer version of porchlight wrote the profile file %s: use that version, or remove the profile with \"porchlight profile remove %s\"", path, name)}
	case err != nil || v.Format < 1 || v.URL == "" || strings.ContainsFunc(v.AccessToken+v.RefreshToken, notInToken):
		text := fmt.Sprintf("the profile file %s is damaged: run \"porchlight profile remove %s\", then log in again with \"porchlight login --profile %s --url URL\"", path, name, name)
		return nil, &advice{errDamagedProfile, text, ""}
	}
	return &v, nil
}

func notInToken(r rune) bool { return r <= ' ' || r > '~' }

// unknown is the error for a profile that does not exist.
func (p profiles) unknown(name string) error {
	text := fmt.Sprintf("there is no profile %q. ", name)
	if names := p.names(); len(names) > 0 {
		text += "The profiles are: " + strings.Join(names, ", ") + "."
	} else {
		text += fmt.Sprintf("There are no profiles yet: \"porchlight login --profile %s --url URL\" makes one.", name)
	}
	return &advice{errors.Join(errNoProfile, &usageError{text}), text, ""}
}

// names lists the profiles.
func (p profiles) names() []string {
	entries, _ := os.ReadDir(p.dir) // without a directory there are none
	var all []string
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), profileExt); ok && profileName.MatchString(name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// current is the name of the profile that commands use by default, or "".
func (p profiles) current() string {
	if p.dir == "" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(p.dir, currentFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (p profiles) setCurrent(name string) error {
	return replaceFile(filepath.Join(p.dir, currentFile), []byte(name+"\n"))
}

// save writes a profile. The caller has the lock.
func (p profiles) save(name string, v *profile) error {
	v.Format = profileFormat
	data, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = replaceFile(p.path(name), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("save the profile %s: %w", name, err)
	}
	return nil
}

// remove deletes a profile. The caller has the lock.
func (p profiles) remove(name string) error {
	if p.current() == name {
		if err := os.Remove(filepath.Join(p.dir, currentFile)); err != nil {
			return err
		}
	}
	return os.Remove(p.path(name))
}

// lockRetry is how often a process looks whether another one has ended its change.
const lockRetry = 20 * time.Millisecond

// locked calls change while no other process changes profiles. It makes the directory.
func (p profiles) locked(ctx context.Context, change func() error) error {
	if p.dir == "" {
		return &usageError{"there is no directory for profiles: set HOME or XDG_CONFIG_HOME"}
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for profiles: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(p.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the profiles: %w", err)
	}
	defer f.Close() // which unlocks it
	for {
		ok, err := tryLock(f)
		if err != nil {
			return fmt.Errorf("lock the profiles: %w", err)
		}
		if ok {
			return change()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockRetry):
		}
	}
}
