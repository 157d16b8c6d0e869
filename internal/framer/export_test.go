package framer

// PartAfter is partAfter.
const PartAfter = partAfter

// Virtuals counts the connections in which net/http has a part.
func Virtuals(s *Server) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.mu.Lock()
		if c.virtual != nil {
			n++
		}
		c.mu.Unlock()
	}
	return n
}
