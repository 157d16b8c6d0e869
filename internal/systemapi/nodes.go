package systemapi

import (
	"errors"
	"net/http"
	"strconv"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/membership"
)

// nodes lists the nodes as this one sees them.
func (a *API) nodes(c *call) error {
	list := api.SystemNodes{Level: a.Members.Level(), Nodes: []api.SystemNode{}}
	for _, n := range a.Members.Nodes() {
		list.Nodes = append(list.Nodes, api.SystemNode{
			ID: n.ID, Self: n.Self, State: string(n.State), Host: n.Host, Address: n.Address, Version: n.Version, Since: api.At(n.Since),
			BeatSeconds: n.Beat.Seconds(), Streams: n.Streams, Consumers: n.Consumers, Reads: api.LevelRange(n.Reads),
		})
	}
	return c.write(http.StatusOK, &list)
}

// upgradeNodes raises the level as far as every node reads it.
func (a *API) upgradeNodes(c *call) error {
	level, err := a.Members.Upgrade(c.r.Context())
	answer := api.NodesUpgrade{Level: level}
	if errors.Is(err, membership.ErrNotUnderstood) {
		answer.Prevented, err = err.Error(), nil
	}
	if err != nil {
		return err
	}
	e := &audit.Event{Action: "nodes.upgrade", Target: "level/" + strconv.Itoa(level), By: c.by}
	if err := a.Native.Audit.Record(c.r.Context(), audit.System, e); err != nil {
		return err
	}
	return c.write(http.StatusOK, &answer)
}
