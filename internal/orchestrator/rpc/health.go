package rpc

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"

	"shoal/internal/orchestrator/rpc/gen/nodev1/nodev1connect"
	"shoal/internal/shoal"
)

// Ready returns an error while a node takes no new sandboxes.
func Ready(node shoal.Node) func(context.Context) error {
	return func(ctx context.Context) error {
		info, err := node.Info(ctx)
		if err == nil && info.Status != shoal.NodeReady {
			err = fmt.Errorf("the machine is %s", info.Status)
		}
		return err
	}
}

// checker answers gRPC's health protocol: a node that takes no new sandboxes does not serve.
type checker struct{ node shoal.Node }

var _ grpchealth.Checker = checker{}

// Check implements grpchealth.Checker.
func (c checker) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if req.Service != "" && req.Service != nodev1connect.NodeServiceName {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such service here"))
	}
	if Ready(c.node)(ctx) != nil {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
}
