module github.com/libcluster-go/cluster

go 1.26

require (
	github.com/hashicorp/go-sockaddr v1.0.7 // indirect
	go.uber.org/goleak v1.3.0 // indirect
)
