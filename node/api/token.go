package api

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// A Token is the secret that every request carries: 32 random bytes in
// hexadecimal digits.
type Token string

// TokenFile is the name of the token's file in a node's data folder.
const TokenFile = "api.token"

const tokenBytes = 32

// OpenToken returns the token of a node's data folder, and makes one the first
// time. It fails when the file is open to others or holds no token.
func OpenToken(dir string) (Token, error) {
	t, err := ReadToken(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	var secret [tokenBytes]byte
	_, _ = rand.Read(secret[:]) // it never fails
	t = Token(hex.EncodeToString(secret[:]))
	if err := writeToken(dir, t); err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	return t, nil
}

// writeToken makes the token's file, all of it or none.
func writeToken(dir string, t Token) error {
	f, err := os.CreateTemp(dir, TokenFile+".*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(string(t) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, TokenFile))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error says more
	}
	return err
}

// ReadToken returns the token of a node's data folder. The error wraps
// fs.ErrNotExist when no node has run there.
func ReadToken(dir string) (Token, error) {
	path := filepath.Join(dir, TokenFile)
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	if mode := info.Mode(); mode.Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return "", fmt.Errorf("token %s: its mode is %04o, so others may know it; remove it, and the node makes a new one",
			path, mode.Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	t := Token(strings.TrimSpace(string(b)))
	if err := t.validate(); err != nil {
		return "", fmt.Errorf("token %s: %w; remove it, and the node makes a new one", path, err)
	}
	return t, nil
}

// validate reports what is wrong with the token, without showing it.
func (t Token) validate() error {
	if b, err := hex.DecodeString(string(t)); err != nil || len(b) != tokenBytes {
		return fmt.Errorf("api token of %d characters, want %d hexadecimal digits", len(t), 2*tokenBytes)
	}
	return nil
}

// String hides the secret.
func (t Token) String() string { return "api token" }

// GoString hides the secret.
func (t Token) GoString() string { return t.String() }

// allows reports whether the value of an Authorization header carries the token.
// How long it takes does not tell how much of it was right.
func (t Token) allows(header string) bool {
	scheme, secret, _ := strings.Cut(header, " ")
	same := subtle.ConstantTimeCompare([]byte(strings.TrimSpace(secret)), []byte(string(t))) == 1
	return strings.EqualFold(scheme, "Bearer") && same
}
