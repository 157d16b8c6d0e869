package directory

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"porchlight.dev/porchlight/internal/presence"
)

// MaxEmailBytes is the most of an e-mail address (RFC 5321).
const MaxEmailBytes = 254

// domains is how the domain of an address is compared: as the A-labels of
// non-transitional UTS #46.
func domains() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.StrictDomainName(false), idna.VerifyDNSLength(true))
}

// cleanEmail is an e-mail address as it is stored and shown: normalised (NFC), with
// its case. It does not parse RFC 5322: it refuses text that could be mistaken for
// another address or for none.
func cleanEmail(given string) (string, error) {
	local, domain, found := strings.Cut(given, "@")
	var reason string
	switch {
	case given == "":
		reason = "is required"
	case len(given) > MaxEmailBytes:
		reason = "must be at most 254 bytes"
	case !found || local == "" || domain == "" || strings.Contains(domain, "@"):
		reason = `must have text on both sides of one "@"`
	case !utf8.ValidString(given) || strings.ContainsFunc(given, notInEmail):
		reason = "must have no spaces, commas and control characters"
	case strings.ContainsFunc(local, imitatesASCII) || strings.ContainsFunc(domain, imitatesASCII):
		reason = "must not have characters that only look like ASCII, such as the Kelvin sign"
	case !plainDomain(domain):
		if _, err := domains().ToASCII(domain); err != nil {
			reason = "must have a domain that can be registered (IDNA)"
		}
	}
	if reason != "" {
		return "", &presence.FieldError{Field: "email", Reason: reason}
	}
	return norm.NFC.String(given), nil
}

// notInEmail reports spaces, controls, invisible format characters, the replacement
// character, and commas, which separate addresses in lists.
func notInEmail(r rune) bool {
	return r == ',' || unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError
}

// imitatesASCII reports whether r is not ASCII but becomes ASCII by normalisation or
// IDNA. It excludes the ideographic full stop, which IDNA treats as a full stop of
// domains.
func imitatesASCII(r rune) bool {
	const ideographicStop, halfwidthStop = '\u3002', '\uff61'
	if r < utf8.RuneSelf || r == ideographicStop || r == halfwidthStop {
		return false
	}
	return ascii(norm.NFKC.String(string(r)))
}

func ascii(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// plainDomain reports whether a domain needs no IDNA.
func plainDomain(domain string) bool {
	return ascii(domain) && !strings.Contains(lowerASCII(domain), "xn--")
}

// emailForm is the form in which two addresses are compared, at look-up as at
// creation: of the local part and of plain domains only the case of ASCII letters is
// folded, the local part is normalised (NFC), and other domains become A-labels. It
// does not allocate for an ASCII address in lower case.
func emailForm(email string) string {
	at := strings.LastIndexByte(email, '@')
	if at < 0 || ascii(email) && plainDomain(email[at+1:]) {
		return lowerASCII(email)
	}
	local, domain := email[:at], email[at+1:]
	if !strings.ContainsFunc(local, imitatesASCII) {
		local = norm.NFC.String(local)
	}
	if !plainDomain(domain) && !strings.ContainsFunc(domain, imitatesASCII) {
		if labels, err := domains().ToASCII(domain); err == nil {
			domain = labels
		}
	}
	return lowerASCII(local) + "@" + lowerASCII(domain)
}

// lowerASCII folds the case of ASCII letters alone.
func lowerASCII(text string) string {
	upper := func(c byte) bool { return 'A' <= c && c <= 'Z' }
	if !slices.ContainsFunc([]byte(text), upper) {
		return text
	}
	lower := []byte(text)
	for i, c := range lower {
		if upper(c) {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

// olderForms are the forms under which older servers may have stored an address that
// is equal to email by the current rule. Those servers folded the case of all
// letters, and neither normalised nor applied IDNA. A plain ASCII address has none.
func olderForms(email string) []string {
	at := strings.LastIndexByte(email, '@')
	if at < 0 || ascii(email) && plainDomain(email[at+1:]) {
		return nil
	}
	form, domain := emailForm(email), email[at+1:]
	spoken, err := idna.ToUnicode(lowerASCII(domain))
	if err != nil {
		spoken = domain
	}
	_, labels, _ := strings.Cut(form, "@")
	var forms []string
	for _, local := range normalForms(email[:at]) {
		for _, domain := range append(normalForms(domain, spoken), labels) {
			older := strings.ToLower(local + "@" + domain)
			if older != form && !slices.Contains(forms, older) {
				forms = append(forms, older)
			}
		}
	}
	return forms
}

// normalForms are the texts unchanged, composed and decomposed.
func normalForms(texts ...string) (all []string) {
	for _, text := range texts {
		all = append(all, text, norm.NFC.String(text), norm.NFD.String(text))
	}
	return all
}

// EmailForm is the form in which two addresses are compared.
func EmailForm(email string) string { return emailForm(email) }
