package egress

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestPermits(t *testing.T) {
	permitted := strings.Fields(`
		1.1.1.1 8.8.8.8 172.15.255.255 172.32.0.0 100.63.255.255 100.128.0.0 169.253.255.255 192.0.1.0 198.17.255.255 198.20.0.0
		223.255.255.255 ::ffff:1.1.1.1 2606:4700::1111 2a00:1450:4001::1 2001:200::1 2003::1 2400::
	`)
	refused := strings.Fields(`
		0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.1
		172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
		239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:127.0.0.1
		64:ff9b::1.1.1.1 64:ff9b::10.0.0.1 64:ff9b:1::1.1.1.1 64:ff9b:1:ffff::1 100::1 2001::1
		2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:20::1 2001:1ff::1 2001:db8::1 2002:7f00:1:: 2002:101:101::1 3fff::1
		3fff:fff::1 4000::1 5f00::1 fc00::1 fd00::1 fe80::1 fe80::1%lo fec0::1 ff02::1 2400::1%lo
	`)
	for _, addr := range slices.Concat(permitted, refused) {
		want := slices.Contains(permitted, addr)
		if got := new(rule).permits(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
	if new(rule).permits(netip.Addr{}) {
		t.Error("no address is permitted")
	}
}

func TestPermitsAllowed(t *testing.T) {
	r := rule{allow: parsePrefixes("127.0.0.0/8", "10.1.0.0/16", "fd00::/8", "64:ff9b::/96", "64:ff9b:1:1::/64")}
	permitted := strings.Fields(`
		127.0.0.1 ::ffff:127.0.0.1 10.1.2.3 fd00::1 1.1.1.1 64:ff9b::1.1.1.1 64:ff9b::10.1.2.3 64:ff9b:1:1::1.1.1.1
	`)
	refused := strings.Fields(`
		10.2.0.1 ::1 fc00::1 fd00::1%eth0 169.254.169.254 64:ff9b::10.2.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1.1.1.1 64:ff9b:1:1::10.2.0.1
	`)
	for _, addr := range slices.Concat(permitted, refused) {
		want := slices.Contains(permitted, addr)
		if got := r.permits(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}

func TestPermittedPort(t *testing.T) {
	for port, want := range map[uint16]bool{0: false, 22: false, 25: false, 79: false, 80: true, 81: false, 443: true, 1023: false, 1024: true, 8443: true, 65535: true} {
		if got := permittedPort(port); got != want {
			t.Errorf("%d: %v, want %v", port, got, want)
		}
	}
}
