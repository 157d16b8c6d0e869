package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	composetypes "github.com/compose-spec/compose-go/v2/types"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// TestKubernetes: every manifest is valid for its kind, without an unknown field, and the
// references between them are consistent.
func TestKubernetes(t *testing.T) {
	set, service, budget, policy, config := new(appsv1.StatefulSet), new(corev1.Service), new(policyv1.PodDisruptionBudget), new(networkingv1.NetworkPolicy), new(corev1.ConfigMap)
	resources := new(kustomization)
	kinds := map[string]any{
		"Namespace": new(corev1.Namespace), "StatefulSet": set, "Service": service, "PodDisruptionBudget": budget, "NetworkPolicy": policy, "ConfigMap": config,
		"Kustomization": resources,
	}
	dir := filepath.Join(fixture.root, "deploy", "kubernetes")
	manifests, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(manifests) != len(kinds) {
		t.Fatalf("%q, %v", manifests, err)
	}
	for _, file := range manifests {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var of struct{ Kind string }
		if err := yaml.Unmarshal(body, &of); err != nil || kinds[of.Kind] == nil {
			t.Fatalf("%s: kind %q, %v", file, of.Kind, err)
		}
		if err := yaml.UnmarshalStrict(body, kinds[of.Kind]); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, name := range resources.Resources {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	pod := set.Spec.Template
	for what, selector := range map[string]map[string]string{
		"StatefulSet": set.Spec.Selector.MatchLabels, "Service": service.Spec.Selector, "PodDisruptionBudget": budget.Spec.Selector.MatchLabels, "NetworkPolicy": policy.Spec.PodSelector.MatchLabels,
	} {
		for key, value := range selector {
			if pod.Labels[key] != value {
				t.Errorf("%s selects %s=%s, and the pod has %v", what, key, value, pod.Labels)
			}
		}
	}
	c := pod.Spec.Containers[0]
	if s := c.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || len(s.Capabilities.Drop) != 1 || *pod.Spec.SecurityContext.RunAsUser != imageUser {
		t.Errorf("%+v, %+v", s, pod.Spec.SecurityContext)
	}
	if service.Spec.Ports[0].TargetPort.String() != c.Ports[0].Name || c.LivenessProbe.TCPSocket.Port.String() != c.Ports[0].Name {
		t.Errorf("ports %+v, service %+v", c.Ports, service.Spec.Ports)
	}
	checkSettings(t, config.Data["porchlight.yaml"])
	r := new(release)
	if mount := c.VolumeMounts[0]; r.imageConfig().Volumes[mount.MountPath] != struct{}{} || mount.Name != set.Spec.VolumeClaimTemplates[0].Name || mount.MountPath != dataDir {
		t.Errorf("%+v", mount)
	}
}

// A kustomization has the fields that ours uses.
type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Namespace  string   `json:"namespace"`
	Resources  []string `json:"resources"`
	Images     []struct {
		Name   string `json:"name"`
		NewTag string `json:"newTag"`
	} `json:"images"`
}

// checkSettings asks the server about a settings file.
func checkSettings(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "porchlight.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &service{}
	if printed, err := s.other(t, fixture.binary, "config", "check", "--config", file); err != nil {
		t.Errorf("%v: %s\n%s", err, printed, text)
	}
}

// TestDashboard: Grafana's published types have every field of the dashboard, of its panels'
// options and of its queries. TestDashboard and TestPrometheus in package server check what
// the fields say.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(fixture.root, "deploy", "grafana", "porchlight.json"))
	if err != nil {
		t.Fatal(err)
	}
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	if err := unlessEmpty(new(dashboard.Dashboard).UnmarshalJSONStrict(text)); err != nil { //nolint:staticcheck // version 2 of the form needs Grafana 12
		t.Error(err)
	}
	// The types of panels leave out the fields that all panels have in fieldConfig.
	var raw struct {
		Panels []struct {
			Title       string
			Type        string
			FieldConfig json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	for _, p := range raw.Panels {
		if _, known := cog.ConfigForPanelcfgVariant(p.Type); !known && p.Type != "row" {
			t.Errorf("%s: register the type %s above", p.Title, p.Type)
		}
		if err := unlessEmpty(new(dashboard.FieldConfigSource).UnmarshalJSONStrict(p.FieldConfig)); err != nil {
			t.Errorf("%s: fieldConfig: %v", p.Title, err)
		}
	}
}

// unlessEmpty returns an error, or nil for a list of no errors.
func unlessEmpty(err error) error {
	if errs, ok := errors.AsType[cog.BuildErrors](err); ok && len(errs) == 0 {
		return nil
	}
	return err
}

// TestCompose: the file is valid by the Compose specification, and the server accepts its
// settings, with and without a proxy.
func TestCompose(t *testing.T) {
	for _, proxies := range []string{"", "172.16.0.0/12"} {
		environment := (&release{}).imageConfig().Env
		for name, value := range composeService(t, map[string]string{"PORCHLIGHT_TRUSTED_PROXIES": proxies}).Environment {
			environment = append(environment, name+"="+*value)
		}
		server := &service{env: environment}
		printed, err := server.other(t, fixture.binary, "config", "print")
		if err != nil {
			t.Errorf("%v\n%s", err, printed)
		}
		var settings struct {
			Proxies string `json:"trusted-proxies"`
		}
		if err := yaml.Unmarshal(printed, &settings); err != nil || settings.Proxies != proxies {
			t.Errorf("%v: trusted-proxies %q, want %q", err, settings.Proxies, proxies)
		}
	}
	s := composeService(t, nil)
	if s.Image != "porchlight:0.1.0" || !s.ReadOnly || s.User != "65532:65532" || s.Volumes[0].Target != dataDir {
		t.Errorf("%+v", s)
	}
	if want := new(release).imageConfig().Healthcheck.Test; strings.Join(s.HealthCheck.Test, " ") != strings.Join(want, " ") {
		t.Errorf("health check %q, that of the image is %q", s.HealthCheck.Test, want)
	}
}

// composeService is the service of the Compose file with these variables.
func composeService(t *testing.T, variables map[string]string) composetypes.ServiceConfig {
	t.Helper()
	environment := map[string]string{"PORCHLIGHT_VERSION": "0.1.0"}
	maps.Copy(environment, variables)
	project, err := loader.LoadWithContext(t.Context(), composetypes.ConfigDetails{
		ConfigFiles: []composetypes.ConfigFile{{Filename: filepath.Join(fixture.root, "deploy", "compose.yaml")}}, Environment: environment,
	})
	if err != nil {
		t.Fatal(err)
	}
	return project.Services["porchlight"]
}

// TestSettingsFile: the settings file of a package is valid, and still is when every
// setting that it has as a comment is set.
func TestSettingsFile(t *testing.T) {
	text := string(fixture.shared.settings.body)
	checkSettings(t, text)
	set, n := "", 0
	for line := range strings.Lines(text) {
		if setting, commented := strings.CutPrefix(line, "#"); commented && settingLine.MatchString(strings.TrimSuffix(setting, "\n")) {
			line = setting
			n++
		}
		set += line
	}
	if n < 40 {
		t.Errorf("only %d settings:\n%s", n, text)
	}
	checkSettings(t, set)
}
