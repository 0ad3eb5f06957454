{{/* Autoscalers of gateway and dispatcher. There is none for workers: NOTES.txt says why. */}}

{{/*
(dict "root" $ "component" NAME "own" PART "service" NAME "metric" NAME "aggregation" HOW "query" PROMQL): the part's HPA or
ScaledObject, or nothing.
*/}}
{{- define "backburner.autoscaler" -}}
{{- $name := printf "%s-%s" (include "backburner.fullname" .root) .component -}}
{{- $scaling := .own.autoscaling -}}
{{- if and .own.enabled (ne $scaling.kind "none") -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling: minReplicas is above maxReplicas; raise the latter" .component) -}}
{{- end -}}
{{- if eq $scaling.kind "hpa" }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "backburner.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ int $scaling.minReplicas }}
  maxReplicas: {{ int $scaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ int $scaling.cpuPercent }}}
    {{- with $scaling.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  behavior:
    {{- toYaml $scaling.behavior | nindent 4 }}
{{- else }}
{{- include "backburner.needs" (dict "root" .root "api" "keda.sh/v1alpha1" "value" (printf "%s.autoscaling.kind: keda" .component)) }}
{{- $keda := $scaling.keda }}
{{- $prometheus := eq $keda.source "prometheus" }}
{{- if and $prometheus (not $keda.prometheus.serverAddress) }}
{{- fail (printf "%s.autoscaling.keda.prometheus.serverAddress: the source is prometheus; say where it is" .component) }}
{{- end }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ $name }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "backburner.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicaCount: {{ int $scaling.minReplicas }}
  maxReplicaCount: {{ int $scaling.maxReplicas }}
  pollingInterval: {{ int $keda.pollingIntervalSeconds }}
  # A metric that cannot be read is no reason to scale in.
  fallback:
    failureThreshold: {{ int $keda.failureThreshold }}
    replicas: {{ int (default $scaling.minReplicas $keda.fallbackReplicas) }}
    behavior: currentReplicasIfHigher
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- toYaml $scaling.behavior | nindent 8 }}
  triggers:
    {{- if $prometheus }}
    - type: prometheus
      metadata:
        serverAddress: {{ $keda.prometheus.serverAddress | quote }}
        query: {{ default .query $keda.prometheus.query | quote }}
        threshold: {{ int64 $keda.threshold | quote }}
        # No answer is a failure, and no load of 0.
        ignoreNullValues: "false"
        {{- if $keda.prometheus.authSecret }}
        authModes: {{ $keda.prometheus.authModes | quote }}
      authenticationRef:
        name: {{ $name }}-prometheus
        {{- end }}
    {{- else }}
    - type: metrics-api
      metadata:
        url: http://{{ .service }}.{{ .root.Release.Namespace }}.svc.cluster.local:8080/metrics
        format: prometheus
        valueLocation: {{ .metric }}
        aggregateFromKubeServiceEndpoints: "true"
        aggregationType: {{ .aggregation }}
        targetValue: {{ int64 $keda.threshold | quote }}
    {{- end }}
{{- if and $prometheus $keda.prometheus.authSecret }}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: {{ $name }}-prometheus
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "backburner.labels" . | nindent 4 }}
spec:
  secretTargetRef:
    {{- range $keda.prometheus.authKeys }}
    - {parameter: {{ . | quote }}, name: {{ $keda.prometheus.authSecret | quote }}, key: {{ . | quote }}}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
