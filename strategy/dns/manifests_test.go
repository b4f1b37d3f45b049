package dns

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// TestManifests has the manifests of the doc comments be ones that Kubernetes
// takes, fit each other and the strategies beside them, and do what the comments
// say: the service is headless and lists pods that aren't ready.
func TestManifests(t *testing.T) {
	doc, fields := comments(t)
	var service corev1.Service
	decodeYAML(t, block(t, doc, "kind: Service\n"), &service)
	var set appsv1.StatefulSet
	decodeYAML(t, block(t, doc, "kind: StatefulSet\n"), &set)
	var pod struct{ Env []corev1.EnvVar }
	decodeYAML(t, block(t, fields, "env:\n"), &pod)

	if service.Spec.ClusterIP != corev1.ClusterIPNone || !service.Spec.PublishNotReadyAddresses {
		t.Errorf("the service has the cluster IP %q and publishNotReadyAddresses %v", service.Spec.ClusterIP, service.Spec.PublishNotReadyAddresses)
	}
	template := set.Spec.Template
	if selector := labels.SelectorFromSet(service.Spec.Selector); selector.Empty() || !selector.Matches(labels.Set(template.Labels)) {
		t.Errorf("the service selects %s, and the pods have %v", selector, template.Labels)
	}
	if set.Spec.ServiceName != service.Name || set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Errorf("the StatefulSet is of the service %q, %s; want %q and Parallel", set.Spec.ServiceName, set.Spec.PodManagementPolicy, service.Name)
	}
	if len(service.Spec.Ports) != 1 || len(template.Spec.Containers) != 1 || len(template.Spec.Containers[0].Ports) != 1 {
		t.Fatalf("want one port of the service and of the pods: %v, %v", service.Spec, template.Spec)
	}
	port := service.Spec.Ports[0]
	if c := template.Spec.Containers[0].Ports[0]; c.ContainerPort != port.Port || port.Name != "cluster" || port.Port != 4370 {
		t.Errorf("the service has the port %s %d, and the pods %d; want cluster, 4370", port.Name, port.Port, c.ContainerPort)
	}
	for _, text := range []string{
		`dns.Kubernetes{Service: "` + service.Name + `", Port: 4370}`,
		`dns.Kubernetes{Service: "` + service.Name + `", SRV: true, PortName: "` + port.Name + `"}`,
	} {
		block(t, doc, text+"\n")
	}
	if len(pod.Env) != 1 || pod.Env[0].Name != EnvNamespace || pod.Env[0].ValueFrom.FieldRef.FieldPath != "metadata.namespace" {
		t.Errorf("the pod's environment is %v", pod.Env)
	}
}

// comments returns what is said of the type Kubernetes, and of its fields.
func comments(t *testing.T) (doc, fields string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "kubernetes.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE || decl.Specs[0].(*ast.TypeSpec).Name.Name != "Kubernetes" {
			continue
		}
		for _, field := range decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType).Fields.List {
			fields += field.Doc.Text() + "\n"
		}
		return decl.Doc.Text(), fields
	}
	t.Fatal("there is no type Kubernetes")
	return "", ""
}

// block returns the block of code of a comment that has a text.
func block(t *testing.T, comment, text string) string {
	t.Helper()
	for _, b := range regexp.MustCompile(`(?m)(^\t.*\n)+`).FindAllString(comment, -1) {
		if b = strings.ReplaceAll("\n"+b, "\n\t", "\n"); strings.Contains(b, "\n"+text) {
			return b
		}
	}
	t.Fatalf("the comment has no block with %q", text)
	return ""
}

// decodeYAML reads one document, which may have no field that its type lacks.
func decodeYAML(t *testing.T, manifest string, v any) {
	t.Helper()
	data, err := yaml.ToJSON([]byte(manifest))
	if err != nil {
		t.Fatalf("%v:\n%s", err, manifest)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v:\n%s", err, manifest)
	}
}
