package egress

import (
	"context"
	"encoding/binary"
	"io"
	"log" //nolint:depguard // http.Server takes no other
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameServer answers DNS queries over a pipe. A name that it does not have does not
// exist.
type nameServer struct {
	mu    sync.Mutex
	names map[string][]string
}

func (s *nameServer) set(name string, addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = addresses
}

func (s *nameServer) addresses(name string) ([]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, ok := s.names[strings.ToLower(strings.TrimSuffix(name, "."))]
	return all, ok
}

func (s *nameServer) resolver(t *testing.T) *net.Resolver {
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		wg.Go(func() {
			defer ours.Close()
			for s.serve(ours) == nil {
			}
		})
		return theirs, nil
	}}
}

// serve answers one query in the framing of TCP.
func (s *nameServer) serve(conn net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return err
	}
	answer, err := s.answer(&m)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return err
}

func (s *nameServer) answer(m *dnsmessage.Message) ([]byte, error) {
	q := m.Questions[0]
	addresses, ok := s.addresses(q.Name.String())
	m.Header.Response, m.Header.RecursionAvailable, m.Additionals = true, true, nil
	if !ok {
		m.Header.RCode = dnsmessage.RCodeNameError
	}
	for _, text := range addresses {
		var body dnsmessage.ResourceBody
		switch addr := netip.MustParseAddr(text); {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			body = &dnsmessage.AResource{A: addr.As4()}
		case !addr.Is4() && q.Type == dnsmessage.TypeAAAA:
			body = &dnsmessage.AAAAResource{AAAA: addr.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: body})
	}
	return m.Pack()
}

// discard is the log of a server that expects failures.
func discard() *log.Logger { return log.New(io.Discard, "", 0) }
