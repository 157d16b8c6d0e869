package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

type profileCommands struct {
	List   profileList   `cmd:"" help:"List the profiles." example:"profile list"`
	Show   profileShow   `cmd:"" help:"Show a profile, without its tokens." example:"profile show test"`
	Use    profileUse    `cmd:"" help:"Choose the profile that commands use by default." example:"profile use test"`
	Set    profileSet    `cmd:"" help:"Create or change a profile for a server, with a token that you have."`
	Remove profileRemove `cmd:"" help:"Remove a profile."`
}

// profileInfo is a profile without its tokens.
type profileInfo struct {
	Name    string   `json:"name"`
	Current bool     `json:"current"`
	URL     string   `json:"url,omitempty"`
	CAFile  string   `json:"ca_file,omitempty"`
	Pinned  string   `json:"pinned_pubkey,omitempty"`
	Login   string   `json:"login"` // profile.state, or "unusable"
	Expires api.Time `json:"token_expires,omitzero"`
	File    string   `json:"file"`
	Problem string   `json:"problem,omitempty"`
}

func (p profiles) info(name string) profileInfo {
	about := profileInfo{Name: name, Current: name == p.current(), File: p.path(name)}
	v, err := p.load(name)
	if err != nil {
		about.Login, about.Problem = "unusable", err.Error()
		return about
	}
	about.URL, about.CAFile, about.Pinned, about.Login = v.URL, v.CAFile, v.PinnedPubkey, v.state()
	if !v.Expires.IsZero() {
		about.Expires = api.At(v.Expires)
	}
	return about
}

type profileList struct{}

func (*profileList) Run(s *shell) error {
	store := s.profiles()
	all := []profileInfo{}
	for _, name := range store.names() {
		all = append(all, store.info(name))
	}
	return table(s, all, "CURRENT\tNAME\tSERVER\tLOGIN", func(x profileInfo) []string {
		current := ""
		if x.Current {
			current = "*"
		}
		return []string{current, x.Name, cmp.Or(x.URL, "-"), x.Login}
	})
}

type profileShow struct {
	Name string `arg:"" optional:"" help:"Name of the profile. By default the one that commands use."`
}

func (c *profileShow) Run(s *shell) error {
	store := s.profiles()
	name := cmp.Or(c.Name, s.getenv("PORCHLIGHT_PROFILE"), store.current())
	if name == "" {
		return &usageError{"there is no current profile: name one, or choose one with \"porchlight profile use NAME\""}
	}
	if _, err := store.load(name); err != nil {
		return err
	}
	x := store.info(name)
	text := fmt.Sprintf("profile  %s\nserver   %s\nlogin    %s\n", x.Name, printable(x.URL), x.Login)
	if x.CAFile != "" {
		text += "ca-file  " + printable(x.CAFile) + "\n"
	}
	if x.Pinned != "" {
		text += "key      " + printable(x.Pinned) + "\n"
	}
	return s.print(x, "%sfile     %s\n", text, x.File)
}

type profileUse struct {
	Name string `arg:"" help:"Name of the profile."`
}

func (c *profileUse) Run(s *shell) error {
	store := s.profiles()
	p, err := store.load(c.Name)
	if err != nil {
		return err
	}
	if err := store.locked(s.ctx, func() error { return store.setCurrent(c.Name) }); err != nil {
		return err
	}
	return s.print(store.info(c.Name), "The current profile is %s (%s).\n", c.Name, printable(p.URL))
}

type profileSet struct {
	Name      string `arg:"" help:"Name of the profile."`
	URL       string `name:"url" placeholder:"URL" help:"URL of the server. A new profile needs it."`
	CAFile    string `name:"ca-file" placeholder:"FILE" help:"PEM file with the certificates to trust in place of the system's."`
	Pinned    string `name:"pinned-pubkey" placeholder:"sha256//KEY" help:"SHA-256 of the only key of the server to trust, as \"porchlight certificate\" prints it."`
	TokenFile string `name:"token-file" placeholder:"FILE" help:"File with an access token, which is copied to the profile; - reads it from standard input."`
}

// Help is shown by --help.
func (*profileSet) Help() string {
	return `Log out of the profile first if it has a login. The token is not refreshed: when it expires, save another one. A login with "porchlight login" is refreshed.

Example:

    porchlight profile set test --url https://test.example.com --token-file token.txt`
}

// Run implements the command.
func (c *profileSet) Run(s *shell) error {
	token, err := c.token(s)
	if err != nil {
		return err
	}
	file, err := absolute(c.CAFile)
	if err != nil {
		return err
	}
	store := s.profiles()
	err = store.locked(s.ctx, func() error {
		p, err := store.load(c.Name)
		if errors.Is(err, errNoProfile) && c.URL != "" {
			p, err = new(profile), nil
		}
		if err == nil {
			err = c.change(p, token, file)
		}
		if err != nil {
			return err
		}
		return store.save(c.Name, p)
	})
	if err != nil {
		return err
	}
	return s.print(store.info(c.Name), "Saved the profile %s.\n", c.Name)
}

func (c *profileSet) change(p *profile, token, file string) error {
	if _, err := client.NewLoginApp(cmp.Or(c.URL, p.URL), api.CommandLineApp, nil); err != nil { // which checks the URL
		return &usageError{"--url: " + err.Error()}
	}
	switch {
	case p.RefreshToken != "" && (token != "" || c.URL != "" && !p.isFor(c.URL)):
		return &usageError{fmt.Sprintf("the profile %s is logged in to %s: run \"porchlight logout --profile %s\" first", c.Name, p.URL, c.Name)}
	case token == "" && p.AccessToken != "" && c.URL != "" && !p.isFor(c.URL):
		return &usageError{fmt.Sprintf("the token of the profile %s is for %s: add --token-file with one for the new server", c.Name, p.URL)}
	}
	if c.Pinned != "" {
		if _, err := client.NewPinnedHTTPClient(c.Pinned); err != nil {
			return &usageError{"--pinned-pubkey: " + err.Error()}
		}
	}
	p.URL = cmp.Or(c.URL, p.URL)
	p.trust(file, c.Pinned)
	if token != "" {
		p.AccessToken = token
	}
	return nil
}

// token reads the token that the flag names, or "".
func (c *profileSet) token(s *shell) (string, error) {
	var data []byte
	var err error
	switch c.TokenFile {
	case "":
		return "", nil
	case standard:
		data, err = io.ReadAll(io.LimitReader(s.stdin, 1<<16))
	default:
		data, err = os.ReadFile(c.TokenFile)
	}
	token := strings.TrimSpace(string(data))
	switch {
	case err != nil:
		return "", &usageError{"--token-file: " + err.Error()}
	case token == "":
		return "", &usageError{"--token-file: there is no token in it"}
	case strings.ContainsFunc(token, notInToken):
		return "", &usageError{"--token-file: it contains white space or other characters that no token has"}
	}
	return token, nil
}

type profileRemove struct {
	Name  string `arg:"" help:"Name of the profile."`
	Force bool   `name:"force" help:"Remove a profile that is logged in. The login stays valid at the server until it expires."`
}

// Help is shown by --help.
func (*profileRemove) Help() string {
	return "Log out first: after the profile is removed, this machine can no longer end its login.\n\nExample:\n\n    porchlight profile remove test"
}

// Run implements the command.
func (c *profileRemove) Run(s *shell) error {
	if err := checkProfileName(c.Name); err != nil {
		return err
	}
	store := s.profiles()
	err := store.locked(s.ctx, func() error {
		p, err := store.load(c.Name)
		if err == nil && p.RefreshToken != "" && !c.Force {
			return &usageError{fmt.Sprintf("the profile %s is logged in to %s: run \"porchlight logout --profile %s\" first, or add --force", c.Name, p.URL, c.Name)}
		}
		if errors.Is(err, errNoProfile) {
			return err
		}
		return store.remove(c.Name)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return store.unknown(c.Name)
	}
	return s.printDone("Removed", c.Name, err)
}
