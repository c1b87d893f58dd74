{{/* The registration of an API with kube-apiserver. Arguments: root, group, version. */}}
{{- define "gms.apiService" -}}
{{- $certificates := .root.Values.certificates -}}
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata:
  name: {{ .version }}.{{ .group }}
  labels:
    {{- include "gms.labels" .root | nindent 4 }}
  {{- if eq $certificates.mode "cert-manager" }}
  annotations:
    cert-manager.io/inject-ca-from: {{ include "gms.namespace" .root }}/gpu-metrics-server
  {{- end }}
spec:
  group: {{ .group }}
  version: {{ .version }}
  groupPriorityMinimum: 100
  versionPriority: 100
  service:
    namespace: {{ include "gms.namespace" .root | quote }}
    name: gpu-metrics-server
    port: 443
  {{- with $certificates.caBundle }}
  caBundle: {{ b64enc . }}
  {{- end }}
{{- end -}}

{{/* The right to write the caBundle of one APIService. Arguments: root, role, apiService. */}}
{{- define "gms.caBundleRole" -}}
{{- if eq .root.Values.certificates.mode "self-managed" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .role | quote }}
  labels:
    {{- include "gms.labels" .root | nindent 4 }}
rules:
  # The caBundle that kube-apiserver verifies the server with, in this APIService only.
  - apiGroups: [apiregistration.k8s.io]
    resources: [apiservices]
    resourceNames: [{{ .apiService }}]
    verbs: [get, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .role | quote }}
  labels:
    {{- include "gms.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ .role | quote }}
subjects:
  {{- include "gms.subjects" .root | nindent 2 }}
{{- end }}
{{- end -}}
