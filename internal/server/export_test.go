package server

import (
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/wire"
)

// Router is the fully wired handler of the API, for tests of all its routes.
func (s *Server) Router() *wire.Router {
	rt, _ := s.public.HTTP1.Handler.(*wire.Router)
	return rt
}

// Provisioner makes the users of such tests, and has the directory and the authority.
func (s *Server) Provisioner() *provision.Provisioner { return s.provisioner }
