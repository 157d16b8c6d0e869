package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// checkChangelog refuses a version that is not a development version and has no section with
// a date.
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
	return nil
}
