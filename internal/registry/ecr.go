package registry

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// The one call of AWS's that a pull from ECR needs. The signature is AWS's version 4,
// "Create a signed AWS API request" in the IAM user guide.

// regionForm keeps what is no region's name out of the host name it becomes part of.
var regionForm = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)

// ecrLogin exchanges AWS credentials for a password of the account's registry.
func (c *Client) ecrLogin(ctx context.Context, login Login) (authn.Authenticator, error) {
	if !regionForm.MatchString(login.AWSRegion) {
		return nil, &Error{Message: fmt.Sprintf("'%s' is no AWS region; it looks like us-east-1", login.AWSRegion)}
	}
	endpoint := c.ecr
	if endpoint == "" {
		endpoint = "https://api.ecr." + login.AWSRegion + ".amazonaws.com"
		if strings.HasPrefix(login.AWSRegion, "cn-") {
			endpoint += ".cn"
		}
	}
	body := []byte("{}")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken")
	sign(req, body, login, "ecr", time.Now())
	resp, err := (&http.Client{Transport: c.transport, Timeout: time.Minute}).Do(req)
	if err != nil {
		return nil, &Error{Message: fmt.Sprintf("AWS was not reached for a login to ECR: %v%s", err, otherWays)}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var answer struct {
		AuthorizationData []struct {
			AuthorizationToken string `json:"authorizationToken"`
		} `json:"authorizationData"`
		Type, Message string // of a refusal; Go matches names in any case
	}
	if err := json.Unmarshal(data, &answer); err != nil && resp.StatusCode == http.StatusOK {
		return nil, fmt.Errorf("AWS's answer to a login to ECR: %w", err)
	}
	if resp.StatusCode != http.StatusOK || len(answer.AuthorizationData) == 0 {
		return nil, &Error{Message: fmt.Sprintf("AWS refused a login to ECR with status %d: %s; check the access key, its secret, the region, and that it may call ecr:GetAuthorizationToken", resp.StatusCode, answer.Message)}
	}
	token, err := base64.StdEncoding.DecodeString(answer.AuthorizationData[0].AuthorizationToken)
	if err != nil {
		return nil, fmt.Errorf("AWS's login to ECR: %w", err)
	}
	user, password, _ := strings.Cut(string(token), ":")
	return &authn.Basic{Username: user, Password: password}, nil
}

// sign adds AWS's signature of a request whose path is canonical and which has no
// query.
func sign(req *http.Request, body []byte, login Login, service string, now time.Time) {
	stamp := now.UTC().Format("20060102T150405Z")
	req.Header.Set("X-Amz-Date", stamp)
	lines := map[string]string{"host": req.URL.Host}
	for name, values := range req.Header {
		lines[strings.ToLower(name)] = strings.TrimSpace(strings.Join(values, ","))
	}
	var names []string
	for name := range lines {
		names = append(names, name)
	}
	sort.Strings(names)
	headers := ""
	for _, name := range names {
		headers += name + ":" + lines[name] + "\n"
	}
	signed := strings.Join(names, ";")
	canonical := strings.Join([]string{req.Method, req.URL.EscapedPath(), "", headers, signed, hexSum(body)}, "\n")
	scope := strings.Join([]string{stamp[:8], login.AWSRegion, service, "aws4_request"}, "/")
	text := strings.Join([]string{"AWS4-HMAC-SHA256", stamp, scope, hexSum([]byte(canonical))}, "\n")
	key := []byte("AWS4" + login.AWSSecretAccessKey)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x",
		login.AWSAccessKeyID, scope, signed, mac(key, text)))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
