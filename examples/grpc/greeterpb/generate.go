// Package greeterpb is the service Greeter, made of greeter.proto.
package greeterpb

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
