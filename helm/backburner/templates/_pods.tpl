{{/* What all pods have in common. */}}

{{/* A pod's security context. */}}
{{- define "backburner.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .Values.securityContext.runAsUser }}
runAsGroup: {{ int64 .Values.securityContext.runAsGroup }}
fsGroup: {{ int64 .Values.securityContext.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* A container's. */}}
{{- define "backburner.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* (dict "root" $ "own" PART): whole seconds that the part's drain may take, which `env` may have set too. */}}
{{- define "backburner.drainSeconds" -}}
{{- $said := get (mergeOverwrite (deepCopy .root.Values.env) (deepCopy .own.env)) "BACKBURNER_DRAIN_SECONDS" -}}
{{- ternary .own.drainSeconds (default .own.drainSeconds $said) (kindIs "map" $said) | toString | float64 | ceil | int -}}
{{- end -}}

{{/* The bytes of a quantity such as 8Gi. */}}
{{- define "backburner.bytes" -}}
{{- $factors := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "[A-Za-z]*$" (toString .) -}}
{{- if not (hasKey $factors $unit) }}
{{- fail (printf "%v is no size that is known here; write it as in 8Gi" .) }}
{{- end }}
{{- mulf (trimSuffix $unit (toString .) | float64) (get $factors $unit) | int64 -}}
{{- end -}}

{{/* (dict "root" $ "own" PART): where a pod may run, and by whose images. */}}
{{- define "backburner.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "own" PART "component" NAME): how the pods of a part that scales are spread. */}}
{{- define "backburner.spread" -}}
topologySpreadConstraints:
{{- if .own.topologySpreadConstraints }}
  {{- toYaml .own.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "backburner.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "component" NAME "account" PART.serviceAccount): a service account of the release's own. */}}
{{- define "backburner.serviceAccountObject" -}}
{{- if .account.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "backburner.serviceAccount" . | quote }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "backburner.labels" . | nindent 4 }}
  {{- with .account.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end -}}

{{/* (dict "root" $ "component" NAME "own" PART): a disruption budget, where there is more than one pod. */}}
{{- define "backburner.pdbObject" -}}
{{- $pods := ternary (int .own.replicas) (int .own.autoscaling.minReplicas) (eq .own.autoscaling.kind "none") -}}
{{- if and .own.enabled .own.pdb.enabled (gt $pods 1) }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "backburner.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "backburner.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ include "backburner.text" .own.pdb.maxUnavailable }}
  # A pod that is not ready serves nobody: it must not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "backburner.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Probes and ports of health of a part that starts in seconds. */}}
{{- define "backburner.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 1
  failureThreshold: 120
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* Resources; without requests those are the limits, and the pod's class is Guaranteed. */}}
{{- define "backburner.resources" -}}
requests:
  {{- toYaml (default .limits .requests) | nindent 2 }}
limits:
  {{- toYaml .limits | nindent 2 }}
{{- end -}}
