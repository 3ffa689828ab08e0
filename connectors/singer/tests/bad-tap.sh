#!/bin/sh
# A Singer tap that behaves, or does one of the things that taps do which do not.
# Its configuration: {"people": 3000, "trap": "the name of a case below", "token": "a secret"}

for word in "$@"; do
    case $word in
        --about) about=yes ;;
        --discover) discover=yes ;;
    esac
done
while [ $# -gt 0 ]; do
    case $1 in
        --config) config=$2 ;;
        --catalog) catalog=$2 ;;
        --properties) properties=$2 ;;
        --state) state=$2 ;;
    esac
    shift
done
setting() { sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p' "$config" 2>/dev/null; }
trap_=$(setting trap)
people=$(setting people)

if [ -n "$about" ]; then
    # A tap of the older kind does not know the word.
    [ -n "$OLD_TAP" ] && { echo "tap: error: unrecognized arguments: --about" >&2; exit 2; }
    cat <<'ABOUT'
{"name":"bad-tap","settings":{"type":"object","required":["people"],"properties":{"people":{"type":"integer"},"trap":{"type":["string","null"]},"token":{"type":["string","null"],"secret":true,"writeOnly":true}}},"capabilities":["catalog","state","discover","about"]}
ABOUT
    exit
fi

if [ -n "$discover" ]; then
    case $trap_ in
        discover-fails) echo 'CRITICAL the token has expired' >&2; exit 1 ;;
        discover-noise) echo 'INFO discovering'; echo '{"level": "INFO"}' ;;
        discover-nothing) exit 0 ;;
    esac
    cat <<'CATALOG'
{
  "streams": [
    {
      "tap_stream_id": "crm-people", "stream": "people", "replication_method": "", "replication_key": "id",
      "key_properties": ["id"],
      "schema": {"type": "object", "definitions": {"text": {"type": ["null", "string"]}}, "properties": {
        "id": {"type": ["integer"], "minimum": 0, "exclusiveMinimum": true}, "email": {"$ref": "#/definitions/text"},
        "score": {"type": ["null", "number"], "multipleOf": 0.01}, "note": {"type": ["string", "null"]},
        "picture": {}}},
      "metadata": [
        {"breadcrumb": [], "metadata": {"table-key-properties": ["id"], "inclusion": "available", "forced-replication-method": ""}},
        {"breadcrumb": ["properties", "id"], "metadata": {"inclusion": "automatic"}},
        {"breadcrumb": ["properties", "picture"], "metadata": {"inclusion": "unsupported", "selected-by-default": false}}
      ]
    },
    {"tap_stream_id": "notes", "stream": "notes", "schema": {"type": "object", "properties": {"text": {"type": "string"}}}}
  ]
}
CATALOG
    exit
fi

if [ "$trap_" = wants-properties ]; then
    [ -n "$catalog" ] && { echo 'tap: error: unrecognized arguments: --catalog' >&2; exit 2; }
    catalog=$properties
elif [ "$trap_" = heeds-properties ]; then
    # It knows both flags, and goes by one.
    [ -n "$catalog" ] && exit 0
    catalog=$properties
elif [ -n "$properties" ]; then
    echo 'tap: error: unrecognized arguments: --properties' >&2
    exit 2
fi

schema() {
    printf '{"type": "SCHEMA", "stream": "crm-people", "schema": {"type": "object", "properties": {"id": {"type": "integer"}, "note": {"type": ["null", "string"]}%s}}, "key_properties": ["id"]}\n' "$1"
}
record() { printf '{"type":"RECORD","stream":"crm-people","record":%s,"time_extracted":"2026-01-01T00:00:00Z"}\n' "$1"; }
state() { printf '{"type":"STATE","value":{"bookmarks":{"crm-people":{"replication_key":"id","replication_key_value":%s}},"exact":1.50}}\n' "$1"; }
people() {
    awk -v from="$1" -v to="$2" 'BEGIN {
        for (id = from + 1; id <= to; id++) {
            email = "person" id "@example.com"
            if (id == 7) email = "ada@example.com"
            if (id == 8) email = "Ada@example.com"
            printf "{\"type\":\"RECORD\",\"stream\":\"crm-people\",\"record\":{\"id\":%d,\"email\":\"%s\",\"score\":%d.50", id, email, id
            if (id % 2) printf ",\"note\":\"a \\\"note\\\" for %d\"", id
            printf "}}\n"
            if (id % 50 == 0)
                printf "{\"type\":\"STATE\",\"value\":{\"bookmarks\":{\"crm-people\":{\"replication_key\":\"id\",\"replication_key_value\":%d}},\"exact\":1.50}}\n", id
        }
    }'
}

# Only one stream is ever selected: the second has the mark where the first has none.
if grep -q '"tap_stream_id":"notes"[^]]*"selected":true' "$catalog"; then
    echo '{"type":"SCHEMA","stream":"notes","schema":{},"key_properties":[]}'
    for n in 1 2 3; do echo '{"type":"RECORD","stream":"notes","record":{"text":"note '$n'"}}'; done
    echo '{"type":"STATE","value":{}}'
    exit
fi

from=0
if [ -n "$state" ]; then
    from=$(sed -n 's/.*"replication_key_value":\([0-9]*\)}.*/\1/p' "$state")
    # The kit repeats the state it was given before anything else.
    printf '{"type":"STATE","value":%s}\n' "$(cat "$state")"
fi
case $trap_ in
    says-nothing) exit 0 ;;
    no-state) schema; record '{"id":1}' ;;
    no-schema) record '{"id":1}'; state 1 ;;
    lower-case) echo '{"type":"schema","stream":"people","schema":{},"key_properties":[]}'; echo '{"type":"record","stream":"people","record":{"id":1}}'; echo '{"type":"state","value":{"a":1}}' ;;
    noise) echo 'Starting sync...'; schema; printf '{"progress": 1}\n[1,2]\n"x"\n\n'; record '{"id":1}'; echo 'done'; state 1 ;;
    crlf) schema; printf '{"type":"RECORD","stream":"crm-people","record":{"id":1}}\r\n\r\n'; state 1 ;;
    not-finite) schema; record '{"id":1,"score":Infinity}'; record '{"id":2,"score":NaN}'; state 2 ;;
    digits) schema; record '{"id":18446744073709551615,"score":1E-20}'; record '{"id":2,"score":1.50}'; state 2 ;;
    schema-changes) schema; record '{"id":1}'; schema ', "w": {"type": ["null", "integer"]}'; record '{"id":2}'; record '{"id":3,"w":7}'; state 3 ;;
    unknown) schema; echo '{"type":"LOG","message":"hello"}'; echo '{"type":"CONTROL","x":1}'; record '{"id":1}'; state 1 ;;
    versions) schema; echo '{"type":"ACTIVATE_VERSION","stream":"crm-people","version":1700000000000}'; printf '{"type":"RECORD","stream":"crm-people","version":1700000000000,"record":{"id":1}}\n'; echo '{"type":"ACTIVATE_VERSION","stream":"crm-people","version":1700000000000}'; state 1 ;;
    states) schema; record '{"id":1}'; echo '{"type":"STATE","value":{"currently_syncing":"people","bookmarks":{"x":{"lsn":1,"xmin":null}}}}'; record '{"id":2}'; echo '{"type":"STATE","value":{"opaque":[1,{"x":"y"}],"big":12345678901234567890.10}}' ;;
    deletes) schema ', "_sdc_deleted_at": {"type": ["null", "string"], "format": "date-time"}'; record '{"id":1,"_sdc_deleted_at":null}'; record '{"id":1,"_sdc_deleted_at":"2026-01-01T00:00:00Z"}'; state 1 ;;
    batch) schema; printf '{"id":1,"note":"a"}\n\n{"id":2,"note":"b"}\n' | gzip > "$(setting file)"; printf '{"type":"BATCH","stream":"crm-people","encoding":{"format":"jsonl","compression":"gzip"},"manifest":["file://%s"]}\n' "$(setting file)"; state 2 ;;
    batch-plain) schema; printf '{"id":1,"note":"a"}' > "$(setting file)"; printf '{"type":"BATCH","stream":"crm-people","filepath":"%s","format":"jsonl","batch_size":1}\n' "$(setting file)"; state 1 ;;
    batch-parquet) schema; echo '{"type":"BATCH","stream":"crm-people","encoding":{"format":"parquet"},"manifest":["file:///x"]}' ;;
    batch-zstd) schema; echo '{"type":"BATCH","stream":"crm-people","encoding":{"format":"jsonl","compression":"zstd"},"manifest":["file:///x"]}' ;;
    batch-elsewhere) schema; echo '{"type":"BATCH","stream":"crm-people","encoding":{"format":"jsonl"},"manifest":["s3://bucket/x"]}' ;;
    fails-after-state) schema; record '{"id":1}'; state 1; record '{"id":2}'; state 2; printf 'Traceback (most recent call last):\n  boom\nValueError: boom\n' >&2; exit 1 ;;
    dies) schema; record '{"id":1}'; state 1; record '{"id":2}'; printf '{"type":"RECORD","stream":"crm'; kill -9 $$ ;;
    garbled) schema; record '{"id":1}'; echo '{"type":"RECORD","stream":"crm-people","record":{"id":2,oops'; state 2 ;;
    no-end-of-line) schema; record '{"id":1}'; printf '{"type":"STATE","value":{"a":1}}' ;;
    hangs) schema; record '{"id":1}'; state 1; record '{"id":2}'; sleep 600 ;;
    hangs-deaf) trap '' TERM; schema; record '{"id":1}'; state 1; record '{"id":2}'; while :; do sleep 1; done ;;
    ends-with-state) trap 'state 99; exit 0' TERM; schema; people 0 5; while :; do sleep 1; done ;;
    long) schema; awk 'BEGIN { while (n++ < 20) text = n == 1 ? "0123456789012345678901234567890123456789012345678" : text text
        printf "{\"type\":\"RECORD\",\"stream\":\"crm-people\",\"record\":{\"id\":1,\"note\":\"%s\"}}\n", text }'; state 1 ;;
    latin) schema; printf '{"type":"RECORD","stream":"crm-people","record":{"id":1,"note":"caf\351"}}\n'; state 1 ;;
    flood) awk 'BEGIN { while (n++ < 200000) print "INFO METRIC: {\"type\": \"counter\", \"value\": " n "}" > "/dev/stderr" }'; schema; record '{"id":1}'; state 1 ;;
    rotates) schema; record '{"id":1}'; printf '{"people": 1, "token": "n3w-token-value", "trap": ""}' > "$config"; state 1 ;;
    environment) schema; record "{\"id\":1,\"note\":\"$(env | sed 's/=.*//' | sort | tr '\n' ' ')\"}"; state 1 ;;
    strangers) echo '{"type":"SCHEMA","stream":"others","schema":{},"key_properties":[]}'; echo '{"type":"RECORD","stream":"others","record":{"id":1}}' ;;
    leaks) echo "INFO using $(setting token)" >&2; schema; record '{"id":1}'; state 1 ;;
    *) schema; people "$from" "$people"; state "$people" ;;
esac
