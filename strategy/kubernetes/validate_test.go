package kubernetes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/libcluster-go/cluster"
)

// inPod is the environment of a pod of the namespace app, with what else is set.
func inPod(vars ...string) environment {
	all := map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
	for i := 0; i < len(vars); i += 2 {
		all[vars[i]] = vars[i+1]
	}
	env := outside()
	env.getenv = func(name string) string { return all[name] }
	env.readFile = func(path string) ([]byte, error) {
		if path == DefaultServiceAccountPath+"/namespace" {
			return []byte("app\n"), nil
		}
		return os.ReadFile(path)
	}
	return env
}

// unmounted has no service account, wherever the tests run.
func unmounted(path string) ([]byte, error) {
	if strings.HasPrefix(path, DefaultServiceAccountPath) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return os.ReadFile(path)
}

// outside is the environment of a program that is in no pod.
func outside(vars ...string) environment {
	return environment{
		getenv: func(name string) string {
			for i := 0; i < len(vars); i += 2 {
				if vars[i] == name {
					return vars[i+1]
				}
			}
			return ""
		},
		readFile: unmounted,
		hostname: func() (string, error) { return "web-0", nil },
	}
}

// kubeconfig writes a file with the contexts good (of the namespace app),
// insecure and plain.
func kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err := os.WriteFile(file, []byte(`apiVersion: v1
kind: Config
current-context: good
clusters:
- {name: good, cluster: {server: "https://127.0.0.1:6443"}}
- {name: insecure, cluster: {server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}
- {name: plain, cluster: {server: "http://127.0.0.1:8001"}}
users:
- {name: me, user: {token: abc}}
contexts:
- {name: good, context: {cluster: good, user: me, namespace: app}}
- {name: default, context: {cluster: good, user: me}}
- {name: insecure, context: {cluster: insecure, user: me}}
- {name: plain, context: {cluster: plain, user: me}}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestValidate has each mistake named by field and value, with what would be
// right.
func TestValidate(t *testing.T) {
	client := FromClientset(fake.NewClientset())
	file := kubeconfig(t)
	set := func(change func(*Strategy)) Strategy {
		s := Strategy{Service: "web-nodes"}
		change(&s)
		return s
	}
	for name, tt := range map[string]struct {
		strategy Strategy
		env      environment
		says     []string // none: it is valid
	}{
		"a service":           {Strategy{Service: "web-nodes"}, inPod(), nil},
		"labels of a service": {Strategy{Selector: "app=web,tier notin (db)"}, inPod(), nil},
		"pods":                {Strategy{Source: Pods, Selector: "app=web", FieldSelector: "spec.nodeName!=a"}, inPod(), nil},
		"pods of a node":      {Strategy{Source: Pods, FieldSelector: "spec.nodeName=a"}, inPod(), nil},
		"endpoints":           {Strategy{Source: Endpoints, Service: "web-nodes"}, inPod(), nil},
		"everything": {Strategy{
			Service: "web-nodes", Selector: "app=web", Namespaces: []string{"a", "b"}, Mode: Hostname, Basename: "web",
			PortName: "cluster", Family: OnlyIPv6, Domain: "k8s.example.org.", Relist: time.Minute, UseCachedResources: true,
			Master: "https://10.0.0.1:6443", ServiceAccountPath: "/tmp",
		}, outside(), nil},
		"a client outside":  {Strategy{Service: "web-nodes", Namespaces: []string{"app"}, Client: client}, outside(), nil},
		"a kubeconfig":      {Strategy{Service: "web-nodes", Kubeconfig: file}, outside(), nil},
		"a context":         {Strategy{Service: "web-nodes", Kubeconfig: file, Context: "default"}, outside(), nil},
		"no namespace file": {Strategy{Service: "web-nodes", Client: client}, outside(EnvNamespace, "app"), nil},
		"others' domain":    {Strategy{Service: "web-nodes"}, inPod(EnvDomain, "my_org"), nil},
		"a short interval":  {Strategy{Service: "web-nodes", Relist: time.Second}, inPod(), nil},

		"nothing":                   {Strategy{}, inPod(), []string{"Service and Selector are empty", "web-nodes"}},
		"no pods":                   {Strategy{Source: Pods}, inPod(), []string{"Selector is empty", "app=web"}},
		"a service and pods":        {Strategy{Source: Pods, Service: "web"}, inPod(), []string{`Service is "web"`, "Source is Pods", "set Selector"}},
		"not a service":             {Strategy{Service: "Web_Nodes"}, inPod(), []string{`Service is "Web_Nodes"`, `such as "web-nodes"`}},
		"not a selector":            {Strategy{Selector: "app in"}, inPod(), []string{`Selector is "app in"`, "app=web"}},
		"not a field selector":      {Strategy{Source: Pods, FieldSelector: "spec"}, inPod(), []string{`FieldSelector is "spec"`, "spec.nodeName"}},
		"fields of slices":          {set(func(s *Strategy) { s.FieldSelector = "spec.nodeName=a" }), inPod(), []string{`FieldSelector is "spec.nodeName=a"`, "unless Source is Pods"}},
		"no source":                 {set(func(s *Strategy) { s.Source = 7 }), inPod(), []string{"Source is 7", "EndpointSlices, Pods or Endpoints"}},
		"no mode":                   {set(func(s *Strategy) { s.Mode = -1 }), inPod(), []string{"Mode is -1", "IP, DNS or Hostname"}},
		"no family":                 {set(func(s *Strategy) { s.Family = 9 }), inPod(), []string{"Family is 9", "SameFamily"}},
		"not a namespace":           {set(func(s *Strategy) { s.Namespaces = []string{"app", "App"} }), inPod(), []string{`Namespaces[1] is "App"`}},
		"not a basename":            {set(func(s *Strategy) { s.Basename = "we b" }), inPod(), []string{`Basename is "we b"`}},
		"not a port":                {set(func(s *Strategy) { s.Port = 70000 }), inPod(), []string{"Port is 70000", "1 to 65535"}},
		"not a port name":           {set(func(s *Strategy) { s.PortName = "Cluster Port" }), inPod(), []string{`PortName is "Cluster Port"`, `such as "cluster"`}},
		"two ports":                 {set(func(s *Strategy) { s.Port, s.PortName = 1, "cluster" }), inPod(), []string{"Port is 1", `PortName is "cluster"`}},
		"not a domain":              {set(func(s *Strategy) { s.Domain = "cluster_local" }), inPod(), []string{`"cluster_local"`, "cluster.local", EnvDomain}},
		"not a domain around":       {set(func(s *Strategy) { s.Mode = DNS }), inPod(EnvDomain, "a b"), []string{`"a b"`, EnvDomain}},
		"not an interval":           {set(func(s *Strategy) { s.Relist = -time.Second }), inPod(), []string{"Relist is -1s", "10m0s"}},
		"an interval without unit":  {set(func(s *Strategy) { s.Relist = 10 }), inPod(), []string{"Relist is 10ns", "at least 1s", "10 * time.Minute"}},
		"not an address of its own": {set(func(*Strategy) {}), inPod(EnvPodIP, "10.0.0.1,fd00::1"), []string{`POD_IP is "10.0.0.1,fd00::1"`, "status.podIP"}},
		"not a port around":         {set(func(*Strategy) {}), inPod("KUBERNETES_SERVICE_PORT", "https"), []string{"KUBERNETES_SERVICE_PORT", `"https://10.96.0.1:https"`}},
		"no namespace":              {set(func(s *Strategy) { s.Client = client }), outside(), []string{"Namespaces is empty", "serviceaccount/namespace", EnvNamespace}},
		"a wrong own namespace":     {set(func(s *Strategy) { s.Client = client }), outside(EnvNamespace, "A"), []string{"own", `"A"`}},
		"not in a pod":              {set(func(s *Strategy) { s.Namespaces = []string{"app"} }), outside(), []string{"Client", "Kubeconfig", "KUBERNETES_SERVICE_HOST"}},
		"an empty client":           {set(func(s *Strategy) { s.Client = &Client{} }), inPod(), []string{"Client is empty", "FromClientset"}},
		"two accesses":              {set(func(s *Strategy) { s.Client, s.Kubeconfig = client, "kc" }), inPod(), []string{"Client", `Kubeconfig ("kc")`}},
		"two servers":               {set(func(s *Strategy) { s.Kubeconfig, s.Master = "kc", "https://a" }), inPod(), []string{`Kubeconfig is "kc"`, `Master is "https://a"`}},
		"a context of nothing":      {set(func(s *Strategy) { s.Context = "prod" }), inPod(), []string{`Context is "prod"`, "Kubeconfig is empty"}},
		"no such kubeconfig":        {set(func(s *Strategy) { s.Kubeconfig = "/nowhere" }), inPod(), []string{`Kubeconfig is "/nowhere"`}},
		"no such context":           {set(func(s *Strategy) { s.Kubeconfig, s.Context = file, "prod" }), inPod(), []string{`Context is "prod"`, "prod"}},
		"TLS that isn't verified":   {set(func(s *Strategy) { s.Kubeconfig, s.Context = file, "insecure" }), inPod(), []string{"insecure-skip-tls-verify", "certificate-authority"}},
		"no TLS":                    {set(func(s *Strategy) { s.Kubeconfig, s.Context = file, "plain" }), inPod(), []string{"http://127.0.0.1:8001", "want an https URL"}},
		"a master without TLS":      {set(func(s *Strategy) { s.Master = "http://10.96.0.1" }), inPod(), []string{`Master is "http://10.96.0.1"`, "https"}},
		"a master without a scheme": {set(func(s *Strategy) { s.Master = "kubernetes.default.svc" }), inPod(), []string{`Master is "kubernetes.default.svc"`, "https"}},
		"several":                   {set(func(s *Strategy) { s.Port, s.Mode, s.Service = -1, 5, "" }), inPod(), []string{"Port is -1", "Mode is 5", "Service and Selector are empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tt.strategy.check(tt.env)
			if len(tt.says) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is taken for valid")
			}
			for _, say := range tt.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("the error is %q, want %q in that", err, say)
				}
			}
			r := cluster.NewRoster("", nil, func(c cluster.Change) { t.Errorf("Run tells %v", c) })
			if ran := tt.strategy.run(t.Context(), r, tt.env, usual()); ran == nil || ran.Error() != err.Error() {
				t.Errorf("Run returns %v, want the error of Validate", ran)
			}
		})
	}
}

// TestStartRefuses has a mistake stop a program at its start, and not later.
func TestStartRefuses(t *testing.T) {
	_, err := cluster.Start(t.Context(), []cluster.Topology{{Name: "web", Strategy: Strategy{Port: -1}}})
	if err == nil || !strings.Contains(err.Error(), `topology "web"`) || !strings.Contains(err.Error(), "Port is -1") {
		t.Errorf("Start returns %v, want an error that names the topology and the port", err)
	}
}

// TestDefaults has where settings come from that aren't given.
func TestDefaults(t *testing.T) {
	file := kubeconfig(t)
	ofHost := inPod()
	unnamed := inPod()
	unnamed.hostname = func() (string, error) { return "", errors.New("no name") }
	for name, tt := range map[string]struct {
		strategy   Strategy
		env        environment
		self       cluster.Node
		namespaces string
		port       int
		prefer6    bool
		pod        string
	}{
		"in a pod":              {Strategy{}, ofHost, "", "app", 4370, false, "app/web-0"},
		"the port of this node": {Strategy{}, ofHost, "10.0.0.1:5000", "app", 5000, false, "app/web-0"},
		"a port":                {Strategy{Port: 1}, ofHost, "10.0.0.1:5000", "app", 1, false, "app/web-0"},
		"a port's name":         {Strategy{PortName: "cluster"}, ofHost, "10.0.0.1:5000", "app", 0, false, "app/web-0"},
		"this node has IPv6":    {Strategy{}, ofHost, "[fd00::1]:4370", "app", 4370, true, "app/web-0"},
		"this pod has IPv6":     {Strategy{}, inPod(EnvPodIP, "fd00::1"), "web-0:4370", "app", 4370, true, "app/web-0"},
		"IPv4 all the same":     {Strategy{Family: PreferIPv4}, ofHost, "[fd00::1]:4370", "app", 4370, false, "app/web-0"},
		"IPv6 all the same":     {Strategy{Family: PreferIPv6}, ofHost, "10.0.0.1:4370", "app", 4370, true, "app/web-0"},
		"the downward API":      {Strategy{}, inPod(EnvPodName, "web-1", EnvNamespace, "other"), "", "app", 4370, false, "app/web-1"},
		"no service account":    {Strategy{}, outside(EnvPodName, "web-1", EnvNamespace, "other"), "", "other", 4370, false, "other/web-1"},
		"namespaces":            {Strategy{Namespaces: []string{"b", "a", "b"}}, ofHost, "", "a b", 4370, false, "app/web-0"},
		"a context's namespace": {Strategy{Kubeconfig: file}, outside(), "", "app", 4370, false, "/"},
		"a context without one": {Strategy{Kubeconfig: file, Context: "default"}, outside(), "", "default", 4370, false, "/"},
		"a host without a name": {Strategy{}, unnamed, "", "app", 4370, false, "app/"},
		"a host that is no pod": {Strategy{Namespaces: []string{"app"}}, outside(), "", "app", 4370, false, "/"},
	} {
		t.Run(name, func(t *testing.T) {
			_, inContext, err := tt.strategy.config(tt.env)
			if err != nil && tt.strategy.Kubeconfig != "" {
				t.Fatal(err)
			}
			namespaces, err := tt.strategy.namespaces(tt.env, inContext)
			if err != nil || strings.Join(namespaces, " ") != tt.namespaces {
				t.Errorf("the namespaces are %q (%v), want %q", namespaces, err, tt.namespaces)
			}
			n := tt.strategy.naming(tt.env, tt.self)
			if guessed := n.self.namespace != "" && tt.env.getenv(EnvPodName) == ""; n.self.guessed != guessed {
				t.Errorf("the name of the pod is guessed: %t, want %t", n.self.guessed, guessed)
			}
			if n.port != tt.port || n.prefer6 != tt.prefer6 || n.self.namespace+"/"+n.self.name != tt.pod {
				t.Errorf("the port is %d, IPv6 preferred %t, the pod %+v; want %d, %t, %s", n.port, n.prefer6, n.self, tt.port, tt.prefer6, tt.pod)
			}
		})
	}
}

// TestEqual has Apply leave a topology alone that hasn't changed.
func TestEqual(t *testing.T) {
	a, b := FromClientset(fake.NewClientset()), FromClientset(fake.NewClientset())
	with := func(c *Client, namespaces ...string) Strategy {
		return Strategy{Service: "web-nodes", Client: c, Namespaces: namespaces}
	}
	for name, tt := range map[string]struct {
		a     Strategy
		b     cluster.Strategy
		equal bool
	}{
		"the same":          {with(a, "app"), with(a, "app"), true},
		"another client":    {with(a), with(b), false},
		"another namespace": {with(a, "app"), with(a, "b"), false},
		"another strategy":  {with(a), cluster.Poll(time.Second, nil), false},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.a.Equal(tt.b) != tt.equal {
				t.Errorf("Equal is %t", !tt.equal)
			}
		})
	}
}
