package devstack

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that a server runs as when we are root and it refuses to be.
type account struct {
	uid, gid     uint32
	capabilities []uintptr
}

// Capabilities from capability.h: either one lets a process walk through folders that are closed to its user.
const (
	capDACOverride   = 1
	capDACReadSearch = 2
)

// unprivileged is the account for Postgres, nil unless we are root. When dir lies below a folder that the account may
// not enter (a checkout under /root, say), it gets the one capability that opens the way, and only then.
func unprivileged(dir string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	found, err := lookupAccount("postgres", "nobody")
	if err != nil || found.reaches(dir) {
		return found, err
	}
	effective, err := effectiveCapabilities()
	if err != nil {
		return nil, err
	}
	for _, capability := range []uintptr{capDACReadSearch, capDACOverride} {
		if effective&(1<<capability) != 0 {
			found.capabilities = []uintptr{capability}
			return found, nil
		}
	}
	return nil, fmt.Errorf("postgres does not run as root, and no other user may enter %s: "+
		"move the checkout to a folder that others may enter, or run as an ordinary user", dir)
}

func lookupAccount(names ...string) (*account, error) {
	for _, name := range names {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &account{uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("found none of the users %s to run Postgres as", strings.Join(names, ", "))
}

// reaches says whether the account may enter every folder on the way to dir, and dir itself.
func (a *account) reaches(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return false
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !a.enters(owner, info.Mode().Perm()) {
			return false
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return true
	}
}

func (a *account) enters(owner *syscall.Stat_t, mode os.FileMode) bool {
	switch {
	case owner.Uid == a.uid:
		return mode&0o100 != 0
	case owner.Gid == a.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}

func effectiveCapabilities() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if mask, found := strings.CutPrefix(line, "CapEff:"); found {
			return strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		}
	}
	return 0, nil
}

// attributes makes a child run as the account; nil means as ourselves.
func (a *account) attributes() *syscall.SysProcAttr {
	if a == nil {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: a.uid, Gid: a.gid},
		AmbientCaps: a.capabilities,
	}
}

// own gives a file or folder to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}
