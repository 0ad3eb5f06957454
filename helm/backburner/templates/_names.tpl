{{/* Names and labels. */}}

{{- define "backburner.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The first part of the names of all objects of the release. */}}
{{- define "backburner.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (include "backburner.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "backburner.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select a part's pods: (dict "root" $ "component" NAME). They are immutable in workloads. */}}
{{- define "backburner.selector" -}}
app.kubernetes.io/name: {{ include "backburner.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of an object: (dict "root" $ "component" NAME). */}}
{{- define "backburner.labels" -}}
{{ include "backburner.selector" . }}
app.kubernetes.io/version: {{ default .root.Chart.AppVersion .root.Values.image.tag | trunc 63 | trimSuffix "-" | trimSuffix "." | trimSuffix "_" | quote }}
app.kubernetes.io/part-of: backburner
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of a part's pods: (dict "root" $ "component" NAME "own" PART). A version here would restart what did not change. */}}
{{- define "backburner.podLabels" -}}
{{ include "backburner.selector" . }}
app.kubernetes.io/part-of: backburner
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .own.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A part's image: (dict "root" $ "image" PART.image). */}}
{{- define "backburner.image" -}}
{{- $name := printf "%s/%s" (trimSuffix "/" .root.Values.image.registry) .image.repository -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (coalesce .image.tag .root.Values.image.tag .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The name of a part's service account: (dict "root" $ "component" NAME "account" PART.serviceAccount). */}}
{{- define "backburner.serviceAccount" -}}
{{- if .account.name -}}
{{- .account.name -}}
{{- else if .account.create -}}
{{- printf "%s-%s" (include "backburner.fullname" .root) .component -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* The pool of a model's served name, as backburner_schemas.routing.pool_name makes it. */}}
{{- define "backburner.pool" -}}
{{- $lowered := lower . -}}
{{- if regexMatch "^[a-z0-9-]{1,40}$" $lowered -}}
{{- $lowered -}}
{{- else -}}
{{- printf "%s-%s" (regexReplaceAll "[^a-z0-9-]" $lowered "-" | trunc 33) (sha256sum . | trunc 6) -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the first admin key. */}}
{{- define "backburner.adminKeySecret" -}}
{{- default (printf "%s-admin-key" (include "backburner.fullname" .)) .Values.bootstrap.adminKeySecret -}}
{{- end -}}
