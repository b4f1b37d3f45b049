package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// grpcService is a service with one bidirectional stream of bytes.
func grpcService(handler grpc.StreamHandler) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "bench.Talk",
		HandlerType: (*any)(nil),
		Streams:     []grpc.StreamDesc{{StreamName: "Talk", Handler: handler, ServerStreams: true, ClientStreams: true}},
	}
}

// grpcCredentials are of the same TLS as all others'.
func grpcCredentials() (credentials.TransportCredentials, error) {
	c, err := bareTLS()
	if err != nil {
		return nil, err
	}
	c = c.Clone()
	c.NextProtos = nil // gRPC's own
	return credentials.NewTLS(c), nil
}

// grpcReceive hands over what comes on a stream, until that ends.
func grpcReceive(stream interface{ RecvMsg(m any) error }, got receiver, answer sender) error {
	var m wrapperspb.BytesValue
	for {
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		got(m.GetValue(), answer)
	}
}

func grpcSender(stream interface{ SendMsg(m any) error }) sender {
	return func(data []byte) error { return stream.SendMsg(wrapperspb.Bytes(data)) }
}

func listenGRPC(got receiver) (carrier, string, error) {
	creds, err := grpcCredentials()
	if err != nil {
		return nil, "", err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	s := grpc.NewServer(grpc.Creds(creds), grpc.MaxRecvMsgSize(2*largeSize))
	s.RegisterService(grpcService(func(_ any, stream grpc.ServerStream) error {
		return grpcReceive(stream, got, grpcSender(stream))
	}), nil)
	go func() { _ = s.Serve(l) }() // whoever dials tells
	return nil, l.Addr().String(), nil
}

// A grpcCarrier opens a stream for each sender, as one may not have several.
type grpcCarrier struct {
	conn *grpc.ClientConn
	got  receiver
}

func dialGRPC(addr string, got receiver) (carrier, error) {
	creds, err := grpcCredentials()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*largeSize)))
	return &grpcCarrier{conn: conn, got: got}, err
}

func (c *grpcCarrier) sender() (sender, error) {
	service := grpcService(nil)
	stream, err := c.conn.NewStream(context.Background(), &service.Streams[0], "/"+service.ServiceName+"/"+service.Streams[0].StreamName)
	if err != nil {
		return nil, err
	}
	send := grpcSender(stream)
	go func() { _ = grpcReceive(stream, c.got, send) }() // its sender tells
	return send, nil
}
