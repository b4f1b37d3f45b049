module github.com/libcluster-go/cluster/internal/e2e

go 1.26.0

require github.com/libcluster-go/cluster v0.0.0

replace github.com/libcluster-go/cluster => ../..
