// Package gen is generated from spec/openapi.yml: the types of the wire, and the
// interface that package api implements.
package gen

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config config.yaml ../../../spec/openapi.yml
