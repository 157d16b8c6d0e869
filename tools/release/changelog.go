package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// unreleased finds entries that are in no version yet.
var unreleased = regexp.MustCompile(`(?m)^## \[Unreleased\]\s+(?:[^#\s]|###)`)

// checkChangelog refuses a version that is not a development version and has no section with
// a date, and entries that are still under Unreleased.
func checkChangelog(file, version string) error {
	if strings.ContainsRune(version, '-') {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	heading := regexp.MustCompile(`(?m)^## \[` + regexp.QuoteMeta(version) + `\] - \d{4}-\d\d-\d\d$`)
	if !heading.Match(text) {
		return fmt.Errorf("%s has no heading \"## [%s] - YEAR-MONTH-DAY\": move the entries under Unreleased there, commit, and set the tag again", file, version)
	}
	if unreleased.Match(text) {
		return fmt.Errorf("%s has entries under Unreleased: move them to [%s], commit, and set the tag again", file, version)
	}
	return nil
}
