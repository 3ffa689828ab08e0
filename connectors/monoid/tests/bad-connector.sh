#!/bin/sh
# A Monoid connector over a file of records, a line each, that does its work or only says so.
# Its configuration: {"file": "...", "trap": "the name of a case below", "token": "a secret"}

command=$1
shift
while [ $# -gt 0 ]; do
    case $1 in
        -c) config=$2 ;;
        -q) query=$2 ;;
        -r) requests=$2 ;;
        -s) ;;
        -p) persist=$2 ;;
        *) echo "usage: error: unrecognized arguments: $1" >&2; exit 2 ;;
    esac
    shift 2
done
setting() { sed -n 's/.*"'"$1"'": *"\{0,1\}\([^",}]*\).*/\1/p' "$config" 2>/dev/null; }
file=$(setting file)
trap_=$(setting trap)

# Members of handles or identifiers, one a line: the property, a tab, the value as it is in JSON.
identifiers() {
    awk '{
        text = $0
        while (match(text, /"identifier":"([^"\\]|\\.)*","identifier_query":"([^"\\]|\\.)*"/)) {
            one = substr(text, RSTART, RLENGTH); text = substr(text, RSTART + RLENGTH)
            sub(/^"identifier":"/, "", one); at = index(one, "\",\"identifier_query\":\"")
            print substr(one, 1, at - 1) "\t" substr(one, at + 22, length(one) - at - 22)
        }
    }' "$1"
}
# The records that any of the identifiers is about, or with -v the others.
matching() {
    NOT=$1 awk -F '\t' 'NR == FNR { text[$1 "\":\"" $2 "\""]; text[$1 "\":" $2 ","]; next }
        { found = 0; for (one in text) if (index($0, "\"" one)) found = 1
          if (found != (ENVIRON["NOT"] == "-v")) print }' "$2" "$file"
}
record() { sed 's/^/{"type": "RECORD", "record": {"schema_name": "people", "schema_group": "crm", "record_type": "RECORD", "file": null, "data": /; s/$/}, "log": null}/'; }
answer() {
    identifiers "$query" | while IFS="$(printf '\t')" read -r property value; do
        printf '{"type": "REQUEST_RESULT", "request": {"status": {"schema_name": "people", "schema_group": "crm", "request_status": "%s", "data_type": "%s"}, "handle": {"schema_name": "people", "schema_group": "crm", "request_type": "%s", "data": {"query":{"identifier":"%s","identifier_query":"%s"}}}}, "record": null}\n' "$2" "$3" "$1" "$property" "$value"
    done
}

case $command in
spec)
    echo '{"type": "SPEC", "spec": {"name": "File", "spec": {"type": "object", "required": ["file"], "properties": {"file": {"type": "string"}, "trap": {"type": "string"}, "token": {"type": "string", "secret": true}}}}, "log": null}'
    ;;
validate)
    [ "$trap_" = refuses ] && { echo '{"type": "VALIDATE", "validate_msg": {"status": "FAILURE", "message": "no such role"}}'; exit 0; }
    [ "$trap_" = crashes ] && { echo 'ValueError: boom' >&2; exit 1; }
    [ -f "$file" ] || { echo '{"type": "VALIDATE", "validate_msg": {"status": "FAILURE", "message": "no such file"}}'; exit 0; }
    echo '{"type": "VALIDATE", "validate_msg": {"status": "SUCCESS", "message": null}}'
    ;;
schema)
    echo 'a line that somebody prints for himself'
    echo '{"type": "LOG", "log": {"message": "listing"}}' >&2
    echo '{"type": "SCHEMA", "schema_msg": {"schemas": [{"name": "people", "group": "crm", "json_schema": {"$schema": "x", "type": "object", "properties": {"id": {"type": "integer"}, "email": {"type": "string"}, "note": {"type": ["string", "null"]}}}}]}}'
    ;;
scan) record < "$file" ;;
query)
    [ "$trap_" = query-crashes ] && { echo 'KeyError: people' >&2; exit 1; }
    answer QUERY COMPLETE RECORDS
    ;;
delete)
    case $trap_ in
        lies) ;;
        delete-fails) answer DELETE FAILED NONE; exit 0 ;;
        delete-crashes) echo 'psycopg.errors.ForeignKeyViolation: still referenced' >&2; exit 1 ;;
        says-nothing) exit 0 ;;
        *)
            identifiers "$query" > "$file.ids"
            matching -v "$file.ids" > "$file.new"
            mv "$file.new" "$file"
            ;;
    esac
    answer DELETE COMPLETE NONE
    ;;
request-status)
    kind=$(grep -o '"request_type":"[A-Z]*"' "$requests" | head -1)
    standing=COMPLETE data=RECORDS
    case $kind in *DELETE*) data=NONE ;; esac
    case $trap_ in
        late) standing=PROGRESS ;;
        files) [ $data = NONE ] || data=FILE ;;
    esac
    identifiers "$requests" | while read -r _; do
        printf '{"type": "REQUEST_STATUS", "request_status": {"schema_name": "people", "schema_group": "crm", "request_status": "%s", "data_type": "%s"}}\n' $standing $data
    done
    ;;
request-results)
    identifiers "$requests" > "$file.ids"
    case $trap_ in
        files | escapes)
            folder=$(sed 's/.*"temp_store":"\([^"]*\)".*/\1/' "$persist")
            matching '' "$file.ids" | gzip > "$folder/found.tar.gz"
            name=found.tar.gz
            [ "$trap_" = escapes ] && name=../../../../etc/passwd
            printf '{"type": "RECORD", "record": {"schema_name": "people", "schema_group": "crm", "record_type": "FILE", "file": "%s"}}\n' $name
            ;;
        not-finite) echo '{"type": "RECORD", "record": {"schema_name": "people", "schema_group": "crm", "record_type": "RECORD", "data": {"id": NaN}}}' ;;
        *) while IFS= read -r one; do printf '%s\n' "$one" > "$file.one"; matching '' "$file.one" | record; done < "$file.ids" ;;
    esac
    ;;
*)
    echo "usage: error: invalid choice: $command" >&2
    exit 2
    ;;
esac
