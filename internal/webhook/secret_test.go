package webhook_test

import (
	"regexp"
	"testing"

	"porchlight.dev/porchlight/internal/webhook"
)

// TestNewSecretIsURLSafe: a slash would split a secret in the path of a URL, and logs would
// redact its first part only.
func TestNewSecretIsURLSafe(t *testing.T) {
	word := regexp.MustCompile("^whsec_[A-Za-z0-9]{43}=$")
	seen := make(map[string]bool)
	for range 200 {
		secret := webhook.NewSecret()
		if !word.MatchString(secret) || seen[secret] {
			t.Errorf("%s is not a word of its own", secret)
		}
		seen[secret] = true
	}
}
