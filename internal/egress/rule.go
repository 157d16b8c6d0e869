package egress

import (
	"net/netip"
	"slices"
)

// special lists the networks that are not public: those of the IANA registries of
// special-purpose addresses that are not globally reachable, and all multicast. Of IPv6,
// only 2000::/3 is public at all.
var special = parsePrefixes(
	"0.0.0.0/8",       // this host
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared by carriers
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, where clouds serve credentials
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
	"2001::/23",       // protocol assignments, Teredo among them
	"2001:db8::/32",   // documentation
	"2002::/16",       // 6to4
	"3fff::/20",       // documentation
)

var (
	globalUnicast = parsePrefixes("2000::/3")
	// nat64 are the networks whose last four bytes are an IPv4 address that a translator
	// connects to.
	nat64 = parsePrefixes("64:ff9b::/96", "64:ff9b:1::/48")
)

func parsePrefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

func contains(all []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// A rule says which addresses are permitted.
type rule struct {
	allow   []netip.Prefix
	setting string
}

// permits reports whether connections to addr may be made. An allowed network of a
// translator does not permit the IPv4 addresses behind it that are not permitted
// themselves.
func (r *rule) permits(addr netip.Addr) bool {
	addr = addr.Unmap()
	switch {
	case !addr.IsValid() || addr.Zone() != "":
		return false
	case contains(r.allow, addr):
		return !contains(nat64, addr) || r.permits(embedded(addr))
	case addr.Is4():
		return !contains(special, addr)
	default:
		return contains(globalUnicast, addr) && !contains(special, addr)
	}
}

// embedded is the IPv4 address behind an address of NAT64.
func embedded(addr netip.Addr) netip.Addr {
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

// checkDial is the rule for one connection.
func (r *rule) checkDial(at netip.AddrPort) error {
	if !permittedPort(at.Port()) {
		return refusedPort(at.Port())
	}
	if !r.permits(at.Addr()) {
		return r.refuse("the address")
	}
	return nil
}

// permittedPort excludes the ports of other protocols, whose servers could take a request
// for something else. Allowed networks are no exception.
func permittedPort(port uint16) bool { return port >= 1024 || port == 80 || port == 443 }
