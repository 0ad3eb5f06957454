{{/* (dict "root" $ "name" NAME "group" GROUP "into" INTO): a worker's volumes. What it reads of the model it cannot change. */}}
{{- define "backburner.worker.volumes" -}}
{{- $group := .group -}}
{{- include "backburner.scratch" (dict "volume" (dict "name" "tmp" "emptyDir" (dict "sizeLimit" $group.tmpSize)) "path" "/tmp" "into" .into) -}}
{{- include "backburner.scratch" (dict "volume" (dict "name" "shm" "emptyDir" (dict "medium" "Memory" "sizeLimit" $group.shm.size)) "path" "/dev/shm" "into" .into) -}}
{{- if eq $group.engine.kind "vllm" -}}
{{- $compiled := dict "name" "compiled" -}}
{{- if eq $group.compileCache.kind "hostPath" -}}
{{- $_ := set $compiled "hostPath" (dict "path" $group.compileCache.hostPath "type" "Directory") -}}
{{- else -}}
{{- $_ := set $compiled "emptyDir" (dict "sizeLimit" $group.compileCache.size) -}}
{{- end -}}
{{- include "backburner.scratch" (dict "volume" $compiled "path" "/var/cache/backburner" "into" .into) -}}
{{- end -}}
{{- if include "backburner.worker.modelVolume" $group -}}
{{- if include "backburner.worker.ownClaim" $group -}}
{{- $_ := set .into "mounts" (append .into.mounts (dict "name" "model" "mountPath" "/models" "readOnly" true)) -}}
{{- else -}}
{{- include "backburner.folder" (dict "volume" (include "backburner.worker.modelVolume" $group | fromYaml) "path" "/models" "into" .into) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The volume that the model lies in, or nothing: GROUP. */}}
{{- define "backburner.worker.modelVolume" -}}
{{- $cache := .model.cache -}}
{{- if eq $cache.kind "image" -}}
{{- with $cache.imageReference }}
name: model
image: {reference: {{ . | quote }}, pullPolicy: IfNotPresent}
{{- end -}}
{{- else if or .model.source (eq $cache.kind "hostPath") (eq $cache.kind "pvc") -}}
name: model
{{- if eq $cache.kind "emptyDir" }}
emptyDir:
  sizeLimit: {{ include "backburner.worker.modelSize" . }}
  {{- with $cache.medium }}
  medium: {{ . }}
  {{- end }}
{{- else if eq $cache.kind "hostPath" }}
hostPath: {path: {{ $cache.hostPath | quote }}, type: Directory}
{{- else }}
persistentVolumeClaim: {claimName: {{ default "model" $cache.pvc.existingClaim | quote }}}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Something, if each worker gets a claim of its own: GROUP. */}}
{{- define "backburner.worker.ownClaim" -}}
{{- if and (eq .model.cache.kind "pvc") (not .model.cache.pvc.existingClaim) }}yes{{ end -}}
{{- end -}}

{{/* Room for a model and a tenth more: GROUP. */}}
{{- define "backburner.worker.modelSize" -}}
{{- printf "%dGi" (mulf 1.1 .model.sizeGiB | ceil | int) -}}
{{- end -}}

{{/* (dict "root" $ "name" NAME "group" GROUP): the init container that fetches the model. */}}
{{- define "backburner.worker.fetch" -}}
{{- $root := .root -}}
{{- $group := .group -}}
{{- $into := dict "env" dict "volumes" list "mounts" list -}}
{{- include "backburner.store" (dict "root" $root "own" $root.Values.workers "into" $into) -}}
{{- $env := $into.env -}}
{{- $_ := set $env "BACKBURNER_LOG_LEVEL" $root.Values.logLevel -}}
{{- $_ := set $env "BACKBURNER_MODEL" (include "backburner.worker.model" $group) -}}
{{- $_ := set $env "BACKBURNER_MODEL_SOURCE" $group.model.source -}}
{{- if $group.model.checksum }}{{ $_ := set $env "BACKBURNER_MODEL_CHECKSUM" $group.model.checksum }}{{ end -}}
{{- if $group.model.endpoint }}{{ $_ := set $env "BACKBURNER_MODEL_ENDPOINT" $group.model.endpoint }}{{ end -}}
{{- with $group.model.fetch.existingSecret -}}
{{- $keys := $root.Values.store.existingSecret -}}
{{- $_ := set $env "AWS_ACCESS_KEY_ID" (include "backburner.fromSecret" (list . $keys.accessKeyKey) | fromYaml) -}}
{{- $_ := set $env "AWS_SECRET_ACCESS_KEY" (include "backburner.fromSecret" (list . $keys.secretKeyKey) | fromYaml) -}}
{{- end -}}
{{- with $group.model.fetch.tokenSecret -}}
{{- $_ := set $env "HF_TOKEN" (include "backburner.fromSecret" (list . "token") | fromYaml) -}}
{{- end -}}
- name: fetch-model
  image: {{ include "backburner.image" (dict "root" $root "image" $group.engine.image) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: [fetch-model]
  env:
    {{- include "backburner.env" (dict "env" $env "over" (list $root.Values.env $group.env)) | trim | nindent 4 }}
  securityContext:
    {{- include "backburner.containerSecurity" $root | nindent 4 }}
  resources:
    {{- /* Those of the worker, or its pod would not be of the class Guaranteed. */ -}}
    {{- include "backburner.resources" (default $group.resources $group.model.fetch.resources) | nindent 4 }}
  volumeMounts:
    - {name: model, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
    {{- with concat $into.mounts (ternary $group.volumeMounts list (hasPrefix "file:" $group.model.source)) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* (dict "root" $ "name" NAME "group" GROUP): the claims that each worker gets of its own, if any. */}}
{{- define "backburner.worker.claims" -}}
{{- $cache := .group.model.cache -}}
{{- if include "backburner.worker.ownClaim" .group -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: model
    labels:
      {{- include "backburner.worker.selector" . | nindent 6 }}
  spec:
    accessModes: [{{ $cache.pvc.accessMode }}]
    volumeMode: Filesystem
    {{- with $cache.pvc.storageClass }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        {{- /* The old model lies there until the next one is whole, and a claim's size here cannot be changed. */}}
        storage: {{ printf "%dGi" (mulf 2.2 .group.model.sizeGiB | ceil | int) }}
{{- end -}}
{{- end -}}
