{{/* The port of a URL: the one that it names, or that of its scheme. */}}
{{- define "gms.port" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{/*
The namespace of the Service in a URL, such as http://SERVICE.NAMESPACE:9090 or, with the cluster's domain
or without it, http://SERVICE.NAMESPACE.svc:9090; empty for a host outside the cluster. Arguments: url,
and own: the namespace of a Service that is named alone.
*/}}
{{- define "gms.serviceNamespace" -}}
{{- $host := (urlParse .url).hostname -}}
{{- $name := regexReplaceAll "\\.svc(\\..*)?$" $host "" -}}
{{- $labels := splitList "." $name -}}
{{- $count := len $labels -}}
{{- if ternary (ge $count 2) (and (le $count 2) (not (contains ":" $host))) (ne $name $host) -}}
{{- ternary .own (last $labels) (eq $count 1) -}}
{{- end -}}
{{- end -}}

{{/* The rule that lets the server reach the Prometheus of its configuration. */}}
{{- define "gms.prometheusEgress" -}}
{{- $url := .Values.config.prometheus.url -}}
{{- $policy := .Values.networkPolicy.prometheus -}}
{{- $namespace := include "gms.serviceNamespace" (dict "url" $url "own" (include "gms.namespace" .)) -}}
{{- if or $policy.to $namespace -}}
- to:
    {{- if $policy.to }}
    {{- toYaml $policy.to | nindent 4 }}
    {{- else }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $namespace | quote }}
    {{- end }}
  {{- with $policy.ports }}
  ports:
    {{- range . }}
    - protocol: TCP
      port: {{ . | toJson }}
    {{- end }}
  {{- end }}
{{- else -}}
- ports:
    {{- range $policy.ports | default (list (include "gms.port" $url | int)) }}
    - protocol: TCP
      port: {{ . | toJson }}
    {{- end }}
{{- end -}}
{{- end -}}
