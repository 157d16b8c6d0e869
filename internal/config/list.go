package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// items are the values of a list, which are written with commas between.
func items(list string) []string {
	var all []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			all = append(all, item)
		}
	}
	return all
}

// Networks are the trusted proxies. Those that cannot be read, which Check
// reports, are left out.
func (c *Config) Networks() []netip.Prefix {
	var all []netip.Prefix
	for _, item := range items(c.TrustedProxies) {
		if network, err := parseNetwork(item); err == nil {
			all = append(all, network)
		}
	}
	return all
}

// parseNetwork reads a network in CIDR form, or a single address.
func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if addr, single := netip.ParseAddr(text); single == nil && addr.Zone() == "" {
		network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err == nil && network.Addr().Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	if err != nil || network != network.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q is not an address or a network: write it like 10.0.0.5, 10.0.0.0/8 or fd00::/8, with commas between several", text)
	}
	return network, nil
}

func (k *checking) networks() {
	for _, item := range items(k.config.TrustedProxies) {
		if _, err := parseNetwork(item); err != nil {
			k.add("trusted-proxies", "%v", err)
		}
	}
}
