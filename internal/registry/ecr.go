package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-containerregistry/pkg/authn"

	"shoal/internal/outbound"
	"shoal/internal/shoal"
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
		return nil, ecrFailure(ctx, err)
	}
	if len(answer.AuthorizationData) == 0 {
		return nil, errors.New("AWS's answer to a login to ECR has no token")
	}
	token, err := base64.StdEncoding.DecodeString(aws.ToString(answer.AuthorizationData[0].AuthorizationToken))
	if err != nil {
		return nil, errors.New("AWS's answer to a login to ECR has a token that is not base64")
	}
	user, password, _ := strings.Cut(string(token), ":")
	return &authn.Basic{Username: user, Password: password}, nil
}

// awsCodes are the codes of failed logins that are quoted (the AWS APIs' common errors, and
// those of ECR's GetAuthorizationToken).
var awsCodes = []string{"AccessDeniedException", "ExpiredTokenException", "IncompleteSignature",
	"IncompleteSignatureException", "InvalidClientTokenId", "InvalidParameterException", "InvalidSignatureException",
	"MissingAuthenticationTokenException", "OptInRequired", "RequestExpired", "ServerException",
	"SignatureDoesNotMatch", "ThrottlingException", "UnrecognizedClientException"}

// ecrFailure words a failed login. It distinguishes a refusal, which the template's owner
// can fix, from a failure to reach AWS.
func ecrFailure(ctx context.Context, err error) error {
	var answered *smithyhttp.ResponseError
	var refused smithy.APIError
	var broken *outbound.Failure
	var unsent *smithyhttp.RequestSendError
	switch {
	case ctx.Err() != nil, shoal.ErrOutboundRefused.Matches(err):
		return err
	case errors.As(err, &broken):
		return &Error{Message: fmt.Sprintf("AWS was not reached for a login to ECR: %s%s", broken.Error(), otherWays)}
	case errors.As(err, &unsent):
		return &Error{Message: "AWS was not reached for a login to ECR: it does not answer in time" + otherWays}
	case errors.As(err, &answered) && errors.As(err, &refused):
		code := ""
		if slices.Contains(awsCodes, refused.ErrorCode()) {
			code = " and " + refused.ErrorCode()
		}
		return &Error{Message: fmt.Sprintf("AWS refused a login to ECR with status %d%s; check the access key, "+
			"its secret, the region, and that it may call ecr:GetAuthorizationToken", answered.HTTPStatusCode(), code)}
	default:
		return &Error{Message: "AWS's answer to a login to ECR is not understood" + otherWays}
	}
}
