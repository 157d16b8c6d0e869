package httpapi

import "strings"

// browserName is a browser in words, from its User-Agent header: "Firefox on Linux".
func browserName(agent string) string {
	name := firstOf(agent, "Unknown browser", []marker{
		{"Edg", "Edge"},
		{"OPR/", "Opera"},
		{"SamsungBrowser", "Samsung Internet"},
		{"Firefox/", "Firefox"},
		{"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"},
		{"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
		{"curl/", "curl"},
	})
	system := firstOf(agent, "", []marker{
		{"iPhone", "iPhone"},
		{"iPad", "iPad"},
		{"Android", "Android"},
		{"Windows", "Windows"},
		{"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"},
		{"Linux", "Linux"},
	})
	if system == "" {
		return name
	}
	return name + " on " + system
}

// A marker is text by which a User-Agent header is recognised.
type marker struct{ text, name string }

func firstOf(agent, otherwise string, markers []marker) string {
	for _, m := range markers {
		if strings.Contains(agent, m.text) {
			return m.name
		}
	}
	return otherwise
}
