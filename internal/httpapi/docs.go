package httpapi

import "porchlight.dev/porchlight/internal/wire"

func (a *API) mountPages(rt *wire.Router) {}
