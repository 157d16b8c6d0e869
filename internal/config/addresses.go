package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// items splits a list at commas.
func items(list string) []string {
	var all []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			all = append(all, item)
		}
	}
	return all
}

// Networks returns the networks of the trusted proxies. It omits those that cannot
// be parsed, which Check reports.
func (c *Config) Networks() []netip.Prefix { return parseNetworks(c.TrustedProxies) }

// WebhookNetworks returns the networks of webhook-allow, in the same way.
func (c *Config) WebhookNetworks() []netip.Prefix { return parseNetworks(c.WebhookAllow) }

func parseNetworks(list string) []netip.Prefix {
	var all []netip.Prefix
	for _, item := range items(list) {
		if network, err := parseNetwork(item); err == nil {
			all = append(all, network)
		}
	}
	return all
}

// parseNetwork parses a network in CIDR notation or a single address.
func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if addr, single := netip.ParseAddr(text); single == nil && addr.Zone() == "" {
		network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err == nil && network.Addr().Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	if err != nil || network != network.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q is not an address or a network: expected a form such as 10.0.0.5, 10.0.0.0/8 or fd00::/8, and separate several with commas", text)
	}
	return network, nil
}

func (k *checker) networks() {
	k.networkList("trusted-proxies", k.config.TrustedProxies)
	k.networkList("webhook-allow", k.config.WebhookAllow)
}

func (k *checker) networkList(setting, list string) {
	for _, item := range items(list) {
		if _, err := parseNetwork(item); err != nil {
			k.add(setting, "%v", err)
		}
	}
}

// Hosts are the names and addresses of the server in lower case, without a final dot or a
// zone: those of public-url, of listen, of allowed-hosts, and of acme-names.
func (c *Config) Hosts() []string {
	hosts := append(items(c.AllowedHosts), items(c.ACMENames)...)
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" {
		hosts = append(hosts, u.Hostname())
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		hosts = append(hosts, host)
	}
	for i, host := range hosts {
		hosts[i] = strings.ToLower(strings.TrimSuffix(host, "."))
		if addr, err := netip.ParseAddr(host); err == nil {
			hosts[i] = addr.Unmap().WithZone("").String()
		}
	}
	return hosts
}

// Everywhere reports whether listen is every address of the machine.
func (c *Config) Everywhere() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// Origins are those of cors-origins.
func (c *Config) Origins() []string { return items(c.CORSOrigins) }

// Origin is the origin of public-url, or "" if that is not set.
func (c *Config) Origin() string {
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" {
		return originOf(u)
	}
	return ""
}

// originOf formats a URL's origin as browsers do, without the scheme's default port.
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"http": ":80", "https": ":443"} {
		if u.Scheme == scheme {
			host = strings.TrimSuffix(host, port)
		}
	}
	return u.Scheme + "://" + host
}

// asciiHost reports whether a host is in ASCII, as browsers send it.
func (k *checker) asciiHost(setting, host string) bool {
	if isASCII(host) {
		return true
	}
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		k.add(setting, "browsers send %s as %s: use that form", host, ascii)
	} else {
		k.add(setting, "%q is not a host name: expected a form such as presence.example.com", host)
	}
	return false
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII })
}

func (k *checker) hosts() {
	for _, host := range items(k.config.AllowedHosts) {
		if !k.asciiHost("allowed-hosts", host) {
			continue
		}
		_, err := netip.ParseAddr(host)
		if u, bad := url.Parse("http://" + host); err != nil && (bad != nil || u.Host != host || u.Port() != "" || strings.ContainsAny(host, "*:[]")) {
			k.add("allowed-hosts", "%q is not a host name: expected a form such as presence.example.com, without scheme and port", host)
		}
	}
}

func (k *checker) origins() {
	for _, origin := range items(k.config.CORSOrigins) {
		u, err := url.Parse(origin)
		if err == nil {
			k.asciiHost("cors-origins", u.Hostname())
		}
		if origin != "*" && (err != nil || u.Host == "" || originOf(u) != origin || (u.Scheme != "http" && u.Scheme != "https")) {
			k.add("cors-origins", "%q is not an origin: expected a form such as https://app.example.com or http://localhost:3000, in lower case, without a path and without the scheme's default port, or use * for all", origin)
		}
	}
}
