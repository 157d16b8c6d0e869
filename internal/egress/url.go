package egress

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxURL is the longest URL in bytes.
const maxURL = 2048

// ParseURL parses an endpoint's URL and checks all that can be checked without resolving
// its name. The error is an *Error, whose text can be shown to whoever chose the URL.
func (c *Client) ParseURL(text string) (*url.URL, error) {
	if len(text) > maxURL {
		return nil, invalid("the URL is longer than " + strconv.Itoa(maxURL) + " bytes")
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unprintable) {
		return nil, invalid("the URL contains a space, a backslash or a control character: percent-encode it")
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, invalid("the URL cannot be parsed: expected a form such as https://example.com/events")
	}
	return u, c.rule.checkURL(u)
}

func unprintable(r rune) bool {
	return r == '\\' || unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
}

// checkURL is the rule for a URL.
func (r *rule) checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return invalid("the URL must begin with https:// or http://")
	case u.Opaque != "" || u.Hostname() == "":
		return invalid("the URL has no host: expected a form such as https://example.com/events")
	case u.User != nil:
		return invalid("the URL contains a user or a password: use the subscription's authentication instead")
	case u.Fragment != "" || u.RawFragment != "":
		return invalid("the URL has a fragment (#…), which is never sent: remove it")
	}
	if err := checkPort(u); err != nil {
		return err
	}
	return r.checkHost(u.Hostname())
}

func checkPort(u *url.URL) error {
	if u.Port() == "" {
		return nil // that of the scheme
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return invalid("the URL's port is not a number from 1 to 65535")
	}
	if !permittedPort(uint16(port)) {
		return refusedPort(uint16(port))
	}
	return nil
}

// checkHost checks an address by the rule. It refuses a name that some resolvers take for
// an address, such as 2130706433, 0x7f.1 and 127.0.0.1 with a final dot: only the form
// that everybody reads alike is accepted.
func (r *rule) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if !r.permits(addr) {
			return r.refuse("the address " + addr.WithZone("").String())
		}
		return nil
	}
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil {
		ascii = host // net/http asks for it like this as well
	}
	name := strings.TrimSuffix(ascii, ".")
	if !validName(name) {
		return invalid("the URL's host is not a valid name or address")
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; numeric(last) {
		return invalid("the URL's host is a number: write an IPv4 address as four decimal numbers, such as 192.0.2.1")
	}
	return nil
}

// numeric reports whether the last label of a host makes it an address in some form.
func numeric(label string) bool {
	if strings.Trim(label, "0123456789") == "" {
		return true
	}
	digits, hex := strings.CutPrefix(strings.ToLower(label), "0x")
	return hex && strings.Trim(digits, "0123456789abcdef") == ""
}

// validName reports whether name consists of labels of letters, digits, - and _.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, letters) != "" {
			return false
		}
	}
	return true
}
