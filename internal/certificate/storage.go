package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Directory is where a data directory has certificates and keys that the server made or
// obtained. A backup is of the store, and does not contain them.
func Directory(dataDir string) string { return filepath.Join(dataDir, "tls") }

// writeFile replaces a file at once, so that a crash leaves the old or the new one. Only
// its owner can read it.
func writeFile(name string, data []byte) (err error) {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(dir, ".new-*") // with the mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary.Name()) // the error is what counts
		}
	}()
	_, err = temporary.Write(data)
	err = errors.Join(err, temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), name)
	}
	return err
}

// checkSecret refuses a file that other users can read or write, as the settings do.
func checkSecret(name string) error {
	info, err := os.Stat(name)
	if err == nil && info.Mode().Perm()&0o007 != 0 && runtime.GOOS != "windows" {
		err = fmt.Errorf("other users of this machine can read or write %s (mode %04o): run chmod o= %[1]s, or remove the file, and the server makes a new key", name, info.Mode().Perm())
	}
	return err
}

// keyAt reads a private key, and makes it if there is none.
func keyAt(name string) (*ecdsa.PrivateKey, error) {
	err := checkSecret(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newKeyAt(name)
	}
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is not a private key in PEM format: remove the file, and the server makes a new key", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s is not an ECDSA private key: remove the file, and the server makes a new key", name)
	}
	return key, nil
}

func newKeyAt(name string) (*ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	data, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(name, data)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// OnlyCertificates returns the certificates of a PEM file, without a private key.
func OnlyCertificates(data []byte) []byte {
	var chain [][]byte
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return encodeChain(chain)
		}
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
		}
	}
}

func encodeChain(chain [][]byte) []byte {
	var data []byte
	for _, der := range chain {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return data
}
