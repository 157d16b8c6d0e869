package egress

import (
	"net/netip"
	"testing"
)

func TestPermits(t *testing.T) {
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"1.1.1.1", true}, {"8.8.8.8", true}, {"172.15.255.255", true}, {"172.32.0.0", true}, {"100.63.255.255", true}, {"100.128.0.0", true},
		{"169.253.255.255", true}, {"192.0.1.0", true}, {"198.17.255.255", true}, {"198.20.0.0", true}, {"223.255.255.255", true}, {"::ffff:1.1.1.1", true},
		{"2606:4700::1111", true}, {"2a00:1450:4001::1", true}, {"2001:200::1", true}, {"2003::1", true}, {"2400::", true},

		{"0.0.0.0", false}, {"0.1.2.3", false}, {"10.0.0.1", false}, {"10.255.255.255", false}, {"100.64.0.1", false}, {"100.127.255.255", false},
		{"127.0.0.1", false}, {"127.255.255.255", false}, {"169.254.169.254", false}, {"172.16.0.1", false}, {"172.31.255.255", false},
		{"192.0.0.1", false}, {"192.0.2.1", false}, {"192.88.99.1", false}, {"192.168.0.1", false}, {"198.18.0.1", false}, {"198.19.255.255", false},
		{"198.51.100.1", false}, {"203.0.113.1", false}, {"224.0.0.1", false}, {"239.255.255.255", false}, {"240.0.0.1", false}, {"255.255.255.255", false},
		{"::", false}, {"::1", false}, {"::127.0.0.1", false}, {"::ffff:127.0.0.1", false}, {"::ffff:10.0.0.1", false}, {"::ffff:0:127.0.0.1", false},
		{"64:ff9b::1.1.1.1", false}, {"64:ff9b::10.0.0.1", false}, {"64:ff9b:1::1.1.1.1", false}, {"64:ff9b:1:ffff::1", false}, {"100::1", false},
		{"2001::1", false}, {"2001:0:4136:e378:8000:63bf:3fff:fdd2", false}, {"2001:2::1", false}, {"2001:20::1", false}, {"2001:1ff::1", false},
		{"2001:db8::1", false}, {"2002:7f00:1::", false}, {"2002:101:101::1", false}, {"3fff::1", false}, {"3fff:fff::1", false}, {"4000::1", false},
		{"5f00::1", false}, {"fc00::1", false}, {"fd00::1", false}, {"fe80::1", false}, {"fe80::1%lo", false}, {"fec0::1", false}, {"ff02::1", false}, {"2400::1%lo", false},
	} {
		if got := new(rule).permits(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s: %v, want %v", c.addr, got, c.want)
		}
	}
	if new(rule).permits(netip.Addr{}) {
		t.Error("no address is permitted")
	}
}

func TestPermitsAllowed(t *testing.T) {
	r := rule{allow: parsePrefixes("127.0.0.0/8", "10.1.0.0/16", "fd00::/8", "64:ff9b::/96")}
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"127.0.0.1", true}, {"::ffff:127.0.0.1", true}, {"10.1.2.3", true}, {"fd00::1", true}, {"1.1.1.1", true},
		{"10.2.0.1", false}, {"::1", false}, {"fc00::1", false}, {"fd00::1%eth0", false}, {"169.254.169.254", false},
		{"64:ff9b::1.1.1.1", true}, {"64:ff9b::10.1.2.3", true}, {"64:ff9b::10.2.0.1", false}, {"64:ff9b::169.254.169.254", false}, {"64:ff9b:1::1.1.1.1", false},
	} {
		if got := r.permits(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s: %v, want %v", c.addr, got, c.want)
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
