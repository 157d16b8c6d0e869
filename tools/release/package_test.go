package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A machine is a directory in which dpkg installs. Nothing outside it changes: maintainer
// scripts get its path in DPKG_ROOT and start no service.
type machine struct{ root string }

func newMachine(t *testing.T) *machine {
	m := &machine{t.TempDir()}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(m.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"var/lib/dpkg/status", "etc/passwd", "etc/group", "etc/shadow"} {
		if err := os.WriteFile(filepath.Join(m.root, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// dpkg runs dpkg, which keeps settings files that were changed.
func (m *machine) dpkg(t *testing.T, args ...string) {
	t.Helper()
	command := slices.Concat([]string{"dpkg", "--root=" + m.root, "--force-script-chrootless,not-root,depends,bad-path,confold"}, args)
	if os.Geteuid() != 0 {
		command = append([]string{"fakeroot"}, command...)
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *machine) has(name string) bool {
	_, err := os.Lstat(m.path(name))
	return err == nil
}

func (m *machine) read(t *testing.T, name string) string {
	t.Helper()
	body, err := os.ReadFile(m.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func (m *machine) check(t *testing.T, when string, present bool, names ...string) {
	t.Helper()
	for _, name := range names {
		if m.has(name) != present {
			t.Errorf("%s: %s is there: %v, want %v", when, name, !present, present)
		}
	}
}

const (
	packagedBinary   = "usr/bin/porchlight"
	packagedSettings = "etc/porchlight/porchlight.yaml"
	packagedUnit     = "usr/lib/systemd/system/porchlight.service"
	packagedExample  = "usr/share/doc/porchlight/examples/prometheus/alerts.yaml"
	enabledUnit      = "etc/systemd/system/multi-user.target.wants/porchlight.service"
)

// makeDeb writes the package of a version.
func makeDeb(t *testing.T, version string) string {
	t.Helper()
	r, binary := fixture.release(t, version), fixture.binary
	if version == fixture.newer {
		binary = fixture.newerBinary
	}
	if err := r.writePackage("deb", linux, binary); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(r.path(linux, ".deb")); err == nil {
		t.Logf("package: %.1f MiB", mebibytes(info.Size()))
	}
	return r.path(linux, ".deb")
}

// TestDeb: a package is installed, upgraded under load, removed and purged, as Debian's
// policy says. No acknowledged change is lost.
func TestDeb(t *testing.T) {
	older, newer := makeDeb(t, fixture.version), makeDeb(t, fixture.newer)
	m := newMachine(t)
	m.dpkg(t, "--install", older)
	m.check(t, "installed", true, packagedBinary, packagedSettings, packagedUnit, enabledUnit, "var/lib/porchlight", "var/log/porchlight",
		"usr/share/man/man1/porchlight.1.gz", "usr/share/man/man1/porchlight-serve.1.gz", "usr/share/bash-completion/completions/porchlight",
		"usr/share/zsh/vendor-completions/_porchlight", "usr/share/fish/vendor_completions.d/porchlight.fish",
		"usr/share/doc/porchlight/copyright", "usr/share/doc/porchlight/THIRD-PARTY-LICENSES", packagedExample, "usr/lib/sysusers.d/porchlight.conf")
	if passwd := m.read(t, "etc/passwd"); !strings.HasPrefix(passwd, "porchlight:") {
		t.Errorf("the user was not created: %q", passwd)
	}
	if info, err := os.Stat(m.path("var/lib/porchlight")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v, %v", info, err)
	}
	settings := m.read(t, packagedSettings) + "\ndrain-delay: 100ms\nmin-update-interval: 0\nwrite-limits: user=none,app=none,account=none,address=none\n"
	if err := os.WriteFile(m.path(packagedSettings), []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}

	upgradeUnderLoad(t, m, func() { m.dpkg(t, "--install", newer) })
	if got := m.read(t, packagedSettings); got != settings {
		t.Errorf("the upgrade changed the settings:\n%s", got)
	}
	m.check(t, "upgraded", true, packagedSettings+".dpkg-dist", enabledUnit)

	m.dpkg(t, "--remove", "porchlight")
	m.check(t, "removed", false, packagedBinary, packagedUnit, "usr/share/man/man1/porchlight.1.gz")
	m.check(t, "removed", true, packagedSettings, "var/log/porchlight")
	if data, err := os.ReadDir(m.path("var/lib/porchlight")); err != nil || len(data) == 0 {
		t.Errorf("removed: the data are gone: %v", err)
	}
	if err := os.WriteFile(m.path("etc/porchlight/tls.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.dpkg(t, "--purge", "porchlight")
	m.check(t, "purged", true, "etc/porchlight/tls.key") // as docs/install.md says
	m.check(t, "purged", false, packagedSettings, packagedSettings+".dpkg-dist", "var/lib/porchlight", "var/log/porchlight", enabledUnit)
	if status := m.read(t, "var/lib/dpkg/status"); strings.TrimSpace(status) != "" {
		t.Errorf("dpkg still knows the package:\n%s", status)
	}
}

// unitSetting returns what a unit assigns to a name.
func unitSetting(t *testing.T, unit, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
	if found == nil {
		t.Fatalf("the unit has no %s", name)
	}
	return found[1]
}

// unitService is the service of the installed unit, on a free port, with the paths of m.
func (m *machine) unitService(t *testing.T) *service {
	command := strings.Fields(unitSetting(t, m.read(t, packagedUnit), "ExecStart"))
	for i, word := range command {
		if strings.HasPrefix(word, "/") {
			command[i] = m.path(word)
		}
	}
	return &service{command: command, dir: m.root, env: []string{
		"PORCHLIGHT_DATA_DIR=" + m.path("var/lib/porchlight"), "PORCHLIGHT_LISTEN=" + freeAddress(t), "PORCHLIGHT_ADMIN_LISTEN=off", "PORCHLIGHT_ACCESS_LOG=off",
	}}
}

// TestUnit: systemd accepts the unit, rates it as well confined, and its filter allows every
// system call of the server.
func TestUnit(t *testing.T) {
	r := fixture.release(t, fixture.version)
	unit, err := os.ReadFile(filepath.Join(r.root, "deploy/packages/porchlight.service"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "porchlight.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(unit), "/usr/bin/porchlight", fixture.binary)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"verify", "--man=no", "--recursive-errors=no", file},
		{"security", "--offline=yes", "--threshold=20", file}, // tenths: 2.0 of 10
	} {
		output, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze %s: %v\n%s", args[0], err, output)
		}
		if lines := strings.Split(strings.TrimSpace(string(output)), "\n"); args[0] == "security" {
			t.Log(lines[len(lines)-1])
		}
	}
	allowed := allowedCalls(t, string(unit))
	for call := range callsOfServer(t) {
		if !allowed[call] {
			t.Errorf("the unit's SystemCallFilter refuses %s, which the server calls", call)
		}
	}
}

// TestRestart: a hung server, which the watchdog aborts, ends in a way after which systemd
// starts it again. An invalid setting does not.
func TestRestart(t *testing.T) {
	body, err := os.ReadFile(filepath.Join(fixture.root, "deploy/packages/porchlight.service"))
	if err != nil {
		t.Fatal(err)
	}
	unit, dir := string(body), t.TempDir()
	s := &service{dir: dir, env: []string{
		unitSetting(t, unit, "Environment"), "PORCHLIGHT_DATA_DIR=" + filepath.Join(dir, "data"), "PORCHLIGHT_LISTEN=" + freeAddress(t), "PORCHLIGHT_ADMIN_LISTEN=off",
	}}
	prevented := unitSetting(t, unit, "RestartPreventExitStatus")
	s.command = []string{"prlimit", "--core=" + unitSetting(t, unit, "LimitCORE"), fixture.binary, "serve"}
	s.start(t)
	if err := s.process.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	// ExitCode is -1 after a signal.
	if state := s.process.ProcessState; state.Success() || strconv.Itoa(state.ExitCode()) == prevented {
		t.Errorf("after SIGABRT: %v, which RestartPreventExitStatus=%s prevents from a restart", state, prevented)
	}
	_, err = s.other(t, fixture.binary, "serve", "--listen", "nonsense")
	if failed, ok := errors.AsType[*exec.ExitError](err); !ok || strconv.Itoa(failed.ExitCode()) != prevented {
		t.Errorf("with an invalid setting: %v, want status %s", err, prevented)
	}
}

// allowedCalls are the system calls that the unit's filters leave.
func allowedCalls(t *testing.T, unit string) map[string]bool {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "systemd-analyze", "syscall-filter").Output()
	if err != nil {
		t.Fatal(err)
	}
	sets, current := make(map[string][]string), ""
	for line := range strings.Lines(string(output)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "@"):
			current = line
		case strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "    #"):
			sets[current] = append(sets[current], strings.TrimSpace(line))
		}
	}
	allowed := make(map[string]bool)
	var set func(name string, to bool)
	set = func(name string, to bool) {
		if !strings.HasPrefix(name, "@") {
			allowed[name] = to
		}
		for _, member := range sets[name] {
			set(member, to)
		}
	}
	for _, found := range regexp.MustCompile(`(?m)^SystemCallFilter=(~?)(.*)$`).FindAllStringSubmatch(unit, -1) {
		set(found[2], found[1] == "")
	}
	if !allowed["read"] || allowed["chown"] {
		t.Fatalf("the filters were not understood: %d calls", len(allowed))
	}
	return allowed
}

// callsOfServer are the system calls from a start, with a change, to a stop.
func callsOfServer(t *testing.T) map[string]bool {
	t.Helper()
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	s := &service{dir: dir, env: []string{
		"PATH=" + os.Getenv("PATH"), "PORCHLIGHT_DATA_DIR=" + filepath.Join(dir, "data"), "PORCHLIGHT_LISTEN=" + freeAddress(t),
		"PORCHLIGHT_ADMIN_LISTEN=" + freeAddress(t), "PORCHLIGHT_DRAIN_DELAY=0s", "PORCHLIGHT_WRITE_LIMITS=user=none",
	}}
	c := initialise(t, s, fixture.binary)
	s.command = []string{"strace", "-D", "-f", "-qq", "-o", trace, fixture.binary, "serve"}
	s.start(t)
	user := c.addUser(t, 1)
	if err := c.putNote(t.Context(), user, "1"); err != nil {
		t.Error(err)
	}
	s.stop(t)
	body, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string]bool)
	for _, found := range regexp.MustCompile(`(?m)^\d+ +([a-z_0-9]+)\(`).FindAllStringSubmatch(string(body), -1) {
		calls[found[1]] = true
	}
	if !calls["fdatasync"] || !calls["accept4"] {
		t.Fatalf("strace recorded %d calls", len(calls))
	}
	return calls
}

// TestRPM: the package has the files, and scripts that the shell accepts. Nothing installs
// it here: Debian's rpm has no dependencies to resolve.
func TestRPM(t *testing.T) {
	r := fixture.release(t, fixture.version)
	program := filepath.Join(t.TempDir(), "porchlight")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.writePackage("rpm", linux, program); err != nil {
		t.Fatal(err)
	}
	query := func(args ...string) string {
		t.Helper()
		args = slices.Concat([]string{"--dbpath", t.TempDir(), "--query", "--package"}, args, []string{r.path(linux, ".rpm")})
		output, err := exec.CommandContext(t.Context(), "rpm", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(output)
	}
	list := query("--list")
	for _, name := range []string{packagedBinary, packagedSettings, packagedUnit, packagedExample, "usr/share/zsh/site-functions/_porchlight", "usr/share/man/man1/porchlight.1.gz"} {
		if !strings.Contains(list, "/"+name+"\n") {
			t.Errorf("%s is not in the package", name)
		}
	}
	if config := query("--configfiles"); config != "/"+packagedSettings+"\n" {
		t.Errorf("configuration files %q", config)
	}
	if facts := query("--queryformat", "%{NAME} %{VERSION} %{LICENSE} %{BUILDHOST}"); facts != "porchlight "+fixture.version+" Apache-2.0 porchlight.dev" {
		t.Error(facts)
	}
	for _, name := range []string{"post", "preun", "postun"} {
		script := filepath.Join(r.root, "deploy/packages/rpm", name)
		if output, err := exec.CommandContext(t.Context(), "sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", name, output)
		}
	}
	if scripts := query("--scripts"); strings.Count(scripts, "scriptlet (using /bin/sh)") != 3 {
		t.Errorf("scripts:\n%s", scripts)
	}
}

// TestPostinst: after an upgrade, the package restarts a server that runs; after a first
// installation, it starts one. Programs that record how they are called stand in for systemd's.
func TestPostinst(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(fixture.root, "deploy/packages/deb/postinst"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	for _, name := range []string{"systemd-sysusers", "systemd-tmpfiles", "deb-systemd-helper", "systemctl", "deb-systemd-invoke"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho "+name+" \"$@\" >>"+log+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for older, want := range map[string]string{"": "start", fixture.version: "try-restart"} {
		command := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.ReplaceAll(string(script), "/run/systemd/system", dir), "postinst", "configure", older)
		command.Env = []string{"PATH=" + dir}
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		calls, err := os.ReadFile(log)
		if err != nil || !strings.HasSuffix(string(calls), "systemctl --system daemon-reload\ndeb-systemd-invoke "+want+" porchlight.service\n") {
			t.Errorf("after version %q, want %s: %v\n%s", older, want, err, calls)
		}
	}
}

// TestPurge: a purge deletes the data and the logs, also behind a link, and does not fail if
// there are none.
func TestPurge(t *testing.T) {
	m := newMachine(t)
	for _, dir := range []string{"srv/data/store", "var/lib", "var/log/porchlight"} {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(m.path("srv/data/store/1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.path("srv/data"), m.path("var/lib/porchlight")); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"purged", "purged again"} {
		command := exec.CommandContext(t.Context(), "sh", "../../deploy/packages/deb/postrm", "purge")
		command.Env = append(os.Environ(), "DPKG_ROOT="+m.root)
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", when, err, output)
		}
		m.check(t, when, false, "srv/data/store", "var/lib/porchlight", "var/log/porchlight")
		m.check(t, when, true, "srv/data", "var/lib")
	}
}
