package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// nodesCommands are "porchlight nodes …".
type nodesCommands struct {
	List    nodesList    `cmd:"" default:"withargs" help:"List the nodes that serve the store."`
	Upgrade nodesUpgrade `cmd:"" help:"Let nodes write the newest formats that all of them read."`
}

type nodesList struct{ Remote }

// Help is shown by --help.
func (*nodesList) Help() string {
	return "Each line is one run of a node, as the node that answers sees it. BEAT is the age of its last heartbeat. A node is suspected after 15 s without one, and dead after 30 s: then the sessions of its connections end. A node that has ended is listed for a day. LEVEL is the level of formats that nodes may write, and the newest that this node reads. The token must be a system token: see \"porchlight system token create --help\".\n\nExample:\n\n    porchlight nodes list"
}

// Run implements the command.
func (*nodesList) Run(s *shell, cl *client.Client) error {
	found, err := cl.SystemNodes(s.ctx)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(found)
	}
	return table(s, found.Nodes, "ID\tHOST\tADDRESS\tVERSION\tSINCE\tBEAT\tSTATE\tSTREAMS\tCONSUMERS\tLEVEL", func(n api.SystemNode) []string {
		return []string{
			n.ID, n.Host, n.Address, n.Version, clock(n.Since), beatShown(&n), n.State, strconv.Itoa(n.Streams), strconv.Itoa(n.Consumers),
			fmt.Sprintf("%d (reads %s)", found.Level, levelsShown(n.Reads)),
		}
	})
}

func beatShown(n *api.SystemNode) string {
	return (time.Duration(n.BeatSeconds*1e3) * time.Millisecond).Round(time.Second).String()
}

func levelsShown(l api.LevelRange) string {
	if l.Oldest == l.Newest {
		return strconv.Itoa(l.Newest)
	}
	return fmt.Sprintf("%d to %d", l.Oldest, l.Newest)
}

type nodesUpgrade struct{ Remote }

// Help is shown by --help.
func (*nodesUpgrade) Help() string {
	return "Nodes of successive versions can serve a store together, because they write only formats that all of them read. Ten minutes after the last node was upgraded, they begin to write the newer ones by themselves. This command does not wait. Afterwards the earlier version cannot use the store any more. The token must be a system token: see \"porchlight system token create --help\".\n\nExample:\n\n    porchlight nodes upgrade"
}

// Run implements the command.
func (*nodesUpgrade) Run(s *shell, cl *client.Client) error {
	after, err := cl.UpgradeNodes(s.ctx)
	if err != nil {
		return err
	}
	if err := s.print(after, "Nodes write level %d\n", after.Level); err != nil {
		return err
	}
	if after.Prevented != "" {
		return errors.New(printable(after.Prevented) + ": upgrade that node, or stop it and wait until it is listed as dead")
	}
	return nil
}
