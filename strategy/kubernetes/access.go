package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// protobuf takes a third of the time and the memory of JSON to read; what
	// isn't to be had in it comes as JSON.
	protobuf  = "application/vnd.kubernetes.protobuf"
	userAgent = "libcluster-go/strategy/kubernetes"
)

// times are how long a server may be silent. They are what usual says, but for
// tests.
type times struct {
	// answer is how long it has to answer a request, or to begin to with a watch.
	answer time.Duration
	// pingAfter is how long a connection may be silent before it is pinged, and
	// pingTimeout how long that may take: a server that vanished is noticed after
	// both, though an idle watch says nothing for long.
	pingAfter, pingTimeout time.Duration
}

func usual() times {
	return times{answer: 15 * time.Second, pingAfter: 10 * time.Second, pingTimeout: 5 * time.Second}
}

// open returns a client, made anew from what the files say now. Its connections
// end with ctx.
func (s Strategy) open(ctx context.Context, env environment, limits times) (*Client, error) {
	if s.Client != nil {
		return s.Client, nil
	}
	cfg, _, err := s.config(env)
	if err != nil {
		return nil, err
	}
	client, err := connect(ctx, cfg, limits)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: access to %s: %w", cfg.Host, err)
	}
	return client, nil
}

// config says where the API server is and how to access it, and which namespace
// the kubeconfig's context has, if there is one.
func (s Strategy) config(env environment) (cfg *rest.Config, namespace string, err error) {
	if s.Kubeconfig == "" {
		cfg, err = s.inCluster(env)
		return cfg, "", err
	}
	kubeconfig, err := s.readKubeconfig(env)
	if err != nil {
		return nil, "", fmt.Errorf("kubernetes: Kubeconfig is %q: %w", s.Kubeconfig, err)
	}
	context := clientcmd.NewNonInteractiveClientConfig(*kubeconfig, s.Context, &clientcmd.ConfigOverrides{}, nil)
	cfg, err = context.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("kubernetes: Kubeconfig is %q, Context is %q: %w", s.Kubeconfig, s.Context, err)
	}
	if err := checkVerified(cfg); err != nil {
		return nil, "", fmt.Errorf("kubernetes: Kubeconfig is %q, Context is %q: %w", s.Kubeconfig, s.Context, err)
	}
	namespace, _, err = context.Namespace()
	return cfg, namespace, err
}

// readKubeconfig reads the file, and has the paths in it begin where it lies.
func (s Strategy) readKubeconfig(env environment) (*clientcmdapi.Config, error) {
	content, err := env.readFile(s.Kubeconfig)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := clientcmd.Load(content)
	if err != nil {
		return nil, err
	}
	for _, c := range kubeconfig.Clusters {
		c.LocationOfOrigin = s.Kubeconfig
	}
	for _, u := range kubeconfig.AuthInfos {
		u.LocationOfOrigin = s.Kubeconfig
	}
	return kubeconfig, clientcmd.ResolveLocalPaths(kubeconfig)
}

// checkVerified refuses servers that could be anyone, since all that they say is
// believed, and the token is sent to them.
func checkVerified(cfg *rest.Config) error {
	if cfg.Insecure {
		return errors.New("it has insecure-skip-tls-verify; want the certificate-authority of the API server instead, and tls-server-name if its certificate has another name")
	}
	if !rest.IsConfigTransportTLS(*cfg) {
		return fmt.Errorf("the server is %q; want an https URL", cfg.Host)
	}
	return nil
}

// inCluster is the configuration of a pod.
func (s Strategy) inCluster(env environment) (*rest.Config, error) {
	master, setting := s.Master, "Master"
	if master == "" {
		host, port := env.getenv("KUBERNETES_SERVICE_HOST"), env.getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("kubernetes: neither Client nor Kubeconfig nor Master is set, and KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT aren't either, as they are in a pod; set one of them")
		}
		master, setting = "https://"+net.JoinHostPort(host, port), "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: the API server"
	}
	if u, err := url.Parse(master); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("kubernetes: %s is %q; want an https URL, such as https://10.96.0.1:443", setting, master)
	}
	folder := s.serviceAccountPath()
	return &rest.Config{
		Host:            master,
		BearerTokenFile: filepath.Join(folder, "token"),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(folder, "ca.crt")},
	}, nil
}

// connect makes a client with a transport of its own, since client-go shares its
// between all that access a server in the same way, and keeps their connections.
func connect(ctx context.Context, cfg *rest.Config, limits times) (*Client, error) {
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, err
	}
	proxy := cfg.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	var transport http.RoundTripper = &http.Transport{
		Proxy:             proxy,
		DialContext:       dialIn(ctx),
		TLSClientConfig:   tlsConfig,
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: limits.pingAfter, PingTimeout: limits.pingTimeout},
	}
	cfg = rest.CopyConfig(cfg)
	cfg.UserAgent = userAgent
	transport, err = rest.HTTPWrappersForConfig(cfg, transport)
	if err != nil {
		return nil, err
	}
	return newClient(cfg, &http.Client{Transport: transport, CheckRedirect: refuseRedirect})
}

// refuseRedirect has no answer come from, and no token go to, any other server.
func refuseRedirect(to *http.Request, _ []*http.Request) error {
	return fmt.Errorf("the API server redirects to %s, which isn't followed, since the token would go there", to.URL.Redacted())
}

// dialIn dials connections that are closed once life is done, and their
// goroutines with them; package net/http would keep them, idle or still trying.
func dialIn(life context.Context) func(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(life, func() { conn.Close() })
		return conn, nil
	}
}

// newClient makes one that knows the kinds of objects of the sources and no others.
func newClient(cfg *rest.Config, client *http.Client) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg.ContentType, cfg.AcceptContentTypes = protobuf, protobuf+",application/json"
	cfg.QPS = -1 // no limit: the pauses of the strategy's own do for that
	cfg.WarningHandlerWithContext = rest.NoWarnings{}
	core, discovery := *cfg, *cfg
	core.APIPath, core.GroupVersion = "/api", &corev1.SchemeGroupVersion
	discovery.APIPath, discovery.GroupVersion = "/apis", &discoveryv1.SchemeGroupVersion
	coreClient, err := rest.RESTClientForConfigAndClient(&core, client)
	if err != nil {
		return nil, err
	}
	discoveryClient, err := rest.RESTClientForConfigAndClient(&discovery, client)
	if err != nil {
		return nil, err
	}
	return &Client{open: func(source Source, namespace string) objects {
		rest := coreClient
		if source == EndpointSlices {
			rest = discoveryClient
		}
		return requests{rest, cfg.Host, source, namespace}
	}}, nil
}
