{{/* The models whose pools are made: those of the groups, and further ones, each once. */}}
{{- define "backburner.models" -}}
{{- $models := list -}}
{{- if eq .Values.workers.mode "kubernetes" -}}
{{- range $name, $own := .Values.workers.groups -}}
{{- $group := include "backburner.group" (dict "root" $ "own" $own) | fromYaml -}}
{{- $models = append $models $group.model.name -}}
{{- end -}}
{{- end -}}
{{- concat $models .Values.bootstrap.extraPools | uniq | toYaml -}}
{{- end -}}

{{/* Arguments of the bootstrap. */}}
{{- define "backburner.bootstrap.arguments" -}}
{{- $arguments := list "bootstrap" "--wait" .Values.bootstrap.wait -}}
{{- $models := include "backburner.models" . | fromYamlArray -}}
{{- range $models }}{{ $arguments = concat $arguments (list "--pool" .) }}{{ end -}}
{{- $aliases := list -}}
{{- if eq .Values.workers.mode "kubernetes" -}}
{{- range $name, $own := .Values.workers.groups -}}
{{- $group := include "backburner.group" (dict "root" $ "own" $own) | fromYaml -}}
{{- range $group.model.aliases }}{{ $aliases = append $aliases (printf "%s=%s" $group.model.name .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $alias, $model := .Values.bootstrap.aliases -}}
{{- if not (has $model $models) -}}
{{- fail (printf "bootstrap.aliases.%s: %s is the model of no group and not in bootstrap.extraPools; name one that is" $alias $model) -}}
{{- end -}}
{{- $aliases = append $aliases (printf "%s=%s" $model $alias) -}}
{{- end -}}
{{- range $aliases | uniq }}{{ $arguments = concat $arguments (list "--alias" .) }}{{ end -}}
{{- if .Values.bootstrap.createAdminKey -}}
{{- $arguments = concat $arguments (list "--admin-key-secret" (include "backburner.adminKeySecret" .)) -}}
{{- end -}}
{{- toYaml $arguments -}}
{{- end -}}

{{- define "backburner.bootstrap.pod" -}}
{{- $own := .Values.bootstrap -}}
{{- $component := dict "root" . "component" "bootstrap" "own" $own "account" $own.serviceAccount -}}
{{- $into := dict "env" dict "volumes" list "mounts" list -}}
{{- include "backburner.connections" (dict "root" . "own" $own "into" $into) -}}
{{- $topics := .Values.kafka.topics -}}
{{- $_ := set $into.env "BACKBURNER_TOPIC_PARTITIONS" (int $topics.partitions | toString) -}}
{{- $_ := set $into.env "BACKBURNER_TOPIC_REPLICATION" (int $topics.replication | toString) -}}
{{- include "backburner.scratch" (dict "volume" (dict "name" "tmp" "emptyDir" (dict "sizeLimit" "64Mi")) "path" "/tmp" "into" $into) -}}
metadata:
  labels:
    {{- include "backburner.podLabels" $component | nindent 4 }}
  annotations:
    {{- include "backburner.podAnnotations" (dict "container" "bootstrap" "own" $own) | nindent 4 }}
spec:
  restartPolicy: OnFailure
  serviceAccountName: {{ include "backburner.serviceAccount" $component | quote }}
  automountServiceAccountToken: {{ $own.createAdminKey }}
  enableServiceLinks: false
  securityContext:
    {{- include "backburner.podSecurity" . | nindent 4 }}
  {{- with include "backburner.placement" $component | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: bootstrap
      # The gateway's image has all that it takes.
      image: {{ include "backburner.image" (dict "root" . "image" .Values.gateway.image) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      command: [backburner]
      args:
        {{- include "backburner.bootstrap.arguments" . | nindent 8 }}
      env:
        {{- include "backburner.env" (dict "env" $into.env "over" (list .Values.env $own.env)) | trim | nindent 8 }}
      securityContext:
        {{- include "backburner.containerSecurity" . | nindent 8 }}
      resources:
        {{- include "backburner.resources" $own.resources | nindent 8 }}
      volumeMounts:
        {{- toYaml $into.mounts | nindent 8 }}
  volumes:
    {{- toYaml $into.volumes | nindent 4 }}
{{- end -}}
