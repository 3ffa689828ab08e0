#!/bin/sh
# An Airbyte source that behaves, or does one of the things that sources do which do not.
# Its configuration: {"people": 3000, "trap": "the name of a case below", "token": "a secret"}

command=$1
while [ $# -gt 0 ]; do
    case $1 in
        --config) config=$2 ;;
        --catalog) catalog=$2 ;;
        --state) state=$2 ;;
    esac
    shift
done
setting() { sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p' "$config" 2>/dev/null; }
trap_=$(setting trap)
people=$(setting people)

log() { printf '{"type":"LOG","log":{"level":"%s","message":"%s"}}\n' "$1" "$2"; }
error() {
    printf '{"type":"TRACE","trace":{"type":"ERROR","emitted_at":1.5,"error":{"message":"%s","internal_message":"x","stack_trace":"a\\nb","failure_type":"%s"}}}\n' "$1" "$2"
}
status() {
    printf '{"type":"TRACE","trace":{"type":"STREAM_STATUS","emitted_at":1.5,"stream_status":{"stream_descriptor":{"name":"people","namespace":"crm"},"status":"%s"}}}\n' "$1"
}
state() {
    printf '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"people","namespace":"crm"},"stream_state":{"id":%s, "exact":1.50}},"sourceStats":{"recordCount":0.0}}}\n' "$1"
}
record() { printf '{"type":"RECORD","record":{"stream":"people","namespace":"crm","data":%s,"emitted_at":1}}\n' "$1"; }

# People after the first argument, up to the second, with a state after each 50.
people() {
    awk -v from="$1" -v to="$2" -v states="${3-yes}" 'BEGIN {
        for (id = from + 1; id <= to; id++) {
            email = "person" id "@example.com"
            if (id == 7) email = "ada@example.com"
            if (id == 8) email = "Ada@example.com"
            printf "{\"type\":\"RECORD\",\"record\":{\"stream\":\"people\",\"namespace\":\"crm\",\"data\":{\"id\":%d,\"email\":\"%s\",\"score\":%d.50", id, email, id
            # A null is left out, as the kit for sources does it.
            if (id % 2) printf ",\"note\":\"a \\\"note\\\" for %d\"", id
            printf "},\"emitted_at\":1700000000000}}\n"
            if (states == "yes" && id % 50 == 0)
                printf "{\"type\":\"STATE\",\"state\":{\"type\":\"STREAM\",\"stream\":{\"stream_descriptor\":{\"name\":\"people\",\"namespace\":\"crm\"},\"stream_state\":{\"id\":%d, \"exact\":1.50}},\"sourceStats\":{\"recordCount\":50.0}}}\n", id
        }
    }'
}

# What the kit prints before anything else.
log INFO "MemoryMonitor is on"
echo 'a line that somebody prints for himself'
echo '{"type":"DEBUG","message":"x","data":{}}'

case $command in
spec)
    [ -n "$BAD_SPEC" ] && exit 0
    cat <<'SPEC'
{"type":"SPEC","spec":{"connectionSpecification":{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","required":["people"],"properties":{"people":{"type":"integer"},"trap":{"type":"string"},"token":{"type":"string","airbyte_secret":true}}}}}
SPEC
    ;;
check)
    case $trap_ in
        check-refuses) echo '{"type":"CONNECTION_STATUS","connectionStatus":{"status":"FAILED","message":"the token has expired"}}' ;;
        check-crashes) log FATAL "no such host"; error "no such host" transient_error; exit 1 ;;
        check-says-nothing) ;;
        check-hangs) sleep 600 ;;
        *) echo '{"type":"CONNECTION_STATUS","connectionStatus":{"status":"SUCCEEDED"}}' ;;
    esac
    ;;
discover)
    case $trap_ in
        discover-error) error "the catalog cannot be read" config_error; exit 0 ;;
        discover-other) echo '{"streams": []}'; exit 0 ;;
    esac
    cat <<'CATALOG'
{"type":"CATALOG","catalog":{"streams":[{"name":"people","namespace":"crm","json_schema":{"$schema":"http://json-schema.org/schema#","type":"object","additionalProperties":false,"properties":{"id":{"type":"integer"},"email":{"type":["null","string"]},"score":{"type":["null","number"]},"note":{"type":["string","null"]}}},"supported_sync_modes":["full_refresh","incremental"],"source_defined_cursor":true,"default_cursor_field":["id"],"source_defined_primary_key":[["id"]],"is_resumable":true},{"name":"notes","json_schema":{"type":"object","properties":{"text":{"type":"string"},"tags":{"type":["null","array"],"items":{"type":["null","string"]}}}},"supported_sync_modes":["full_refresh"]}]}}
CATALOG
    ;;
read)
    if grep -q '"name":"notes"' "$catalog"; then
        for n in 1 2 3; do
            printf '{"type": "RECORD", "log": null, "record": {"stream": "notes", "namespace": null, "data": {"text":"note %s"}, "emitted_at": 1}}\n' $n
        done
        echo '{"type":"STATE","state":{"type":"STREAM","stream":{"stream_descriptor":{"name":"notes"},"stream_state":{"__ab_no_cursor_state_message":true}}}}'
        exit 0
    fi
    from=0
    if grep -q '"sync_mode":"incremental"' "$catalog"; then
        from=$(sed -n 's/.*"stream_state":{"id":\([0-9]*\),.*/\1/p' "$state")
        from=${from:-0}
    fi
    [ "$trap_" = says-nothing ] && exit 0
    [ "$trap_" = no-such-stream ] && { status INCOMPLETE; exit 0; }
    [ "$trap_" = old ] || { status STARTED; status RUNNING; }
    case $trap_ in
        exits-1) people 0 60; echo 'Traceback:' >&2; echo 'ValueError: boom' >&2; exit 1 ;;
        fatal) people 0 60; log FATAL "the disk is full"; exit 1 ;;
        error-inside) people 0 60; error "the quota is used up" transient_error; state 999; status COMPLETE; exit 0 ;;
        incomplete) people 0 60; status INCOMPLETE; state 999; exit 0 ;;
        never-complete) people 0 60; exit 0 ;;
        state-of-a-failure) people 0 60; state 999; status INCOMPLETE; exit 1 ;;
        hangs) people 0 60; sleep 600 ;;
        hangs-deaf) trap '' TERM; people 0 60; while :; do sleep 1; done ;;
        dies) people 0 60; printf '{"type":"RECORD","record":{"stream":"peo'; kill -9 $$ ;;
        cut) people 0 60; printf '{"type":"RECORD","record":{"stream":"peo'; exit 0 ;;
        garbled) people 0 10; echo '{"type":"RECORD","record":{"stream":"people","data":{"id":11,hello'; status COMPLETE; exit 0 ;;
        endless) people 0 1000000000 ;;
        endless-deaf) trap '' TERM; (trap '' TERM; people 0 1000000000) ;;
        long) awk 'BEGIN { while (n++ < 20) text = n == 1 ? "0123456789012345678901234567890123456789012345678" : text text
            printf "{\"type\":\"RECORD\",\"record\":{\"stream\":\"people\",\"data\":{\"id\":1,\"note\":\"%s\"},\"emitted_at\":1}}\n", text }' ;;
        not-finite) record '{"id":1,"score":NaN,"email":"NaN"}'; record '{"id":2,"score":-Infinity}' ;;
        latin) printf '{"type":"RECORD","record":{"stream":"people","data":{"id":1,"note":"caf\351"},"emitted_at":1}}\n' ;;
        strangers) people 0 2; echo '{"type":"RECORD","record":{"stream":"others","data":{"id":1},"emitted_at":1}}' ;;
        undeclared) record '{"id":1,"nickname":"A"}' ;;
        digits) record '{"id":18446744073709551615,"score":123456789012345678901234567890.10,"note":"\u0041"}' ;;
        rotates) people 0 2; echo '{"type":"CONTROL","control":{"type":"CONNECTOR_CONFIG","emitted_at":1,"connectorConfig":{"config":{"people":2,"token":"n3w-token-value"}}}}'; log INFO "now with n3w-token-value" ;;
        leaks) log INFO "signing in with $(setting token)"; echo "signed in with $(setting token)" >&2; people 0 2 ;;
        environment) record "{\"id\":1,\"note\":\"$(env | sed 's/=.*//' | sort | tr '\n' ' ')\"}" ;;
        files) record "{\"id\":1,\"note\":\"$(ls -ld "$(dirname "$config")" "$config" "$catalog" "$state" | cut -c1-10 | tr '\n' ' ')$config\"}" ;;
        orphan) people 0 2; sleep 600 & ;;
        global) people 0 50 no; echo '{"type":"STATE","state":{"type":"GLOBAL","global":{"shared_state":{"lsn":12345678901234567890},"stream_states":[]}}}' ;;
        no-end-of-line) people 0 1 no; status COMPLETE; printf '{"type":"RECORD","record":{"stream":"people","data":{"id":2},"emitted_at":1}}'; exit 0 ;;
        crlf) people 0 2 | sed 's/$/\r/'; echo ;;
        slow) people 0 1; sleep 6; people 1 60 ;;
        *) people "$from" "$people" ;;
    esac
    [ "$trap_" = old ] && exit 0
    status COMPLETE
    # The last state comes after the end, and twice.
    case ${trap_:-none} in
        none | leaks) state "$people"; state "$people" ;;
    esac
    ;;
*)
    echo "usage: bad-source spec | check | discover | read" >&2
    exit 2
    ;;
esac
