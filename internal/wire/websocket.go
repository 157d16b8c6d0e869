package wire

import (
	"bufio"
	"net"
	"net/http"
	"strings"
)

// IsUpgrade reports whether a request asks for a WebSocket.
func IsUpgrade(r *http.Request) bool {
	return r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// keyLength is the length of 16 bytes in Base64.
const keyLength = 24

// CheckHandshake checks the handshake of a WebSocket before the connection is taken over,
// while the answer can still have the form of the dialect.
func CheckHandshake(r *http.Request) error {
	upgrades := false
	for token := range strings.SplitSeq(r.Header.Get("Connection"), ",") {
		upgrades = upgrades || strings.EqualFold(strings.TrimSpace(token), "upgrade")
	}
	if !upgrades || !r.ProtoAtLeast(1, 1) || r.Host == "" || r.Header.Get("Sec-WebSocket-Version") != "13" || len(r.Header.Get("Sec-WebSocket-Key")) != keyLength {
		return &SyntaxError{Reason: "the WebSocket handshake needs HTTP/1.1 with a Host, Connection: Upgrade, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key of 16 bytes in Base64"}
	}
	return nil
}

// Upgraded is a response whose connection is taken over for a WebSocket.
type Upgraded struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (u Upgraded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return Hijack(u.ResponseWriter, http.StatusSwitchingProtocols)
}
