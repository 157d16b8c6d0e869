package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/client"
)

// sessionCommands are "porchlight session …".
type sessionCommands struct {
	Keep sessionKeep `cmd:"" help:"Sign a user in, and stay signed in until interrupted."`
	List sessionList `cmd:"" help:"List a user's sessions." example:"session list grace@example.com"`
}

type sessionKeep struct {
	Remote
	User       string        `arg:"" optional:"" default:"me" help:"Id, e-mail address or \"me\" (default)."`
	ClientType string        `name:"client-type" default:"desktop" placeholder:"WORD" help:"Type of client: desktop, mobile, pad, web or another word."`
	Lease      time.Duration `name:"lease" default:"120s" placeholder:"TIME" help:"Lease of the session, 30s to 1h. The session expires after this time if the command is killed."`
}

func (*sessionKeep) Help() string {
	return "Press Ctrl-C to sign the user out.\n\nExample:\n\n    porchlight session keep grace@example.com"
}

func (c *sessionKeep) Run(s *shell, cl *client.Client) error {
	k := &keeper{shell: s, client: cl, user: c.User, as: api.SignIn{ClientType: c.ClientType}, lease: c.Lease}
	seconds := int(c.Lease / time.Second)
	k.as.LeaseSeconds = &seconds
	if err := k.signIn(); err != nil {
		return err
	}
	if err := s.print(k.session, "Signed in as %s (session %s). Press Ctrl-C to sign out.\n", k.session.ClientType, k.session.ID); err != nil {
		return err
	}
	if err := k.keep(); err != nil {
		return err
	}
	return k.signOut()
}

// A keeper keeps one user signed in.
type keeper struct {
	shell   *shell
	client  *client.Client
	user    string
	as      api.SignIn
	lease   time.Duration
	session api.Session
}

func (k *keeper) signIn() (err error) {
	k.session, err = k.client.SignIn(k.shell.ctx, k.user, k.as)
	return err
}

// keep renews the session three times in each lease until the context ends. It
// retries while the server is unavailable, and signs in again if the session has
// ended.
func (k *keeper) keep() error {
	active := true
	ticker := time.NewTicker(k.lease / 3)
	defer ticker.Stop()
	for {
		select {
		case <-k.shell.ctx.Done():
			return nil
		case <-ticker.C:
		}
		_, err := k.client.Refresh(k.shell.ctx, k.session.ID, api.SessionUpdate{Active: &active})
		if client.Is(err, &api.NoSession) {
			err = k.signIn()
		}
		if err == nil || k.shell.ctx.Err() != nil {
			continue
		}
		if _, retry := client.Retry(err); !retry {
			return err
		}
		_, _ = fmt.Fprintf(k.shell.stderr, "porchlight: renewing the session failed; retrying: %s\n", k.shell.brief(err)) // informational
	}
}

func (k *keeper) signOut() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.shell.ctx), 10*time.Second)
	defer cancel()
	err := k.client.SignOut(ctx, k.session.ID)
	if err != nil && !client.Is(err, &api.NoSession) {
		return err
	}
	if k.shell.json {
		return nil
	}
	_, err = fmt.Fprintln(k.shell.stdout, "Signed out")
	return err
}

type sessionList whichUser

func (c *sessionList) Run(s *shell, cl *client.Client) error {
	names := &names{client: cl}
	return list(s, cl.Sessions(s.ctx, c.User), "ID\tCLIENT\tAPP\tSINCE\tACTIVE\tEXPIRES", func(x api.Session) []string {
		return []string{x.ID, x.ClientType, names.app(s.ctx, x.App), clock(x.Since), strconv.FormatBool(x.Active), clock(x.EndsAt)}
	})
}
