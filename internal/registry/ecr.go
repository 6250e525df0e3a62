package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-containerregistry/pkg/authn"
)

// regionForm is what a region must look like. The region becomes part of a host name, so
// nothing else may get in.
var regionForm = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+$`)

// ecrLogin exchanges AWS credentials for a password of the account's registry.
func (c *Client) ecrLogin(ctx context.Context, login Login) (authn.Authenticator, error) {
	if !regionForm.MatchString(login.AWSRegion) {
		return nil, &Error{Message: fmt.Sprintf("'%s' is no AWS region; it looks like us-east-1", login.AWSRegion)}
	}
	options := ecr.Options{
		Region:      login.AWSRegion,
		Credentials: credentials.NewStaticCredentialsProvider(login.AWSAccessKeyID, login.AWSSecretAccessKey, ""),
		HTTPClient:  &http.Client{Transport: c.transport, Timeout: time.Minute},
		Retryer:     aws.NopRetryer{}, // the user learns of a failure at once and can retry
	}
	if c.ecr != "" {
		options.BaseEndpoint = aws.String(c.ecr)
	}
	answer, err := ecr.New(options).GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return nil, ecrFailure(err)
	}
	if len(answer.AuthorizationData) == 0 {
		return nil, errors.New("AWS's answer to a login to ECR has no token")
	}
	token, err := base64.StdEncoding.DecodeString(aws.ToString(answer.AuthorizationData[0].AuthorizationToken))
	if err != nil {
		return nil, fmt.Errorf("AWS's login to ECR: %w", err)
	}
	user, password, _ := strings.Cut(string(token), ":")
	return &authn.Basic{Username: user, Password: password}, nil
}

// ecrFailure words a failed login. It distinguishes a refusal, which the template's owner
// can fix, from a failure to reach AWS.
func ecrFailure(err error) error {
	var answered *smithyhttp.ResponseError
	var refused smithy.APIError
	var unsent *smithyhttp.RequestSendError
	switch {
	case errors.As(err, &unsent):
		return &Error{Message: fmt.Sprintf("AWS was not reached for a login to ECR: %v%s", unsent.Err, otherWays)}
	case errors.As(err, &answered) && errors.As(err, &refused):
		return &Error{Message: fmt.Sprintf("AWS refused a login to ECR with status %d: %s; check the access key, "+
			"its secret, the region, and that it may call ecr:GetAuthorizationToken",
			answered.HTTPStatusCode(), refused.ErrorMessage())}
	default:
		return fmt.Errorf("AWS's answer to a login to ECR: %w", err)
	}
}
