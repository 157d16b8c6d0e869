//go:build unix

package server

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// checkOwner returns an error if the directory belongs to another user than uid. Files
// that uid creates in it would keep the owner's server from starting.
func checkOwner(dir string, uid int) error {
	info, err := os.Stat(dir)
	if err != nil {
		return nil //nolint:nilerr // opening the store reports it
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == uid {
		return nil
	}
	owner := strconv.FormatUint(uint64(stat.Uid), 10)
	if known, err := user.LookupId(owner); err == nil {
		owner = known.Username
	}
	return fmt.Errorf("%s belongs to the user %s: run the command as this user, for example with \"sudo -u %[2]s\"", dir, owner)
}
