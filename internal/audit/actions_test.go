package audit_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestActionsAreDocumented: docs/audit.md names every action that the code records.
func TestActionsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	action := regexp.MustCompile(`Action:\s*"[a-z-]+\.[a-z]+"|"[a-z-]+\.(?:create|update|delete|suspend|resume|revoke|rotate)"`)
	found := 0
	tree := os.DirFS("..")
	err = fs.WalkDir(tree, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(tree, path)
		for _, match := range action.FindAllString(string(text), -1) {
			found++
			name := strings.Split(match, `"`)[1]
			if !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("%s records %s, which docs/audit.md does not name", path, name)
			}
		}
		return err
	})
	if err != nil || found < 10 {
		t.Errorf("%d actions found, %v", found, err)
	}
}
