{{/*
What a part's container is given to reach queue and store. Each helper adds to the dict "into", which has
"env" (a dict of names to a text or a map such as valueFrom), "volumes" and "mounts" (lists).

Settings are variables of the pod itself and in no ConfigMap: then a changed setting is a changed pod, a rollback brings
back the settings too, and a pod that is started again in the middle of a canary still has those of its own revision.
*/}}

{{/* (dict "root" $ "own" PART "into" INTO): what every part reads. */}}
{{- define "backburner.connections" -}}
{{- $values := .root.Values -}}
{{- $env := .into.env -}}
{{- $_ := set $env "BACKBURNER_QUEUE_URL" $values.queue.url -}}
{{- $_ := set $env "BACKBURNER_PREFIX" $values.queue.prefix -}}
{{- $_ := set $env "BACKBURNER_TENANT" $values.tenant -}}
{{- $_ := set $env "BACKBURNER_LOG_LEVEL" $values.logLevel -}}
{{- $_ := set $env "BACKBURNER_FREEZE_GRACE_SECONDS" (include "backburner.freezeGrace" .root) -}}
{{- $_ := set $env "BACKBURNER_TOPIC_RETENTION_SECONDS" (int64 $values.kafka.topics.retentionSeconds | toString) -}}
{{- include "backburner.store" . -}}
{{- if hasPrefix "kafka://" $values.queue.url -}}
{{- include "backburner.kafka" . -}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "own" PART "into" INTO): the object store. */}}
{{- define "backburner.store" -}}
{{- $values := .root.Values -}}
{{- $env := .into.env -}}
{{- $_ := set $env "BACKBURNER_STORE_URL" $values.store.url -}}
{{- if $values.store.endpoint -}}
{{- $_ := set $env "BACKBURNER_STORE_ENDPOINT" $values.store.endpoint -}}
{{- end -}}
{{- if $values.store.region -}}
{{- $_ := set $env "AWS_REGION" $values.store.region -}}
{{- end -}}
{{- $keys := mergeOverwrite (deepCopy $values.store.existingSecret) (include "backburner.said" .own.store.existingSecret | fromYaml) -}}
{{- if and $keys.name $keys.fileKey -}}
{{- $items := list (dict "key" $keys.fileKey "path" "credentials") -}}
{{- include "backburner.folder" (dict "volume" (dict "name" "store-keys" "secret" (dict "secretName" $keys.name "items" $items "defaultMode" 288)) "path" "/etc/backburner/store-keys" "into" .into) -}}
{{- $_ := set $env "AWS_SHARED_CREDENTIALS_FILE" "/etc/backburner/store-keys/credentials" -}}
{{- else if $keys.name -}}
{{- $_ := set $env "AWS_ACCESS_KEY_ID" (include "backburner.fromSecret" (list $keys.name $keys.accessKeyKey) | fromYaml) -}}
{{- $_ := set $env "AWS_SECRET_ACCESS_KEY" (include "backburner.fromSecret" (list $keys.name $keys.secretKeyKey) | fromYaml) -}}
{{- end -}}
{{- include "backburner.authority" (dict "from" $values.store.caFrom "name" "store-ca" "variable" "BACKBURNER_STORE_CA_FILE" "into" .into) -}}
{{- end -}}

{{- define "backburner.kafka" -}}
{{- $kafka := .root.Values.kafka -}}
{{- $env := .into.env -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_PROTOCOL" $kafka.securityProtocol -}}
{{- if not $kafka.idempotence -}}
{{- $_ := set $env "BACKBURNER_KAFKA_IDEMPOTENCE" "false" -}}
{{- end -}}
{{- if hasPrefix "SASL_" $kafka.securityProtocol -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_MECHANISM" $kafka.mechanism -}}
{{- $user := mergeOverwrite (deepCopy $kafka.existingSecret) (include "backburner.said" .own.kafka.existingSecret | fromYaml) -}}
{{- if ne $kafka.mechanism "OAUTHBEARER" -}}
{{- include "backburner.kafkaUser" (dict "user" $user "name" "USERNAME" "secret" "PASSWORD_FILE" "into" .into) -}}
{{- else -}}
{{- include "backburner.kafkaTokens" (dict "oauth" $kafka.oauth "user" $user "into" .into) -}}
{{- end -}}
{{- end -}}
{{- if hasSuffix "SSL" $kafka.securityProtocol -}}
{{- include "backburner.authority" (dict "from" $kafka.caFrom "name" "kafka-ca" "variable" "BACKBURNER_KAFKA_SECURITY_CA_FILE" "into" .into) -}}
{{- if $kafka.clientCertSecret -}}
{{- include "backburner.folder" (dict "volume" (dict "name" "kafka-client" "secret" (dict "secretName" $kafka.clientCertSecret "defaultMode" 288)) "path" "/etc/backburner/kafka-client" "into" .into) -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_CERT_FILE" "/etc/backburner/kafka-client/tls.crt" -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_KEY_FILE" "/etc/backburner/kafka-client/tls.key" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
(dict "user" EXISTINGSECRET "name" VARIABLE "secret" VARIABLE "into" INTO): a user and a secret from there. The secret is a file, which
follows the Secret: a variable has the value of the pod's start for as long as the pod lives.
*/}}
{{- define "backburner.kafkaUser" -}}
{{- $name := required "kafka.existingSecret.name: the securityProtocol has SASL; name the Secret with a Kafka user, here or for each part (gateway.kafka, dispatcher.kafka, workers.kafka, bootstrap.kafka)" .user.name -}}
{{- $_ := set .into.env (printf "BACKBURNER_KAFKA_SECURITY_%s" .name) (include "backburner.fromSecret" (list $name .user.usernameKey) | fromYaml) -}}
{{- $items := list (dict "key" .user.passwordKey "path" "password") -}}
{{- include "backburner.folder" (dict "volume" (dict "name" "kafka-user" "secret" (dict "secretName" $name "items" $items "defaultMode" 288)) "path" "/etc/backburner/kafka-user" "into" .into) -}}
{{- $_ := set .into.env (printf "BACKBURNER_KAFKA_SECURITY_%s" .secret) "/etc/backburner/kafka-user/password" -}}
{{- end -}}

{{/* (dict "oauth" OAUTH "user" EXISTINGSECRET "into" INTO): where the tokens of OAUTHBEARER come from. */}}
{{- define "backburner.kafkaTokens" -}}
{{- $env := .into.env -}}
{{- if .oauth.tokenUrl -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_TOKEN_URL" .oauth.tokenUrl -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_SCOPE" .oauth.scope -}}
{{- include "backburner.kafkaUser" (dict "user" .user "name" "CLIENT_ID" "secret" "CLIENT_SECRET_FILE" "into" .into) -}}
{{- include "backburner.authority" (dict "from" .oauth.caFrom "name" "kafka-token-ca" "variable" "BACKBURNER_KAFKA_SECURITY_TOKEN_CA_FILE" "into" .into) -}}
{{- else if .oauth.audience -}}
{{- $token := dict "serviceAccountToken" (dict "audience" .oauth.audience "path" "token" "expirationSeconds" 3600) -}}
{{- include "backburner.folder" (dict "volume" (dict "name" "kafka-token" "projected" (dict "sources" (list $token) "defaultMode" 288)) "path" "/etc/backburner/kafka-token" "into" .into) -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_TOKEN_FILE" "/etc/backburner/kafka-token/token" -}}
{{- else -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_TOKEN_PROVIDER" .oauth.provider -}}
{{- end -}}
{{- $_ := set $env "BACKBURNER_KAFKA_SECURITY_EXTENSIONS" .oauth.extensions -}}
{{- end -}}

{{/* What is not empty in a map. */}}
{{- define "backburner.said" -}}
{{- $said := dict -}}
{{- range $key, $value := . -}}
{{- if $value }}{{ $_ := set $said $key $value }}{{ end -}}
{{- end -}}
{{- toYaml $said -}}
{{- end -}}

{{/* (list SECRET KEY): a variable's value from there. */}}
{{- define "backburner.fromSecret" -}}
valueFrom:
  secretKeyRef:
    name: {{ index . 0 | quote }}
    key: {{ index . 1 | quote }}
{{- end -}}

{{/* (dict "from" CAFROM "name" VOLUME "variable" NAME "into" INTO): an authority's certificate as a file that the variable names. */}}
{{- define "backburner.authority" -}}
{{- if and .from.configMap .from.secret -}}
{{- fail (printf "%s: caFrom names a configMap and a secret; name one" .variable) -}}
{{- end -}}
{{- $items := list (dict "key" .from.key "path" "ca.crt") -}}
{{- $volume := dict -}}
{{- if .from.configMap -}}
{{- $volume = dict "name" .name "configMap" (dict "name" .from.configMap "items" $items) -}}
{{- else if .from.secret -}}
{{- $volume = dict "name" .name "secret" (dict "secretName" .from.secret "items" $items "defaultMode" 288) -}}
{{- end -}}
{{- if $volume -}}
{{- $path := printf "/etc/backburner/%s" .name -}}
{{- include "backburner.folder" (dict "volume" $volume "path" $path "into" .into) -}}
{{- $_ := set .into.env .variable (printf "%s/ca.crt" $path) -}}
{{- end -}}
{{- end -}}

{{/* (dict "volume" VOLUME "path" PATH "into" INTO): a volume, mounted to be read. */}}
{{- define "backburner.folder" -}}
{{- $_ := set .into "volumes" (append .into.volumes .volume) -}}
{{- $_ := set .into "mounts" (append .into.mounts (dict "name" .volume.name "mountPath" .path "readOnly" true)) -}}
{{- end -}}

{{/* (dict "volume" VOLUME "path" PATH "into" INTO): a volume, mounted to be written. */}}
{{- define "backburner.scratch" -}}
{{- $_ := set .into "volumes" (append .into.volumes .volume) -}}
{{- $_ := set .into "mounts" (append .into.mounts (dict "name" .volume.name "mountPath" .path)) -}}
{{- end -}}

{{/* (dict "env" DICT "over" (list MAP …)): the variables as a container has them; the later maps go before the earlier. */}}
{{- define "backburner.env" -}}
{{- $env := deepCopy .env -}}
{{- range .over -}}
{{- range $name, $value := . -}}
{{- $_ := set $env $name $value -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $env }}
{{- if kindIs "map" $value }}
- name: {{ $name }}
  {{- toYaml $value | nindent 2 }}
{{- else if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
- name: {{ $name }}
  value: {{ include "backburner.text" $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A value as text, whole numbers without an exponent. */}}
{{- define "backburner.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/*
Seconds that late results get. Every worker refuses to start unless they are more than its look for cancels, its oldest segment and
its drain together, and all parts must agree on them.
*/}}
{{- define "backburner.freezeGrace" -}}
{{- if .Values.freezeGraceSeconds -}}
{{- int64 .Values.freezeGraceSeconds -}}
{{- else -}}
{{- max 180 (add (include "backburner.leastFreezeGrace" . | int64) 50) -}}
{{- end -}}
{{- end -}}

{{/* The seconds that it must exceed for the workers of every group; 0 without groups. */}}
{{- define "backburner.leastFreezeGrace" -}}
{{- $most := 0 -}}
{{- if eq .Values.workers.mode "kubernetes" -}}
{{- range $name, $own := .Values.workers.groups -}}
{{- $group := include "backburner.group" (dict "root" $ "own" $own) | fromYaml -}}
{{- $env := mergeOverwrite (deepCopy $.Values.env) (deepCopy $group.env) -}}
{{- $poll := default "10" (get $env "BACKBURNER_CANCEL_POLL_SECONDS") | toString | float64 | ceil | int -}}
{{- $age := default "60" (get $env "BACKBURNER_SEGMENT_MAX_AGE_SECONDS") | toString | float64 | ceil | int -}}
{{- $most = max $most (add $poll $age (include "backburner.drainSeconds" (dict "root" $ "own" $group) | int)) -}}
{{- end -}}
{{- end -}}
{{- $most -}}
{{- end -}}
