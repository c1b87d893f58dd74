{{- define "gms.namespace" -}}
{{- .Values.namespace.name | default .Release.Namespace -}}
{{- end -}}

{{/* Labels of objects that belong to the product as a whole. */}}
{{- define "gms.labels" -}}
{{- toYaml (merge (dict "app.kubernetes.io/part-of" "gpu-metrics-server") .Values.commonLabels) -}}
{{- end -}}

{{/* Labels of the server's own objects. */}}
{{- define "gms.serverLabels" -}}
{{- toYaml (merge (dict "app.kubernetes.io/name" "gpu-metrics-server" "app.kubernetes.io/part-of" "gpu-metrics-server") .Values.commonLabels) -}}
{{- end -}}

{{- define "gms.exporterLabels" -}}
{{- toYaml (merge (dict "app.kubernetes.io/name" "dcgm-exporter" "app.kubernetes.io/part-of" "gpu-metrics-server") .Values.commonLabels) -}}
{{- end -}}

{{/* An image by its tag and digest. Argument: a dict of image and tag, the default tag. */}}
{{- define "gms.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .tag) -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "gms.subjects" -}}
- kind: ServiceAccount
  name: gpu-metrics-server
  namespace: {{ include "gms.namespace" . | quote }}
{{- end -}}

{{/*
The Services of the preset's exporters, as a list in JSON. It is empty for the preset `none`.
*/}}
{{- define "gms.presetServices" -}}
{{- $preset := .Values.exporters.preset -}}
{{- $namespace := .Values.exporters.namespace -}}
{{- if eq $preset "dcgm" -}}
{{- list (dict "namespace" (include "gms.namespace" .) "name" "dcgm-exporter") | toJson -}}
{{- else if eq $preset "gpu-operator" -}}
{{- $default := ternary "nvidia-gpu-operator" "gpu-operator" (eq .Values.platform "openshift") -}}
{{- list (dict "namespace" ($namespace | default $default) "name" "nvidia-dcgm-exporter") | toJson -}}
{{- else if eq $preset "amd" -}}
{{- list (dict "namespace" ($namespace | default "kube-amd-gpu") "name" "default-metrics-exporter") | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* The server's configuration, in JSON. */}}
{{- define "gms.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $exporters := $config.exporters | default dict -}}
{{- if not (or $exporters.urls $exporters.services) -}}
{{- $_ := set $exporters "services" (include "gms.presetServices" . | fromJsonArray) -}}
{{- $_ := set $config "exporters" $exporters -}}
{{- end -}}
{{- if eq .Values.certificates.mode "self-managed" -}}
{{- $_ := set $config "certificates" (dict "namespace" (include "gms.namespace" .)) -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* "true" if the server's configuration has exporters; empty where the preset is `none` and it names none. */}}
{{- define "gms.hasExporters" -}}
{{- $exporters := .Values.config.exporters | default dict -}}
{{- if or (ne .Values.exporters.preset "none") $exporters.services $exporters.urls }}true{{ end -}}
{{- end -}}

{{/* The namespaces that the server is limited to, as a list in JSON; empty is all. */}}
{{- define "gms.namespaces" -}}
{{- dig "pods" "namespaces" list .Values.config | toJson -}}
{{- end -}}

{{/*
Binds a ClusterRole to the server: in every namespace, or in those that it is limited to.
Arguments: root, role; and optionally namespaces, in place of those.
*/}}
{{- define "gms.binding" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- $limited := include "gms.namespaces" $root | fromJsonArray -}}
{{- range (.namespaces | default $limited | default (list "")) | uniq }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne . "") }}
metadata:
  name: {{ $role | quote }}
  {{- with . }}
  namespace: {{ . | quote }}
  {{- end }}
  labels:
    {{- include "gms.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $role | quote }}
subjects:
  {{- include "gms.subjects" $root | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Fails with a sentence where values contradict each other. */}}
{{- define "gms.check" -}}
{{- $namespace := include "gms.namespace" . -}}
{{- if and .Values.namespace.create (eq $namespace .Release.Namespace) -}}
{{- fail (printf "namespace.create: the chart cannot create the release's own namespace, %s, because Helm keeps its record of the release there; use `helm install --create-namespace` in place of namespace.create, or set namespace.name and install the release into another namespace, such as default" $namespace) -}}
{{- end -}}
{{- if not (or .Values.apis.external .Values.apis.custom) -}}
{{- fail "apis.external and apis.custom are both false: nothing would be served" -}}
{{- end -}}
{{- if and .Values.certificates.caBundle (ne .Values.certificates.mode "own") -}}
{{- fail (printf "certificates.caBundle is for certificates.mode own; with %s the caBundle is written for you" .Values.certificates.mode) -}}
{{- end -}}
{{- if and .Values.priorityClass.create (not .Values.priorityClass.name) -}}
{{- fail "priorityClass.create is true, but priorityClass.name is empty: name the class, or set priorityClass.create to false for none" -}}
{{- end -}}
{{- $without := eq (include "gms.hasExporters" .) "" -}}
{{- if and $without (ne (dig "prometheus" "use" "" .Values.config) "only") -}}
{{- fail "exporters.preset is none: name your exporters in config.exporters.services or config.exporters.urls, or read every metric from Prometheus, with config.prometheus.use: only" -}}
{{- end -}}
{{- $policy := .Values.networkPolicy -}}
{{- if $policy.enabled -}}
{{- $urls := dig "exporters" "urls" list .Values.config -}}
{{- if not $policy.apiServerPorts -}}
{{- fail "networkPolicy.apiServerPorts is empty, which would open every port: name the ports of kube-apiserver, such as {443,6443}" -}}
{{- end -}}
{{- if not (or $without $urls $policy.exporterPorts) -}}
{{- fail "networkPolicy.exporterPorts is empty, which would open every port: name the ports of your exporters, such as {9400}" -}}
{{- end -}}
{{- if and $policy.podPages.enabled (not $policy.podPages.to) -}}
{{- fail "networkPolicy.podPages.to is empty, which would open every address: name at least one peer, such as [{namespaceSelector: {}}] for every pod" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.exporters.namespace (has .Values.exporters.preset (list "dcgm" "none")) -}}
{{- fail (printf "exporters.namespace is only for an operator's exporters; exporters.preset is %s" .Values.exporters.preset) -}}
{{- end -}}
{{- end -}}
