{{/* vLLM's argument for as many stages as there are nodes, unless the group's arguments say how it is split: GROUP. */}}
{{- define "backburner.worker.pipeline" -}}
{{- $said := false -}}
{{- range .engine.args -}}
{{- if regexMatch "^(--pipeline-parallel-size|-pp|--data-parallel-size|-dp)(=|$)" . }}{{ $said = true }}{{ end -}}
{{- end -}}
{{- ternary list (list "--pipeline-parallel-size" (int .leaderWorkerSet.size | toString)) $said | toYaml -}}
{{- end -}}

{{/* (dict "root" $ "name" NAME "group" GROUP): the pods that lend a leader their accelerators. They hold no credential of queue or store. */}}
{{- define "backburner.worker.followerPod" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $into := dict "env" dict "volumes" list "mounts" list -}}
{{- include "backburner.worker.volumes" (dict "root" $root "name" .name "group" $group "into" $into) -}}
{{- $fetches := and $group.model.source (ne $group.model.cache.kind "image") -}}
{{- $trust := dict "env" dict "volumes" list "mounts" list -}}
{{- if $fetches }}{{ include "backburner.store" (dict "root" $root "own" $root.Values.workers "into" $trust) }}{{ end -}}
{{- $component := dict "root" $root "component" "worker" "own" $group "account" $root.Values.workers.serviceAccount -}}
metadata:
  labels:
    {{- $labels := dict "backburner.dev/group" .name "backburner.dev/pool" (include "backburner.pool" $group.model.name | trimAll "-") -}}
    {{- include "backburner.podLabels" (dict "root" $root "component" "worker" "own" $group "group" $labels) | nindent 4 }}
  annotations:
    {{- include "backburner.podAnnotations" (dict "container" "follower" "own" $group) | nindent 4 }}
spec:
  serviceAccountName: {{ include "backburner.serviceAccount" $component | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add (include "backburner.drainSeconds" $component | int) 30 }}
  securityContext:
    {{- include "backburner.podSecurity" $root | nindent 4 }}
  {{- include "backburner.worker.placement" . | trim | nindent 2 }}
  {{- if $fetches }}
  initContainers:
    {{- include "backburner.worker.fetch" . | nindent 4 }}
  {{- end }}
  containers:
    - name: follower
      image: {{ include "backburner.image" (dict "root" $root "image" $group.engine.image) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command:
        {{- if $group.leaderWorkerSet.followerCommand }}
        {{- toYaml $group.leaderWorkerSet.followerCommand | nindent 8 }}
        {{- else }}
        {{- $arguments := list "vllm" "serve" (include "backburner.worker.model" $group) "--headless" "--nnodes" (int $group.leaderWorkerSet.size | toString) "--node-rank" "$(LWS_WORKER_INDEX)" "--master-addr" "$(LWS_LEADER_ADDRESS)" }}
        {{- if gt (int $group.engine.tensorParallel) 1 }}{{ $arguments = concat $arguments (list "--tensor-parallel-size" (int $group.engine.tensorParallel | toString)) }}{{ end }}
        {{- concat $arguments (include "backburner.worker.pipeline" $group | fromYamlArray) $group.engine.args | toYaml | nindent 8 }}
        {{- end }}
      env:
        {{- include "backburner.env" (dict "env" (dict "HOME" "/tmp" "VLLM_CACHE_ROOT" "/var/cache/backburner/vllm") "over" (list (include "backburner.worker.foreignEnv" $root.Values.env | fromYaml) (include "backburner.worker.foreignEnv" $group.env | fromYaml))) | trim | nindent 8 }}
      securityContext:
        {{- include "backburner.containerSecurity" $root | nindent 8 }}
      resources:
        {{- include "backburner.worker.resources" $group | nindent 8 }}
      volumeMounts:
        {{- toYaml (concat $into.mounts $group.volumeMounts) | nindent 8 }}
  volumes:
    {{- toYaml (concat $into.volumes $trust.volumes $group.volumes) | nindent 4 }}
  {{- if $group.accelerator.claim.deviceClass }}
  resourceClaims:
    - name: accelerators
      resourceClaimTemplateName: {{ include "backburner.worker.claimTemplate" . }}
  {{- end }}
{{- end -}}

{{/* Variables that are not Backburner's own, such as NCCL's. */}}
{{- define "backburner.worker.foreignEnv" -}}
{{- $found := dict -}}
{{- range $name, $value := . -}}
{{- if not (hasPrefix "BACKBURNER_" $name) }}{{ $_ := set $found $name $value }}{{ end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
