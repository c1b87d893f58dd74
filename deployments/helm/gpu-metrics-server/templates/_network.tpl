{{/* The port of a URL: the one that it names, or that of its scheme. */}}
{{- define "gms.port" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{/*
The namespace of the Service in a URL, such as http://SERVICE.NAMESPACE:9090; empty for a host outside of
the cluster. Arguments: url, and own: the namespace of a Service that is named alone.
*/}}
{{- define "gms.serviceNamespace" -}}
{{- $host := (urlParse .url).hostname -}}
{{- $name := regexReplaceAll "\\.svc(\\..*)?$" $host "" -}}
{{- $labels := splitList "." $name -}}
{{- if or (ne $name $host) (and (le (len $labels) 2) (not (contains ":" $host))) -}}
{{- ternary .own (last $labels) (eq (len $labels) 1) -}}
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
