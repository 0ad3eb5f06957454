{{/* Names and labels. */}}

{{- define "backburner.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The first part of the names of all objects of the release. */}}
{{- define "backburner.fullname" -}}
{{- $name := printf "%s-%s" .Release.Name (include "backburner.name" .) -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else if contains (include "backburner.name" .) .Release.Name -}}
{{- $name = .Release.Name -}}
{{- end -}}
{{- $name = $name | trunc 40 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "%s: a Service's name has small letters, digits and hyphens, and a letter first; set fullnameOverride to one that does" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Labels that select a part's pods: (dict "root" $ "component" NAME). They are immutable in workloads. */}}
{{- define "backburner.selector" -}}
app.kubernetes.io/name: {{ include "backburner.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of an object: (dict "root" $ "component" NAME "more" LABELS); what is said twice stands once. */}}
{{- define "backburner.labels" -}}
{{- $labels := deepCopy .root.Values.commonLabels -}}
{{- include "backburner.overlay" (dict "base" $labels "over" (default dict .more)) -}}
{{- include "backburner.overlay" (dict "base" $labels "over" (include "backburner.ownLabels" . | fromYaml)) -}}
{{- toYaml $labels -}}
{{- end -}}

{{- define "backburner.ownLabels" -}}
{{ include "backburner.selector" . }}
app.kubernetes.io/version: {{ default .root.Chart.AppVersion .root.Values.image.tag | trunc 63 | trimSuffix "-" | trimSuffix "." | trimSuffix "_" | quote }}
app.kubernetes.io/part-of: backburner
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/*
Labels of a part's pods: (dict "root" $ "component" NAME "own" PART "group" LABELS). A version here would restart what did not
change. What selectors read goes before what values say.
*/}}
{{- define "backburner.podLabels" -}}
{{- $labels := deepCopy .root.Values.commonLabels -}}
{{- range list (default dict .own.podLabels) (include "backburner.selector" . | fromYaml) (dict "app.kubernetes.io/part-of" "backburner") (default dict .group) -}}
{{- include "backburner.overlay" (dict "base" $labels "over" .) -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{/* (dict "container" NAME "own" PART): annotations of a part's pods. */}}
{{- define "backburner.podAnnotations" -}}
{{- $annotations := dict "kubectl.kubernetes.io/default-container" .container -}}
{{- include "backburner.overlay" (dict "base" $annotations "over" .own.podAnnotations) -}}
{{- toYaml $annotations -}}
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

{{/* The Secret with the key that NOTES call with, or nothing where nobody makes one. */}}
{{- define "backburner.callersKey" -}}
{{- if .Values.tests.keySecret -}}
{{- .Values.tests.keySecret -}}
{{- else if and .Values.bootstrap.enabled .Values.bootstrap.createAdminKey -}}
{{- include "backburner.adminKeySecret" . -}}
{{- end -}}
{{- end -}}

{{/*
The Secret with the key that the test calls with, or nothing. It calls a gateway's pods; where Istio guards those, an API key does not
get past it, and only a token of the user's own does.
*/}}
{{- define "backburner.testsKey" -}}
{{- if or .Values.tests.keySecret (not (include "backburner.gateway.istioGuardsPods" .)) -}}
{{- include "backburner.callersKey" . -}}
{{- end -}}
{{- end -}}
