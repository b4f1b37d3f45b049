package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libcluster-go/cluster/transport/mesh"
)

// minSecret is how many bytes the mesh wants of a secret.
const minSecret = 16

// sharedSecret returns the secret of the chats in a folder of the user's, which the
// first of them makes. Programs of several machines would be given one, as by the
// environment; those of one user on one machine can read it where nobody else can.
func sharedSecret(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "secret")
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := offer(path, mesh.NewSecret()); err != nil {
			return "", err
		}
		secret, err = os.ReadFile(path)
	}
	if err == nil && len(secret) < minSecret {
		err = fmt.Errorf("the secret in %s has %d bytes; want at least %d: delete it, and the next chat makes another", path, len(secret), minSecret)
	}
	return string(secret), err
}

// offer writes a file unless there is one. It is there with all its bytes or not
// at all.
func offer(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "secret-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it has its other name by then
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
