package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"shoal/internal/shoal"
)

// hashing is how passwords are hashed, by Argon2id. The parameters are kept with each hash, so that
// they may change.
type hashing struct {
	time   uint32 // passes
	memory uint32 // KiB
	// free has a token for each password that may be hashed now: each takes the memory.
	free chan struct{}
}

// newHashing takes some 50 ms and 32 MiB for each password (RFC 9106, section 4, and OWASP's advice), twice
// at once.
func newHashing() hashing { return makeHashing(3, 32<<10, 2) }

func makeHashing(passes, memory uint32, atOnce int) hashing {
	h := hashing{time: passes, memory: memory, free: make(chan struct{}, atOnce)}
	for range atOnce {
		h.free <- struct{}{}
	}
	return h
}

const (
	saltBytes = 16
	hashBytes = 32
	lanes     = 1
	// hashWait is how long a password may wait for its turn.
	hashWait = 5 * time.Second

	minPassword = 12
	maxPassword = 256
)

// checkPassword refuses what is no good password.
func checkPassword(password, email string) error {
	local, _, _ := strings.Cut(email, "@")
	bad := func(why string) error { return shoal.ErrPassword.New("The password %s", why) }
	switch {
	case len(password) < minPassword:
		return bad(fmt.Sprintf("has fewer than %d characters", minPassword))
	case len(password) > maxPassword:
		return bad(fmt.Sprintf("has more than %d bytes", maxPassword))
	case strings.EqualFold(password, email), strings.EqualFold(password, local):
		return bad("is the address")
	case strings.Count(password, password[:1]) == len(password):
		return bad("is one character again and again")
	}
	return nil
}

// hash returns what is stored of a password, in the form of the reference implementation.
func (h hashing) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	sum, err := h.derive(ctx, password, salt, h.time, h.memory, lanes)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("%s$%s$%s", h.parameters(), b64(salt), b64(sum)), nil
}

func (h hashing) parameters() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d", argon2.Version, h.memory, h.time, lanes)
}

// matches reports whether a stored hash is of the password, in constant time. It takes as long if
// the stored hash is "", which no password matches.
func (h hashing) matches(ctx context.Context, stored, password string) (bool, error) {
	passes, memory, threads := h.time, h.memory, uint8(lanes)
	salt, want := make([]byte, saltBytes), make([]byte, hashBytes)
	if stored != "" {
		var err error
		if passes, memory, threads, salt, want, err = parseHash(stored); err != nil {
			return false, err
		}
	}
	got, err := h.derive(ctx, password, salt, passes, memory, threads)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && stored != "", nil
}

// outdated reports whether a hash was made by other parameters than are used now.
func (h hashing) outdated(stored string) bool { return !strings.HasPrefix(stored, h.parameters()+"$") }

func (h hashing) derive(
	ctx context.Context, password string, salt []byte, passes, memory uint32, threads uint8,
) ([]byte, error) {
	wait, cancel := context.WithTimeout(ctx, hashWait)
	defer cancel()
	select {
	case <-h.free:
	case <-wait.Done():
		return nil, shoal.ErrSignInBusy.New("Many passwords are being checked")
	}
	defer func() { h.free <- struct{}{} }()
	return argon2.IDKey([]byte(password), salt, passes, memory, threads, hashBytes), nil
}

// maxHashMemory bounds what a stored hash may ask for, in KiB.
const maxHashMemory = 1 << 20

func parseHash(stored string) (passes, memory uint32, threads uint8, salt, sum []byte, err error) {
	fail := func(err error) (uint32, uint32, uint8, []byte, []byte, error) {
		return 0, 0, 0, nil, nil, fmt.Errorf("read a stored password: %w", err)
	}
	fields := strings.Split(stored, "$")
	if len(fields) != 6 || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return fail(errors.New("it was made by another algorithm"))
	}
	if _, err = fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil {
		return fail(err)
	}
	if salt, err = base64.RawStdEncoding.DecodeString(fields[4]); err != nil {
		return fail(err)
	}
	if sum, err = base64.RawStdEncoding.DecodeString(fields[5]); err != nil {
		return fail(err)
	}
	if passes < 1 || passes > 100 || memory > maxHashMemory || threads < 1 || len(sum) != hashBytes ||
		bytes.Equal(sum, make([]byte, hashBytes)) {
		return fail(errors.New("its parameters are out of bounds"))
	}
	return passes, memory, threads, salt, sum, nil
}
