package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"porchlight.dev/porchlight/internal/server"
)

// demoKeys are the credentials of a demo. They are kept in the data directory, in a
// file that only its owner can read, so that the next start has the same ones.
type demoKeys struct {
	server.Credentials
	// WebhookSecret signs the webhooks of the app: see signing.
	WebhookSecret string     `json:"webhook_secret"`
	Users         []demoUser `json:"users"`
	// Unfinished: there are no credentials yet, and nothing in the store is needed.
	Unfinished bool `json:"unfinished,omitempty"`

	file string
}

// A demoUser is a user of the demo.
type demoUser struct {
	ID          string `json:"id"`
	Email       string `json:"email"`
	AccessToken string `json:"access_token"`
	SignedIn    bool   `json:"signed_in"`
}

// announcement is the line that "demo --json" prints, with exactly these keys.
type announcement struct {
	URL           string     `json:"url"`
	AdminURL      string     `json:"admin_url"`
	AccountID     string     `json:"account_id"`
	ClientID      string     `json:"client_id"`
	ClientSecret  string     `json:"client_secret"`
	AccessToken   string     `json:"access_token"`
	WebhookSecret string     `json:"webhook_secret"`
	Users         []demoUser `json:"users"`
}

func (k *demoKeys) announced(url, adminURL string) announcement {
	return announcement{url, adminURL, k.AccountID, k.ClientID, k.ClientSecret, k.AccessToken, k.WebhookSecret, k.Users}
}

func keysFile(dataDir string) string { return filepath.Join(dataDir, "demo.json") }

func newKeys(dataDir string, made server.Credentials) *demoKeys {
	return &demoKeys{Credentials: made, file: keysFile(dataDir)}
}

// signing reports whether WebhookSecret is the app's. It is not in a new demo, and was a
// random text in demos of older versions.
func (k *demoKeys) signing() bool { return strings.HasPrefix(k.WebhookSecret, "whsec_") }

// errUnfinished: a demo was killed before it had credentials.
var errUnfinished = errors.New("the setup of the demo was interrupted")

func readKeys(dataDir string) (*demoKeys, error) {
	k := &demoKeys{file: keysFile(dataDir)}
	data, err := os.ReadFile(k.file)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(data, k)
	if err == nil && k.Unfinished {
		return nil, errUnfinished
	}
	if err != nil || k.AccessToken == "" {
		return nil, fmt.Errorf("%s was not written by a demo: remove the directory, or use another one", k.file)
	}
	return k, nil
}

// save replaces the file atomically.
func (k *demoKeys) save() error {
	data, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(k.file, append(data, '\n')); err != nil {
		return fmt.Errorf("save the demo's credentials: %w", err)
	}
	return nil
}
