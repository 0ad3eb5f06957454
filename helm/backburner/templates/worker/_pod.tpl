{{/*
(dict "root" $ "name" NAME "group" GROUP "extraArgs" LIST): the pod template of a group's workers.
*/}}
{{- define "backburner.worker.pod" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $into := dict "env" dict "volumes" list "mounts" list -}}
{{- include "backburner.connections" (dict "root" $root "own" $root.Values.workers "into" $into) -}}
{{- include "backburner.worker.settings" (dict "root" $root "name" .name "group" $group "into" $into "extraArgs" .extraArgs) -}}
{{- include "backburner.worker.volumes" (dict "root" $root "name" .name "group" $group "into" $into) -}}
{{- $image := include "backburner.image" (dict "root" $root "image" $group.engine.image) -}}
{{- $over := list $root.Values.env $group.env -}}
{{- $release := include "backburner.worker.release" (dict "image" $image "env" $into.env "over" $over "group" $group) -}}
{{- $_ := set $into.env "BACKBURNER_WORKER_RELEASE" $release -}}
{{- $component := dict "root" $root "component" "worker" "own" $group "account" $root.Values.workers.serviceAccount -}}
metadata:
  labels:
    {{- $labels := dict "backburner.dev/group" .name "backburner.dev/pool" (include "backburner.pool" $group.model.name | trimAll "-") -}}
    {{- $labels = merge $labels (dict "backburner.dev/canary" (toString $group.canary) "backburner.dev/release" $release) -}}
    {{- include "backburner.podLabels" (merge (dict "group" $labels) $component) | nindent 4 }}
  annotations:
    {{- include "backburner.podAnnotations" (dict "container" "worker" "own" $group) | nindent 4 }}
spec:
  serviceAccountName: {{ include "backburner.serviceAccount" $component | quote }}
  automountServiceAccountToken: {{ has "node" $group.reclaimNotices }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add (include "backburner.drainSeconds" $component | int) 30 }}
  securityContext:
    {{- include "backburner.podSecurity" $root | nindent 4 }}
  {{- include "backburner.worker.placement" . | trim | nindent 2 }}
  {{- if and $group.model.source (ne $group.model.cache.kind "image") }}
  initContainers:
    {{- include "backburner.worker.fetch" . | nindent 4 }}
  {{- end }}
  containers:
    - name: worker
      image: {{ $image }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      env:
        {{- include "backburner.env" (dict "env" $into.env "over" $over) | trim | nindent 8 }}
      ports:
        - {name: health, containerPort: 8080, protocol: TCP}
      # Ready only once the model has answered; until then nothing but this probe decides how long to wait.
      startupProbe:
        httpGet: {path: /readyz, port: health}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: {{ div (add (int $group.startupSeconds) 4) 5 }}
      readinessProbe:
        httpGet: {path: /readyz, port: health}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 3
      # Whether the process still turns; queue and store may be away for as long as they like.
      livenessProbe:
        httpGet: {path: /livez, port: health}
        periodSeconds: 15
        timeoutSeconds: 10
        failureThreshold: 4
      securityContext:
        {{- include "backburner.containerSecurity" $root | nindent 8 }}
      resources:
        {{- include "backburner.worker.resources" $group | nindent 8 }}
      volumeMounts:
        {{- toYaml (concat $into.mounts $group.volumeMounts) | nindent 8 }}
  volumes:
    {{- toYaml (concat $into.volumes $group.volumes) | nindent 4 }}
  {{- if $group.accelerator.claim.deviceClass }}
  resourceClaims:
    - name: accelerators
      resourceClaimTemplateName: {{ include "backburner.worker.claimTemplate" . }}
  {{- end }}
{{- end -}}

{{/* A worker's resources, accelerators included: GROUP. */}}
{{- define "backburner.worker.resources" -}}
{{- $limits := deepCopy .resources.limits -}}
{{- $requests := deepCopy (default .resources.limits .resources.requests) -}}
{{- $count := include "backburner.worker.accelerators" . | int -}}
{{- if and .accelerator.resource $count (not .accelerator.claim.deviceClass) -}}
{{- $_ := set $limits .accelerator.resource $count -}}
{{- $_ := set $requests .accelerator.resource $count -}}
{{- end -}}
{{- if and .model.source (eq .model.cache.kind "emptyDir") (not .model.cache.medium) (not (hasKey $requests "ephemeral-storage")) -}}
{{- $_ := set $requests "ephemeral-storage" (include "backburner.worker.modelSize" .) -}}
{{- end -}}
requests:
  {{- toYaml $requests | nindent 2 }}
limits:
  {{- toYaml $limits | nindent 2 }}
{{- if .accelerator.claim.deviceClass }}
claims:
  - name: accelerators
{{- end }}
{{- end -}}

{{/* (dict "root" $ "name" NAME "group" GROUP): where a worker may run. */}}
{{- define "backburner.worker.placement" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $path := printf "workers.groups.%s" .name -}}
{{- $tolerations := deepCopy $group.tolerations -}}
{{- range list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" -}}
{{- $tolerations = append $tolerations (dict "key" . "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" (int $group.nodeLossSeconds)) -}}
{{- end -}}
{{ include "backburner.placement" (dict "root" $root "own" (dict "nodeSelector" $group.nodeSelector "tolerations" $tolerations)) -}}
{{- $affinity := deepCopy $group.affinity -}}
{{- $alone := or (eq $group.topology.placement "node") (and (eq $group.topology.placement "auto") (gt (include "backburner.worker.accelerators" $group | int) 1)) -}}
{{- if $alone -}}
{{- $anti := default dict $affinity.podAntiAffinity -}}
{{- $others := dict "matchLabels" (dict "app.kubernetes.io/part-of" "backburner" "app.kubernetes.io/component" "worker") -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" $others "namespaceSelector" dict -}}
{{- $_ := set $anti "requiredDuringSchedulingIgnoredDuringExecution" (append (default list $anti.requiredDuringSchedulingIgnoredDuringExecution) $term) -}}
{{- $_ := set $affinity "podAntiAffinity" $anti -}}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with ternary $group.topology.spreadOver "" (lt (int $group.leaderWorkerSet.size) 2) }}
topologySpreadConstraints:
  - maxSkew: {{ int $group.topology.maxSkew }}
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $group.topology.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "backburner.worker.selector" $ | nindent 8 }}
{{- end }}
{{- with include "backburner.worker.priority" . }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- if $group.gang.enabled }}
schedulingGroup: {podGroupName: {{ include "backburner.worker.name" . }}}
{{- end }}
{{- with $group.schedulerName }}
schedulerName: {{ . | quote }}
{{- end }}
{{- with $group.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- if $group.hostIPC }}
hostIPC: true
{{- end }}
{{- end -}}

{{/* (dict "root" $ "group" GROUP): the name of a group's PriorityClass, or nothing. */}}
{{- define "backburner.worker.priority" -}}
{{- if .group.priorityClassName -}}
{{- .group.priorityClassName -}}
{{- else if .root.Values.priorityClass.create -}}
{{- include "backburner.priorityClass" .root -}}
{{- end -}}
{{- end -}}

{{/* The name of the workers' PriorityClass. */}}
{{- define "backburner.priorityClass" -}}
{{- default (printf "%s-%s-worker" .Release.Namespace (include "backburner.fullname" .)) .Values.priorityClass.name -}}
{{- end -}}
