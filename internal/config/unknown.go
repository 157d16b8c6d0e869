package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const prefix = "PORCHLIGHT_"

// injected matches what Kubernetes adds to the environment of a pod for a Service that is
// named porchlight, or porchlight-something.
var injected = regexp.MustCompile(`^PORCHLIGHT_(PORT|PORT_\w+|SERVICE_\w+|\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$`)

// UnknownVariables returns a warning for each variable that has the prefix of the settings
// but is not a setting. It ignores those that Kubernetes adds.
func UnknownVariables(names []string) []string {
	settings := append(fields(new(Config)), fields(new(Connection))...)
	return unknownVariables(names, append(settings, Field{Name: "config"}))
}

func unknownVariables(names []string, settings []Field) []string {
	var all []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		key, ok := strings.CutPrefix(name, prefix)
		known := slices.ContainsFunc(settings, func(f Field) bool { return f.Env() == name })
		service, port := strings.CutSuffix(name, "_PORT")
		if !ok || known || injected.MatchString(name) || port && slices.Contains(names, service+"_SERVICE_HOST") {
			continue
		}
		all = append(all, fmt.Sprintf("the environment variable %s is unknown and ignored%s", name, nearestVariable(key, settings)))
	}
	return all
}

func nearestVariable(key string, settings []Field) string {
	if f := nearestField(key, settings); f != nil {
		return " (did you mean " + f.Env() + "?)"
	}
	return ""
}
