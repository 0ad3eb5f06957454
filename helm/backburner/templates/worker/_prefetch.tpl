{{/* (dict "root" $ "name" NAME "group" GROUP): a pod that fetches the model onto its node, one a node. */}}
{{- define "backburner.worker.prefetchPod" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $trust := dict "env" dict "volumes" list "mounts" list -}}
{{- include "backburner.store" (dict "root" $root "own" $root.Values.workers "into" $trust) -}}
{{- $component := dict "root" $root "component" "prefetch" "own" $group "account" $root.Values.workers.serviceAccount -}}
{{- $light := deepCopy $group -}}
{{- if not $light.model.fetch.resources -}}
{{- $_ := set $light.model.fetch "resources" (dict "requests" (dict "cpu" "1" "memory" "1Gi") "limits" (dict "memory" "4Gi")) -}}
{{- end -}}
metadata:
  labels:
    {{- include "backburner.podLabels" (dict "root" $root "component" "prefetch" "own" $group "group" (dict "backburner.dev/group" .name)) | nindent 4 }}
  annotations:
    {{- include "backburner.podAnnotations" (dict "container" "fetch-model" "own" $group) | nindent 4 }}
spec:
  restartPolicy: OnFailure
  serviceAccountName: {{ include "backburner.serviceAccount" (dict "root" $root "component" "worker" "account" $root.Values.workers.serviceAccount) | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "backburner.podSecurity" $root | nindent 4 }}
  {{- with include "backburner.placement" (dict "root" $root "own" $group) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "backburner.selector" $component | nindent 14 }}
              backburner.dev/group: {{ .name | quote }}
  containers:
    {{- include "backburner.worker.fetch" (dict "root" $root "name" .name "group" $light) | nindent 4 }}
  volumes:
    - {{ include "backburner.worker.modelVolume" $group | nindent 6 | trim }}
    - name: tmp
      emptyDir: {sizeLimit: {{ $group.tmpSize }}}
    {{- with $trust.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
