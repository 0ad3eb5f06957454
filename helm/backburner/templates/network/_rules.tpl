{{/* Ways out, as rules of a NetworkPolicy's egress. */}}

{{/* The port of a URL: (dict "url" URL). */}}
{{- define "backburner.urlPort" -}}
{{- $port := regexFind ":[0-9]+$" (urlParse .url).host | trimPrefix ":" -}}
{{- default (ternary "80" "443" (hasPrefix "http:" .url)) $port -}}
{{- end -}}

{{/* Ports of the queue, as a YAML list. */}}
{{- define "backburner.queuePorts" -}}
{{- $ports := list -}}
{{- $url := .Values.queue.url -}}
{{- if hasPrefix "kafka://" $url -}}
{{- range splitList "," (trimPrefix "kafka://" $url) }}{{ $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "9092" | int) }}{{ end -}}
{{- else if contains "endpoint=" $url -}}
{{- /* It may be escaped, and a URL's path is what urlParse unescapes. */ -}}
{{- $endpoint := (urlParse (regexReplaceAll "^.*endpoint=" $url "http://path/")).path | trimPrefix "/" -}}
{{- $ports = list (include "backburner.urlPort" (dict "url" $endpoint) | int) -}}
{{- else -}}
{{- $ports = list 443 -}}
{{- end -}}
{{- range .Values.networkPolicy.queuePorts }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- toYaml ($ports | uniq) -}}
{{- end -}}

{{/* Ports of the object store, as a YAML list. */}}
{{- define "backburner.storePorts" -}}
{{- $ports := list (include "backburner.urlPort" (dict "url" .Values.store.endpoint) | int) -}}
{{- range .Values.networkPolicy.storePorts }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- toYaml ($ports | uniq) -}}
{{- end -}}

{{/* (dict "to" LIST "ports" LIST): one way out; anywhere on these ports if "to" is empty. */}}
{{- define "backburner.wayOut" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* (dict "root" $ "name" SUFFIX "selector" YAML): the head of a policy. */}}
{{- define "backburner.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "backburner.fullname" .root }}-{{ .name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "backburner.labels" (dict "root" .root "component" "network") | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- .selector | nindent 6 }}
{{- end -}}

{{/* Who may read metrics: (dict "root" $ "more" LIST). */}}
{{- define "backburner.metricsIn" -}}
- ports:
    - {protocol: TCP, port: health}
  {{- with .root.Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* (dict "root" $ "name" NAME "group" GROUP): a group's own ways out. */}}
{{- define "backburner.worker.waysOut" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- if and $group.model.source (not (hasPrefix "file:" $group.model.source)) }}
{{ include "backburner.wayOut" (dict "to" $policy.modelTo "ports" (list (include "backburner.urlPort" (dict "url" $group.model.endpoint)))) }}
{{- end }}
{{- if eq $group.engine.kind "openai-http" }}
{{- $ports := list }}
{{- range $group.engine.urls }}{{ $ports = append $ports (include "backburner.urlPort" (dict "url" .) | int) }}{{ end }}
{{- range $policy.enginePorts }}{{ $ports = append $ports (int .) }}{{ end }}
{{ include "backburner.wayOut" (dict "to" $policy.engineTo "ports" ($ports | uniq)) }}
{{- end }}
{{- if has "node" $group.reclaimNotices }}
{{ include "backburner.wayOut" (dict "to" $policy.apiServerTo "ports" $policy.apiServerPorts) }}
{{- end }}
{{- if without $group.reclaimNotices "node" }}
- ports:
    - {protocol: TCP, port: 80}
  to:
    - ipBlock: {cidr: 169.254.169.254/32}
{{- end }}
{{- if has "gcp" $group.reclaimNotices }}
# Where GKE's own metadata server is, as a policy sees it.
- ports:
    - {protocol: TCP, port: 988}
  to:
    - ipBlock: {cidr: 169.254.169.252/32}
    - ipBlock: {cidr: 169.254.169.254/32}
{{- end }}
{{- if gt (int $group.leaderWorkerSet.size) 1 }}
- to:
    - podSelector:
        matchLabels:
          {{- include "backburner.worker.selector" . | nindent 10 }}
{{- end }}
{{- end -}}
