{{/* A group of workers: what its values mean. */}}

{{/* (dict "root" $ "own" VALUES): the group with workers.defaults below it, as YAML. */}}
{{- define "backburner.group" -}}
{{- $group := deepCopy .root.Values.workers.defaults -}}
{{- include "backburner.overlay" (dict "base" $group "over" .own) -}}
{{- toYaml $group -}}
{{- end -}}

{{/* Lay one map over another, key by key. Sprig's mergeOverwrite passes over false and 0. */}}
{{- define "backburner.overlay" -}}
{{- $base := .base -}}
{{- range $key, $value := .over -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $base $key)) -}}
{{- include "backburner.overlay" (dict "base" (get $base $key) "over" $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $base $key $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "name" NAME): the name of a group's StatefulSet; a LeaderWorkerSet's controller appends up to four characters more. */}}
{{- define "backburner.worker.name" -}}
{{- $name := printf "%s-worker-%s" (include "backburner.fullname" .root) .name -}}
{{- $group := include "backburner.group" (dict "root" .root "own" (get .root.Values.workers.groups .name)) | fromYaml -}}
{{- $most := ternary 48 52 (gt (int $group.leaderWorkerSet.size) 1) -}}
{{- if gt (len $name) $most -}}
{{- fail (printf "%s: %d characters, and the name of a set of pods may have %d; shorten the group's name or set fullnameOverride" $name (len $name) $most) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* (dict "root" $ "name" NAME): labels that select a group's pods. */}}
{{- define "backburner.worker.selector" -}}
{{ include "backburner.selector" (dict "root" .root "component" "worker") }}
backburner.dev/group: {{ .name | quote }}
{{- end -}}

{{/* Accelerators that a pod takes: GROUP. */}}
{{- define "backburner.worker.accelerators" -}}
{{- if .accelerator.count -}}
{{- int .accelerator.count -}}
{{- else if eq .engine.kind "vllm" -}}
{{- int .engine.tensorParallel -}}
{{- else -}}
0
{{- end -}}
{{- end -}}

{{/* The model as the engine takes it: GROUP. */}}
{{- define "backburner.worker.model" -}}
{{- if .model.path -}}
{{- .model.path -}}
{{- else if and .model.source (include "backburner.worker.ownClaim" .) -}}
{{- /* No other worker serves from there, so the next model takes the folder of the one before it, and its room. */ -}}
{{- printf "/models/%s" (include "backburner.pool" .model.name | trimAll "-") -}}
{{- else if .model.source -}}
{{- /* A folder for each source and checksum, so that a new version never lies where an old one is served from. */ -}}
{{- printf "/models/%s-%s" (include "backburner.pool" .model.name | trimAll "-") (printf "%s %s" .model.source .model.checksum | sha256sum | trunc 8) -}}
{{- else if and (eq .model.cache.kind "image") .model.cache.imageReference -}}
/models
{{- else if ne .engine.kind "vllm" -}}
{{- .model.name -}}
{{- else -}}
{{- fail (printf "the model %s has neither a source nor a path; set model.source (hf://org/name@revision for a hub), or model.path where it lies in the image or on the volume" .model.name) -}}
{{- end -}}
{{- end -}}

{{/* Arguments of vLLM as one text, each quoted as a shell would take it: (dict "group" GROUP "extra" LIST). */}}
{{- define "backburner.worker.arguments" -}}
{{- $said := list -}}
{{- if and (eq .group.engine.kind "vllm") (gt (int .group.engine.tensorParallel) 1) -}}
{{- $said = list "--tensor-parallel-size" (int .group.engine.tensorParallel | toString) -}}
{{- end -}}
{{- range concat $said .group.engine.args .extra }}
{{- if regexMatch "^[A-Za-z0-9_./:=,@%+()$-]+$" . }}{{ . }}{{ else }}'{{ replace "'" "'\"'\"'" . }}'{{ end }} {{/* */}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "name" NAME "group" GROUP "into" INTO): the variables of a worker, but for its release. */}}
{{- define "backburner.worker.settings" -}}
{{- $group := .group -}}
{{- $env := .into.env -}}
{{- $_ := set $env "BACKBURNER_ENGINE" $group.engine.kind -}}
{{- $_ := set $env "BACKBURNER_HTTP_PORT" "8080" -}}
{{- $_ := set $env "BACKBURNER_SERVED_NAME" $group.model.name -}}
{{- $_ := set $env "BACKBURNER_WORKER_GROUP" .name -}}
{{- $_ := set $env "BACKBURNER_WORKER_ID" (dict "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.name"))) -}}
{{- $_ := set $env "BACKBURNER_DRAIN_SECONDS" (int $group.drainSeconds | toString) -}}
{{- $_ := set $env "BACKBURNER_POOL_WAIT_SECONDS" (int $group.poolWaitSeconds | toString) -}}
{{- if ne $group.engine.kind "openai-http" -}}
{{- $_ := set $env "BACKBURNER_MODEL" (include "backburner.worker.model" $group) -}}
{{- end -}}
{{- if eq $group.engine.kind "vllm" -}}
{{- $_ := set $env "BACKBURNER_ENGINE_ARGS" (include "backburner.worker.arguments" (dict "group" $group "extra" .extraArgs) | trim) -}}
{{- $_ := set $env "BACKBURNER_COMPILE_CACHE_DIR" "/var/cache/backburner" -}}
{{- end -}}
{{- if $group.model.adapters -}}
{{- $adapters := list -}}
{{- range $adapter, $folder := $group.model.adapters }}{{ $adapters = append $adapters (printf "%s=%s" $adapter $folder) }}{{ end -}}
{{- $_ := set $env "BACKBURNER_ADAPTERS" (join "," $adapters) -}}
{{- end -}}
{{- if $group.reclaimNotices -}}
{{- $_ := set $env "BACKBURNER_RECLAIM_NOTICES" (join "," $group.reclaimNotices) -}}
{{- $_ := set $env "BACKBURNER_NODE_NAME" (dict "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName"))) -}}
{{- end -}}
{{- if eq $group.engine.kind "openai-http" -}}
{{- $_ := set $env "BACKBURNER_ENGINE_URLS" (join "," $group.engine.urls) -}}
{{- if $group.engine.tokenSecret -}}
{{- include "backburner.folder" (dict "volume" (dict "name" "engine-token" "secret" (dict "secretName" $group.engine.tokenSecret "defaultMode" 288)) "path" "/etc/backburner/engine-token" "into" .into) -}}
{{- $_ := set $env "BACKBURNER_ENGINE_TOKEN_FILE" "/etc/backburner/engine-token/token" -}}
{{- end -}}
{{- include "backburner.authority" (dict "from" $group.engine.caFrom "name" "engine-ca" "variable" "BACKBURNER_ENGINE_CA_FILE" "into" .into) -}}
{{- if $group.engine.clientCertSecret -}}
{{- include "backburner.folder" (dict "volume" (dict "name" "engine-client" "secret" (dict "secretName" $group.engine.clientCertSecret "defaultMode" 288)) "path" "/etc/backburner/engine-client" "into" .into) -}}
{{- $_ := set $env "BACKBURNER_ENGINE_CERT_FILE" "/etc/backburner/engine-client/tls.crt" -}}
{{- $_ := set $env "BACKBURNER_ENGINE_KEY_FILE" "/etc/backburner/engine-client/tls.key" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* (dict "image" IMAGE "env" DICT "over" LIST "group" GROUP): ten hex digits of what shapes the answers of a group's pod. */}}
{{- define "backburner.worker.release" -}}
{{- $env := deepCopy .env -}}
{{- range .over }}{{ range $name, $value := . }}{{ $_ := set $env $name $value }}{{ end }}{{ end -}}
{{- list .image $env .group.model.source .group.model.checksum .group.model.cache.imageReference | toJson | sha256sum | trunc 10 -}}
{{- end -}}

{{/* The reason why there is no autoscaler for workers. */}}
{{- define "backburner.noWorkerAutoscaler" -}}
{{- fail (printf "%s.autoscaling: workers have no autoscaler: a new one loads its model for minutes before its first answer, and one that is taken away has loaded it for nothing; the queue keeps what waits. Set replicas" .) -}}
{{- end -}}
