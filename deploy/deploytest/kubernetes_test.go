package deploytest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/freshet-dev/freshet/internal/service"
)

// cluster is what `kubectl apply -k` would make, decoded strictly.
type cluster struct {
	deployments map[string]*apps.Deployment
	budgets     map[string]*policy.PodDisruptionBudget
	scaler      *autoscaling.HorizontalPodAutoscaler
	network     *networking.NetworkPolicy
	service     *core.Service
	config      *core.ConfigMap
}

func (c *cluster) add(t *testing.T, text []byte) {
	t.Helper()
	var kind meta.TypeMeta
	if err := yaml.Unmarshal(text, &kind); err != nil {
		t.Fatal(err)
	}
	decode := func(object any) {
		t.Helper()
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 Deployment":
		var d apps.Deployment
		decode(&d)
		c.deployments[d.Name] = &d
	case "policy/v1 PodDisruptionBudget":
		var b policy.PodDisruptionBudget
		decode(&b)
		c.budgets[b.Name] = &b
	case "autoscaling/v2 HorizontalPodAutoscaler":
		decode(&c.scaler)
	case "networking.k8s.io/v1 NetworkPolicy":
		decode(&c.network)
	case "v1 Service":
		decode(&c.service)
	case "v1 ConfigMap":
		decode(&c.config)
	default:
		t.Errorf("nobody looks at a %s %s", kind.APIVersion, kind.Kind)
	}
}

func newCluster() *cluster {
	return &cluster{deployments: map[string]*apps.Deployment{}, budgets: map[string]*policy.PodDisruptionBudget{}}
}

func kustomized(t *testing.T) *cluster {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), deployed+"/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster()
	for _, resource := range resources.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		c.add(t, text)
	}
	if len(c.deployments) != len(service.Roles()) || c.scaler == nil || c.network == nil || c.service == nil || c.config == nil {
		t.Fatalf("something is missing in %+v", c)
	}
	return c
}

// Each file is right by itself, the patch too.
func TestKubernetesFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(deployed + "/kubernetes/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if slices.Contains([]string{"freshet.yaml", "kustomization.yaml"}, filepath.Base(path)) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
			newCluster().add(t, document)
		}
	}
}

// Two consumers and two invalidators, of which one works and one waits, survive a
// drain; warmers are the autoscaler's.
func TestKubernetesReplicas(t *testing.T) {
	t.Parallel()
	c := kustomized(t)
	for _, role := range service.Roles() {
		d, b := c.deployments[role], c.budgets[role]
		if d == nil || b == nil {
			t.Fatalf("%s has no deployment or no budget", role)
		}
		pod := d.Spec.Template
		if want := []string{"run", "--roles", role}; !slices.Equal(pod.Spec.Containers[0].Args, want) {
			t.Errorf("%s runs %v", role, pod.Spec.Containers[0].Args)
		}
		for name, selector := range map[string]*meta.LabelSelector{"deployment": d.Spec.Selector, "budget": b.Spec.Selector} {
			s, err := meta.LabelSelectorAsSelector(selector)
			if err != nil || s.Empty() || !s.Matches(labels.Set(pod.Labels)) {
				t.Errorf("the %s of %s does not select its pods: %v, %v", name, role, selector, err)
			}
			for _, other := range service.Roles() {
				if other != role && s.Matches(labels.Set(c.deployments[other].Spec.Template.Labels)) {
					t.Errorf("the %s of %s selects the pods of %s", name, role, other)
				}
			}
		}
		if role == service.RoleWarmer {
			if d.Spec.Replicas != nil || c.scaler.Spec.ScaleTargetRef.Name != role || *c.scaler.Spec.MinReplicas < 1 {
				t.Errorf("%s is not scaled by its autoscaler: %v, %+v", role, d.Spec.Replicas, c.scaler.Spec)
			}
			continue
		}
		if d.Spec.Replicas == nil || *d.Spec.Replicas != 2 || b.Spec.MinAvailable.IntValue() != 1 {
			t.Errorf("%s: replicas %v, of which at least %v", role, d.Spec.Replicas, b.Spec.MinAvailable)
		}
	}
	if !labels.SelectorFromSet(c.service.Spec.Selector).Matches(labels.Set(c.deployments[service.RoleInvalidator].Spec.Template.Labels)) {
		t.Errorf("the service selects %v", c.service.Spec.Selector)
	}
}

// Every pod is confined, probed at the right pages, and measured.
func TestKubernetesPods(t *testing.T) {
	t.Parallel()
	c := kustomized(t)
	for role, d := range c.deployments {
		pod := d.Spec.Template.Spec
		container := pod.Containers[0]
		fact := func(name string, ok bool) {
			if !ok {
				t.Errorf("%s: %s", role, name)
			}
		}
		fact("may be root", *pod.SecurityContext.RunAsNonRoot && *pod.SecurityContext.RunAsUser > 0)
		fact("seccomp", pod.SecurityContext.SeccompProfile.Type == core.SeccompProfileTypeRuntimeDefault)
		fact("has a token", !*pod.AutomountServiceAccountToken)
		fact("may gain rights", !*container.SecurityContext.AllowPrivilegeEscalation)
		fact("writes its root", *container.SecurityContext.ReadOnlyRootFilesystem)
		fact("keeps capabilities", slices.Equal(container.SecurityContext.Capabilities.Drop, []core.Capability{"ALL"}))
		fact("liveness", container.LivenessProbe.HTTPGet.Path == "/healthz" && container.LivenessProbe.HTTPGet.Port.StrVal == container.Ports[0].Name)
		fact("readiness", container.ReadinessProbe.HTTPGet.Path == "/readyz" && container.ReadinessProbe.HTTPGet.Port.StrVal == container.Ports[0].Name)
		fact("requests", !container.Resources.Requests.Cpu().IsZero() && !container.Resources.Requests.Memory().IsZero())
		fact("memory limit", container.Resources.Limits.Memory().Cmp(*container.Resources.Requests.Memory()) > 0)
		fact("processor limit", container.Resources.Limits.Cpu().IsZero())
		fact("image without a tag", strings.Contains(container.Image, ":"))
		fact("configuration", volume(pod, "config").ConfigMap.Name == c.config.Name && c.config.Name != "freshet")
		fact("time to stop", *pod.TerminationGracePeriodSeconds > 10)
	}
}

// Each role has a secret of its own, with what the commands in the comment put there:
// no password is elsewhere, and the program takes the configuration with the pod's
// files and environment. Its users are those that deploy/ makes.
func TestKubernetesSecrets(t *testing.T) {
	t.Parallel()
	const folder = "/run/secrets/freshet"
	c := kustomized(t)
	made := secrets(t)
	for role, d := range c.deployments {
		pod := d.Spec.Template.Spec
		container, source := pod.Containers[0], volume(pod, "secrets").Secret
		if source == nil || source.SecretName != role || len(made[role]) == 0 {
			t.Fatalf("%s has the secret %+v, of %v", role, source, made)
		}
		if *source.DefaultMode != 0o440 || *pod.SecurityContext.FSGroup != *pod.SecurityContext.RunAsGroup {
			t.Errorf("%s: mode %o for group %d", role, *source.DefaultMode, *pod.SecurityContext.FSGroup)
		}
		if !slices.ContainsFunc(container.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == "secrets" && m.MountPath == folder && m.ReadOnly }) {
			t.Errorf("%s mounts %v", role, container.VolumeMounts)
		}
		here := t.TempDir()
		for _, key := range made[role] {
			if err := os.WriteFile(filepath.Join(here, key), []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var environment []string
		users := map[string]string{}
		for _, variable := range container.Env {
			if variable.ValueFrom != nil || strings.Contains(variable.Value, "://") {
				t.Errorf("%s: %s may hold a password: %+v", role, variable.Name, variable)
			}
			users[variable.Name] = variable.Value
			environment = append(environment, variable.Name+"="+strings.ReplaceAll(variable.Value, folder, here))
		}
		config := write(t, "freshet.yaml", strings.ReplaceAll(c.config.Data["freshet.yaml"], folder, here))
		accepts(t, config, environment)

		keys, line, script := []string{"nats", "postgres", "redis"}, "CREATE ROLE freshet_reader LOGIN NOSUPERUSER", "sql/reader.sql"
		if role == service.RoleConsumer {
			keys, line, script = []string{"nats", "postgres"}, "CREATE ROLE freshet LOGIN REPLICATION", "sql/role.sql"
		}
		if !slices.Equal(made[role], keys) {
			t.Errorf("%s has %v, want %v", role, made[role], keys)
		}
		if user := users["NATS_USER"]; user != role || !strings.Contains(string(read(t, "nats/permissions.conf")), "user: "+user+",") {
			t.Errorf("%s is %s on NATS", role, user)
		}
		if user := users["POSTGRES_USER"]; !strings.Contains(line, " "+user+" ") || !strings.Contains(string(read(t, script)), line) {
			t.Errorf("%s is %s in Postgres", role, user)
		}
	}
}

// secrets are the keys of each secret that the commands in the comment make.
func secrets(t *testing.T) map[string][]string {
	t.Helper()
	made := map[string][]string{}
	for line := range strings.Lines(string(read(t, "kubernetes/kustomization.yaml"))) {
		words := strings.Fields(strings.TrimPrefix(line, "#"))
		if len(words) < 7 || !slices.Equal(words[:6], strings.Fields("kubectl -n freshet create secret generic")) {
			continue
		}
		for _, word := range words[7:] {
			key, _, _ := strings.Cut(strings.TrimPrefix(word, "--from-literal="), "=")
			made[words[6]] = append(made[words[6]], key)
		}
		slices.Sort(made[words[6]])
	}
	return made
}

func volume(pod core.PodSpec, name string) core.Volume {
	at := slices.IndexFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == name })
	if at < 0 {
		return core.Volume{}
	}
	return pod.Volumes[at]
}

// Who gets in is said, and out go names and the three servers alone.
func TestKubernetesNetwork(t *testing.T) {
	t.Parallel()
	spec := kustomized(t).network.Spec
	if !slices.Contains(spec.PolicyTypes, networking.PolicyTypeIngress) || !slices.Contains(spec.PolicyTypes, networking.PolicyTypeEgress) {
		t.Errorf("the policy is about %v", spec.PolicyTypes)
	}
	for _, rule := range spec.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) == 0 {
			t.Errorf("anybody gets in: %+v", rule)
		}
	}
	var ports []int32
	for _, rule := range spec.Egress {
		for _, p := range rule.Ports {
			ports = append(ports, p.Port.IntVal)
		}
	}
	slices.Sort(ports)
	if want := []int32{53, 53, 4222, 5432, 6379}; !slices.Equal(ports, want) {
		t.Errorf("pods reach the ports %v, want %v", ports, want)
	}
}

// accepts expects that the program takes a configuration with this environment and
// no other.
func accepts(t *testing.T, config string, environment []string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program(t), "explain", "-c", config, "orders", `{"id":1,"client_id":1}`)
	cmd.Env = environment
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "order:1") {
		t.Errorf("%s with %v: %v\n%s", config, environment, err, out)
	}
}
