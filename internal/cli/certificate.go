package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/certificate"
	"porchlight.dev/porchlight/internal/server"
)

// certificateCommand is "porchlight certificate".
type certificateCommand struct {
	settings
	PEM bool `name:"pem" help:"Print the certificates in PEM format instead, for --ca-file and curl's --cacert."`
}

func (*certificateCommand) Help() string {
	return `Run it on the server's machine with the settings of "porchlight serve", as a user who can read the server's files. It reads the files only; the server may run or not.

The public key is what clients pin: with --pinned-pubkey, PORCHLIGHT_PINNED_PUBKEY, or curl's --pinnedpubkey. The key of a self-signed certificate stays the same when the certificate is renewed. The fingerprint is that of the certificate, as browsers show it.

Example:

    porchlight certificate --config /etc/porchlight.yaml
    porchlight certificate --config /etc/porchlight.yaml --pem > server.pem`
}

func (c *certificateCommand) Run(s *shell) error {
	cfg, _, err := c.load(s)
	if err != nil {
		return err
	}
	all, err := server.ListCertificates(cfg)
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return errors.New("the server has no certificate, because TLS is off: set tls-cert-file and tls-key-file, acme or tls-self-signed")
	case c.PEM:
		return printCertificates(s, all)
	}
	var b strings.Builder
	for i := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(describeCertificate(&all[i]))
	}
	return s.print(all, "%s", b.String())
}

func describeCertificate(c *certificate.Info) string {
	var b strings.Builder
	for _, line := range []struct{ label, value string }{
		{"names", strings.Join(c.Names, ", ")},
		{"source", c.Source},
		{"issuer", c.Issuer},
		{"expires", expiry(c.NotAfter)},
		{"public key", c.PublicKey},
		{"fingerprint", c.Fingerprint},
		{"file", c.File},
		{"note", c.Problem},
	} {
		if line.value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", line.label, printable(line.value))
		}
	}
	return b.String()
}

func expiry(at time.Time) string {
	if at.IsZero() {
		return "no certificate yet"
	}
	return at.UTC().Format(time.RFC3339)
}

// printCertificates prints the files of the server's certificates, without private keys.
func printCertificates(s *shell, all []certificate.Info) error {
	printed := false
	for _, c := range all {
		if c.File == "" || c.Source == certificate.ClientCA {
			continue
		}
		printed = true
		data, err := os.ReadFile(c.File)
		if err != nil {
			return err
		}
		if _, err := s.stdout.Write(certificate.OnlyCertificates(data)); err != nil {
			return err
		}
	}
	if !printed {
		return errors.New("the server has no certificate yet: \"porchlight certificate\" without --pem says why")
	}
	return nil
}
