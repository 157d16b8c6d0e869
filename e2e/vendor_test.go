package e2e_test

import (
	"path/filepath"
	"testing"
)

// TestVendoredModules: the library that draws the pages is what npm has, byte for byte.
func TestVendoredModules(t *testing.T) {
	for vendored, published := range map[string]string{
		"preact.mjs": "preact/dist/preact.mjs", "hooks.mjs": "preact/hooks/dist/hooks.mjs", "htm.mjs": "htm/dist/htm.module.js",
		"preact.LICENSE": "preact/LICENSE", "htm.LICENSE": "htm/LICENSE",
	} {
		if read(t, filepath.Join("internal/ui/assets/vendor", vendored)) != read(t, filepath.Join("e2e/node_modules", published)) {
			t.Errorf("internal/ui/assets/vendor/%s is not %s of npm", vendored, published)
		}
	}
}
