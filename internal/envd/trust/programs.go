package trust

import (
	"crypto/sha1" //nolint:gosec // both formats ask for it; nothing depends on its strength
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// Programs that do not look into the bundle by themselves are told by variables, or find what they
// know in files of their own. All of these are there only with an authority.

// javaStore is beside the bundle.
const javaStore = "shoal-java.jks"

// policyFile is what browsers read in each of their directories of policies.
const policyFile = "shoal-authority.json"

// Environment has programs use the bundle that bring their own.
func (s *Store) Environment() map[string]string {
	return map[string]string{
		"SSL_CERT_FILE":                    s.paths.Bundle, // OpenSSL, Python, Go, Ruby
		"REQUESTS_CA_BUNDLE":               s.paths.Bundle, // Python with certifi
		"PIP_CERT":                         s.paths.Bundle,
		"AWS_CA_BUNDLE":                    s.paths.Bundle,
		"CURL_CA_BUNDLE":                   s.paths.Bundle,
		"GIT_SSL_CAINFO":                   s.paths.Bundle,
		"CARGO_HTTP_CAINFO":                s.paths.Bundle,
		"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": s.paths.Bundle,
		"NODE_EXTRA_CA_CERTS":              s.paths.Bundle,
		"DENO_CERT":                        s.paths.Bundle,
		"DENO_TLS_CA_STORE":                "mozilla,system",
		"JAVA_TOOL_OPTIONS":                "-Djavax.net.ssl.trustStore=" + s.javaStore(),
	}
}

// sudoersFile and environmentFile give programs that run by sudo, which clears the environment, the
// variables: as values that only root has written. Keeping those of who runs sudo would let them
// choose what JAVA_TOOL_OPTIONS has a program of root's load.
const (
	sudoersFile     = "shoal-authority"
	environmentFile = "shoal-environment"
)

func (s *Store) environmentFile() string {
	return filepath.Join(filepath.Dir(s.paths.Bundle), environmentFile)
}

// tellSudo writes both files, where there is sudo.
func (s *Store) tellSudo() error {
	if info, err := os.Stat(s.paths.Sudoers); err != nil || !info.IsDir() {
		return nil
	}
	var text strings.Builder
	environment := s.Environment()
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		fmt.Fprintf(&text, "%s=%s\n", name, environment[name])
	}
	if err := os.WriteFile(s.environmentFile(), []byte(text.String()), 0o644); err != nil {
		return err
	}
	path := filepath.Join(s.paths.Sudoers, sudoersFile)
	return replaceFile(path, "Defaults env_file="+s.environmentFile()+"\n", 0o440)
}

// untellSudo removes them, first the one that names the other.
func (s *Store) untellSudo(remove func(string)) {
	remove(filepath.Join(s.paths.Sudoers, sudoersFile))
	remove(s.environmentFile())
}

func (s *Store) javaStore() string { return filepath.Join(filepath.Dir(s.paths.Bundle), javaStore) }

// tell writes the files of programs for an authority that is in the bundle.
func (s *Store) tell(text string) error {
	found := certificates([]byte(text))
	if len(found) == 0 {
		return nil // whoever sent this has put something else into the bundle
	}
	bundle, err := os.ReadFile(s.paths.Bundle)
	if err != nil {
		return err
	}
	errs := os.WriteFile(s.javaStore(), keyStore(certificates(bundle)), 0o644)
	policy, err := json.Marshal(map[string][]string{"CACertificates": inBase64(found)})
	errs = errors.Join(errs, err)
	for _, dir := range s.paths.Policies {
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, policyFile), policy, 0o644)
		}
		errs = errors.Join(errs, err)
	}
	return errors.Join(errs, s.link(found), s.tellSudo())
}

// untell removes them.
func (s *Store) untell(text string) error {
	var errs error
	remove := func(name string) {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			errs = errors.Join(errs, err)
		}
	}
	remove(s.javaStore())
	s.untellSudo(remove)
	for _, dir := range s.paths.Policies {
		remove(filepath.Join(dir, policyFile))
	}
	for der := range certificates([]byte(text)) {
		if hash, err := subjectHash([]byte(der)); err == nil {
			s.unlink(hash, remove)
		}
	}
	return errs
}

func inBase64(certificates map[string]bool) []string {
	var list []string
	for der := range certificates {
		list = append(list, base64.StdEncoding.EncodeToString([]byte(der)))
	}
	slices.Sort(list)
	return list
}

// link lets OpenSSL find authorities in the directory of the bundle, by the hash of their subject.
func (s *Store) link(found map[string]bool) error {
	var errs error
	for der := range found {
		hash, err := subjectHash([]byte(der))
		if err != nil {
			return err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: certificate, Bytes: []byte(der)})
		for n := range 10 {
			name := filepath.Join(filepath.Dir(s.paths.Bundle), fmt.Sprintf("%08x.%d", hash, n))
			have, err := os.ReadFile(name)
			if err == nil && string(have) != string(text) {
				continue // another authority's
			}
			errs = errors.Join(errs, os.WriteFile(name, text, 0o644))
			break
		}
	}
	return errs
}

// unlink removes those of an authority. Sandboxes' authorities have subjects of their own.
func (s *Store) unlink(hash uint32, remove func(string)) {
	for n := range 10 {
		name := filepath.Join(filepath.Dir(s.paths.Bundle), fmt.Sprintf("%08x.%d", hash, n))
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() { // others are links
			remove(name)
		}
	}
}

// subjectHash is X509_NAME_hash of OpenSSL: of the name's parts as UTF-8 in lower case, without
// the sequence around them.
func subjectHash(der []byte) (uint32, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return 0, err
	}
	var name pkix.RDNSequence
	if _, err := asn1.Unmarshal(cert.RawSubject, &name); err != nil {
		return 0, err
	}
	var canonical []byte
	for _, set := range name {
		for i, part := range set {
			text, ok := part.Value.(string)
			if !ok {
				return 0, errors.New("the subject has something other than text")
			}
			text = strings.ToLower(strings.Join(strings.Fields(text), " "))
			value, err := asn1.MarshalWithParams(text, "utf8")
			if err != nil {
				return 0, err
			}
			set[i].Value = asn1.RawValue{FullBytes: value}
		}
		one, err := asn1.Marshal(set) // whose type says that it is a set
		if err != nil {
			return 0, err
		}
		canonical = append(canonical, one...)
	}
	sum := sha1.Sum(canonical) //nolint:gosec // see the import
	return binary.LittleEndian.Uint32(sum[:4]), nil
}

// keyStore is a file of Java's format JKS with authorities, under Java's usual password.
func keyStore(certificates map[string]bool) []byte {
	data := binary.BigEndian.AppendUint32(nil, 0xfeedfeed)
	data = binary.BigEndian.AppendUint32(data, 2) // the version
	data = binary.BigEndian.AppendUint32(data, uint32(len(certificates)))
	text := func(s string) {
		data = binary.BigEndian.AppendUint16(data, uint16(len(s)))
		data = append(data, s...)
	}
	for i, der := range slices.Sorted(maps.Keys(certificates)) {
		data = binary.BigEndian.AppendUint32(data, 2) // a trusted certificate
		text(fmt.Sprint("authority-", i))
		data = binary.BigEndian.AppendUint64(data, 0) // when it was added
		text("X.509")
		data = binary.BigEndian.AppendUint32(data, uint32(len(der)))
		data = append(data, der...)
	}
	sum := sha1.New() //nolint:gosec // see the import
	for _, unit := range utf16.Encode([]rune("changeit")) {
		sum.Write([]byte{byte(unit >> 8), byte(unit)})
	}
	sum.Write([]byte("Mighty Aphrodite"))
	sum.Write(data)
	return sum.Sum(data)
}
