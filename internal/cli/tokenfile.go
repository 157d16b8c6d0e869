package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/config"
)

// A tokenFile caches an access token for later commands with the same app and server. A
// file that cannot be read or written is not an error.
type tokenFile struct {
	path  string
	saved savedToken // without a token
}

// savedToken is the content of a tokenFile.
type savedToken struct {
	Server    string `json:"server"`
	AccountID string `json:"account_id"`
	ClientID  string `json:"client_id"`
	// Credentials is a digest of the app's credentials, so that a wrong secret does not
	// get a token that the right one obtained.
	Credentials string    `json:"credentials_sha256"`
	AccessToken string    `json:"access_token"`
	RenewAt     time.Time `json:"renew_at"`
}

// newTokenFile returns the file in dir for the app and the server of c.
func newTokenFile(dir string, c config.Connection) *tokenFile {
	name := digestOf(strings.TrimRight(c.URL, "/"), c.AccountID, c.ClientID)
	return &tokenFile{filepath.Join(dir, name[:32]+".json"), savedToken{
		Server: c.URL, AccountID: c.AccountID, ClientID: c.ClientID,
		Credentials: digestOf(name, c.ClientSecret),
	}}
}

func digestOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// Load implements client.TokenCache.
func (f *tokenFile) Load() (token string, renewAt time.Time) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return "", time.Time{}
	}
	var saved savedToken
	if json.Unmarshal(data, &saved) != nil || saved.Credentials != f.saved.Credentials {
		return "", time.Time{}
	}
	return saved.AccessToken, saved.RenewAt
}

// Save implements client.TokenCache. Commands that run at the same time replace each
// other's file atomically.
func (f *tokenFile) Save(token string, renewAt time.Time) {
	saved := f.saved
	saved.AccessToken, saved.RenewAt = token, renewAt
	data, err := json.Marshal(saved)
	if err == nil && os.MkdirAll(filepath.Dir(f.path), 0o700) == nil {
		_ = replaceFile(f.path, data) // if it fails, the next command obtains its own token
	}
}

// dropTokens removes the cached tokens of an app whose secret was replaced, so that the
// old secret does not seem to work.
func dropTokens(dir, clientID string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.json")) // the pattern is valid
	for _, path := range files {
		var saved savedToken
		data, err := os.ReadFile(path)
		if err == nil && json.Unmarshal(data, &saved) == nil && saved.ClientID == clientID {
			_ = os.Remove(path) // the token would be used until it is renewed
		}
	}
}

// replaceFile writes a file atomically. Only its owner can read it.
func replaceFile(path string, data []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "*.tmp") // with mode 0600
	if err != nil {
		return err
	}
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

// cacheDir returns the directory for token files: as os.UserCacheDir, but from the
// environment of the command, or "" if there is none.
func cacheDir(getenv func(string) string) string {
	parent := getenv("XDG_CACHE_HOME")
	switch {
	case runtime.GOOS == "windows":
		parent = getenv("LocalAppData")
	case runtime.GOOS == "darwin":
		parent = filepath.Join(getenv("HOME"), "Library", "Caches")
	case parent == "":
		parent = filepath.Join(getenv("HOME"), ".cache")
	}
	if !filepath.IsAbs(parent) {
		return ""
	}
	return filepath.Join(parent, "porchlight", "tokens")
}
