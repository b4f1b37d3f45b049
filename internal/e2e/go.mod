module github.com/libcluster-go/cluster/internal/e2e

go 1.26.0

require (
	github.com/libcluster-go/cluster v0.0.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/hashicorp/errwrap v1.1.0 // indirect
	github.com/hashicorp/go-sockaddr v1.0.7 // indirect
	golang.org/x/net v0.62.0 // indirect
)

replace github.com/libcluster-go/cluster => ../..
