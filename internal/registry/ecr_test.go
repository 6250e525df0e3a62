package registry

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"

	"shoal/internal/registry/registrytest"
)

// TestECR: a login of type "aws" gets its password from ECR's API.
func TestECR(t *testing.T) {
	login := Login{Type: "aws", AWSAccessKeyID: "AKIDEXAMPLE",
		AWSSecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", AWSRegion: "us-east-1"}
	images := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "AWS" || password != "pass:word" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	}))
	defer registry.Close()
	reference := strings.TrimPrefix(registry.URL, "http://") + "/some/image"
	ref, err := name.ParseReference(reference)
	must(t, err)
	must(t, registrytest.Write(images, ref, registrytest.Image(t)))
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetAuthorizationToken") ||
			!strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") ||
			!strings.Contains(r.Header.Get("Authorization"), "/us-east-1/ecr/aws4_request, SignedHeaders=") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"InvalidSignatureException","message":"The signature does not match."}`)
			return
		}
		fmt.Fprint(w, `{"authorizationData":[{"authorizationToken":"QVdTOnBhc3M6d29yZA==","expiresAt":1.4E9,"proxyEndpoint":"https://x"}]}`)
	}))
	defer aws.Close()
	c := open(t, Config{ECR: aws.URL})
	_, err = get(t, c, reference, &login, quiet)
	must(t, err)
	var wrong *Error
	stranger := login
	stranger.AWSAccessKeyID = "AKIDOTHER"
	if _, err := get(t, c, reference, &stranger, quiet); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "status 400 and InvalidSignatureException; check") {
		t.Errorf("a refused login: %v", err)
	}
	login.AWSRegion = "evil.example/"
	if _, err := get(t, c, reference, &login, quiet); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "no AWS region") {
		t.Errorf("no region: %v", err)
	}
	login.AWSRegion = "us-east-1"
	aws.Close()
	if _, err := get(t, c, reference, &login, quiet); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "AWS was not reached") || !strings.HasSuffix(err.Error(), otherWays) {
		t.Errorf("AWS is away: %v", err)
	}
}
