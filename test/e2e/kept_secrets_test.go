package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"shoal/internal/certificate/certificatetest"
	"shoal/test/installation"
)

// keptSecret is a value that the host may have nowhere. Guests are searched for its head, which
// they learn by that, and the host for its tail.
type keptSecret struct{ head, tail string }

func newKeptSecret() keptSecret { return keptSecret{rand.Text(), rand.Text()} }

func (k keptSecret) first() string  { return k.head + k.tail }
func (k keptSecret) second() string { return k.head + "-2-" + k.tail }

// written are the ways in which a file may have a text: as it is, in hex, and in base64 from each
// of the three places that it can begin at.
func written(text string) []string {
	all := []string{text, hex.EncodeToString([]byte(text)), strings.ToUpper(hex.EncodeToString([]byte(text)))}
	for skip := range 3 {
		whole := text[skip:]
		whole = whole[:len(whole)/3*3]
		all = append(all, base64.StdEncoding.EncodeToString([]byte(whole)))
	}
	return all
}

// keeper is the server that a sandbox's headers go to. It answers which value of the secret came,
// for whom the token is, and never with either.
type keeper struct {
	t      *testing.T
	secret keptSecret
	api    string // host:port

	mu     sync.Mutex
	tokens []string
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	which := map[string]string{"": "none", "Bearer " + k.secret.first(): "first", "Bearer " + k.secret.second(): "second"}
	value, known := which[r.Header.Get("Authorization")]
	if !known {
		value = "another"
	}
	whom := "nobody"
	if token := r.Header.Get("X-Identity"); token != "" {
		whom = k.whom(token)
	}
	fmt.Fprintln(w, value, "for", whom)
}

// whom is the sandbox of a token, by the keys that the API publishes.
func (k *keeper) whom(token string) string {
	k.mu.Lock()
	k.tokens = append(k.tokens, token)
	k.mu.Unlock()
	published, err := http.Get("http://" + k.api + "/.well-known/jwks.json")
	if err != nil {
		return err.Error()
	}
	defer published.Body.Close()
	var keys jose.JSONWebKeySet
	if err := json.NewDecoder(published.Body).Decode(&keys); err != nil {
		return err.Error()
	}
	signed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return err.Error()
	}
	var claims jwt.Claims
	var own struct {
		Sandbox string `json:"sandbox"`
	}
	if err := signed.Claims(keys, &claims, &own); err != nil {
		return err.Error()
	}
	expected := jwt.Expected{AnyAudience: jwt.Audience{"keeper"}, Time: time.Now()}
	if err := claims.ValidateWithLeeway(expected, time.Second); err != nil {
		return err.Error()
	}
	if !strings.HasSuffix(claims.Subject, "/template/base/sandbox/"+own.Sandbox) {
		return claims.Subject
	}
	return own.Sandbox
}

// signatures are the ends of the tokens that came.
func (k *keeper) signatures() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []string
	for _, token := range k.tokens {
		all = append(all, token[strings.LastIndex(token, ".")+1:])
	}
	return all
}

// serveKept has the keeper answer by TLS at both addresses of an internet, and returns the file
// of the authority that vouches for it.
func serveKept(t *testing.T, inet *installation.Internet, k *keeper) (authority string) {
	t.Helper()
	a, err := certificatetest.New()
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"allowed.test": namedAddress, "other.test": otherAddress} {
		certificate, err := a.Issue(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := inet.Listen(address + ":443")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: k, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
		go func() { _ = s.ServeTLS(l, "", "") }() // until the listener is closed with the test
		t.Cleanup(func() { s.Close() })
	}
	authority = filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(authority, a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return authority
}

// TestKeptSecrets: a secret and a token of a sandbox reach the domain of their rule and no other,
// also after a pause and after Shoal was killed, and the value is in no place of the guest's or of
// the host's.
func TestKeptSecrets(t *testing.T) {
	inet := newInternet(t)
	k := &keeper{t: t, secret: newKeptSecret()}
	authority := serveKept(t, inet, k)
	r := another(t, "kept", func(b *box) { k.api = b.API },
		"SHOAL_DNS="+inet.Resolver, "SHOAL_TRUST_CA="+authority, "SHOAL_LOG_LEVEL=debug")
	id := strings.TrimSpace(r.python(t, `
from e2b import Sandbox, Secret
Secret.create("kept", "`+k.secret.first()+`")
s = Sandbox.create(timeout=600, iam={"tokens": {"me": Secret.iam_token(audience="keeper", token_type="JWT-SVID")}},
    network={"rules": {"allowed.test": [{"transform": {"headers": {
        "Authorization": "Bearer " + Secret.fill("kept"), "X-Identity": "${e2b.identity.tokens.me}"}}}]}})
s.files.write("/dev/shm/mark", "`+controlMark+`")
print(s.sandbox_id)
`))
	ask := func(when, want string) {
		t.Helper()
		out := r.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+id+`")
for name in ("allowed.test", "other.test"):
    print(s.commands.run(f"curl -sS --connect-timeout 5 -m 30 https://{name} 2>&1 || true").stdout.strip())
`)
		if want += " for " + id + "\nnone for nobody\n"; out != want {
			t.Errorf("%s: %q, want %q", when, out, want)
		}
	}
	ask("at first", "first")
	k.searchGuest(r, id)
	if answer := r.demand(t, 200, "GET", "/sandboxes/"+id, ""); strings.Contains(answer, k.secret.head) {
		t.Errorf("the API tells the value: %s", answer)
	}
	r.demand(t, 204, "POST", "/sandboxes/"+id+"/pause", `{}`)
	k.searchHost(r, controlMark) // the pause has written it
	ask("after a pause", "first")
	before := r.process.Output()
	r.stop(syscall.SIGKILL)
	r.up()
	ask("after a kill", "first")

	// What was filled in before the kill may be used for some seconds, so only another value shows
	// that the machine asks the new process.
	r.python(t, `
from e2b import Secret
Secret.update("kept", "`+k.secret.second()+`")
`)
	eventually(t, time.Minute, "the new value is filled in", func() bool {
		return strings.HasPrefix(r.python(t, `
from e2b import Sandbox
print(Sandbox.connect("`+id+`").commands.run("curl -sS -m 30 https://allowed.test").stdout)
`), "second for "+id)
	})
	k.searchGuest(r, id)
	k.searchHost(r, id)
	for _, log := range []string{before, r.process.Output()} {
		for _, text := range k.needles() {
			if strings.Contains(log, text) {
				t.Errorf("the log has %q", text)
			}
		}
	}
}

// controlMark is in the guest's memory, so a search of the host must find it after a pause.
const controlMark = "mark-that-is-found-in-memory"

// searchGuest looks for the secret in the environment of all processes, and in the files that are
// younger than the sandbox.
func (k *keeper) searchGuest(r *running, id string) {
	k.t.Helper()
	patterns := strings.Join(written(k.secret.head), "\n")
	out := r.python(k.t, `
from e2b import Sandbox
s = Sandbox.connect("`+id+`")
s.files.write("/root/patterns", """`+patterns+`""", user="root")
print(s.commands.run("""
find / /run /tmp /dev/shm -xdev -type f -mmin -60 -print0 | xargs -0 grep -lFf /root/patterns
grep -lFf /root/patterns /proc/[0-9]*/environ /proc/[0-9]*/cmdline
KEPT=$(head -n 1 /root/patterns) grep -lFf /root/patterns /proc/self/environ # which must be found
env | grep -cFf /root/patterns
rm /root/patterns
""", user="root").stdout.split())
`)
	if want := "['/root/patterns', '/proc/self/environ', '0']\n"; out != want {
		k.t.Errorf("in the guest: %s, want %s", out, want)
	}
}

// needles are what the host must not have.
func (k *keeper) needles() []string { return append(written(k.secret.tail), k.signatures()...) }

// searchHost looks for the secret in all files of an installation, and for a text that must be
// there.
func (k *keeper) searchHost(r *running, there string) {
	k.t.Helper()
	needles := append(k.needles(), there)
	control := false
	for _, root := range []string{r.DataDir, r.RunDir} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the installation runs
			} else if err != nil || !d.Type().IsRegular() {
				return err
			}
			found, err := search(path, needles)
			for _, text := range found {
				if text == there {
					control = true
				} else {
					k.t.Errorf("%s has %q", path, text)
				}
			}
			return err
		})
		if err != nil {
			k.t.Error(err)
		}
	}
	if !control {
		k.t.Errorf("%q is not found where it is", there)
	}
}

// search returns those of some texts that a file has.
func search(path string, texts []string) (found []string, err error) {
	const overlap = 256 // more than any text has
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	buffer := make([]byte, 4<<20)
	kept := 0
	for {
		n, err := io.ReadFull(f, buffer[kept:])
		data := buffer[:kept+n]
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				found = append(found, text)
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF || errors.Is(err, syscall.EINVAL) { // that of a namespace
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("search %s: %w", path, err)
		}
		kept = copy(buffer, data[len(data)-overlap:])
	}
}
