-- The catalog of one database in one round trip: relations, types, constraints, indexes and triggers.
-- Names of system objects need no schema: the connection's search_path is pg_catalog alone.

SELECT json_build_object(
    'oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
    'rows', c.reltuples, 'pages', c.relpages, 'comment', obj_description(c.oid, 'pg_class'),
    'heap', coalesce(a.amname = 'heap', false),
    'rowSecurity', c.relrowsecurity AND row_security_active(c.oid),
    'usage', has_schema_privilege(n.oid, 'USAGE'),
    'select', has_table_privilege(c.oid, 'SELECT'),
    'see', NOT EXISTS (
        SELECT 1 FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attnum > 0
            AND NOT t.attisdropped AND NOT has_column_privilege(c.oid, t.attnum, 'SELECT')),
    'delete', has_table_privilege(c.oid, 'DELETE'),
    'update', has_any_column_privilege(c.oid, 'UPDATE'),
    'columns', (
        SELECT json_agg(json_build_object(
            'name', t.attname, 'type', t.atttypid::int8, 'modifier', t.atttypmod,
            'declared', format_type(t.atttypid, t.atttypmod), 'notNull', t.attnotnull,
            'generated', t.attgenerated,
            'expression', CASE WHEN t.atthasdef THEN (
                SELECT pg_get_expr(d.adbin, d.adrelid)
                FROM pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = t.attnum) END,
            'dimensions', t.attndims, 'comment', col_description(c.oid, t.attnum),
            'collation', (
                SELECT CASE k.nspname WHEN 'pg_catalog' THEN l.collname
                    ELSE '"' || replace(k.nspname, '"', '""') || '"."'
                        || replace(l.collname, '"', '""') || '"' END
                FROM pg_collation l JOIN pg_namespace k ON k.oid = l.collnamespace
                WHERE l.oid = t.attcollation AND l.collname <> 'default'),
            'select', has_column_privilege(c.oid, t.attnum, 'SELECT')) ORDER BY t.attnum)
        FROM pg_attribute t
        WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped),
    'parts', (
        SELECT json_agg(json_build_object(
            'oid', p.oid::int8, 'schema', m.nspname, 'name', p.relname,
            'node', pg_relation_filenode(p.oid)::int8, 'pages', p.relpages, 'rows', p.reltuples,
            'plain', p.relkind IN ('r', 'm') AND b.amname = 'heap',
            'select', has_schema_privilege(m.oid, 'USAGE') AND has_table_privilege(p.oid, 'SELECT'))
            ORDER BY p.oid)
        FROM (
            SELECT c.oid AS relid WHERE c.relkind IN ('r', 'm')
            UNION ALL
            SELECT e.relid::oid FROM pg_partition_tree(c.oid) e WHERE c.relkind = 'p' AND e.isleaf
        ) e
        JOIN pg_class p ON p.oid = e.relid
        JOIN pg_namespace m ON m.oid = p.relnamespace
        LEFT JOIN pg_am b ON b.oid = p.relam))
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am a ON a.oid = c.relam
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
ORDER BY n.nspname, c.relname;

WITH RECURSIVE used AS (
    SELECT DISTINCT t.atttypid AS oid
    FROM pg_attribute t
    JOIN pg_class c ON c.oid = t.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE t.attnum > 0 AND NOT t.attisdropped
        AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
        AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
    UNION
    SELECT v.oid
    FROM used u
    JOIN pg_type t ON t.oid = u.oid
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) v (oid)
    WHERE v.oid <> 0
)
SELECT json_build_object(
    'oid', t.oid::int8, 'schema', n.nspname, 'name', t.typname, 'kind', t.typtype,
    'base', t.typbasetype::int8, 'modifier', t.typtypmod, 'dimensions', t.typndims,
    'element', CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem::int8 ELSE 0 END,
    'delimiter', t.typdelim,
    'extension', (
        SELECT e.extname
        FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
            AND d.refclassid = 'pg_extension'::regclass
        LIMIT 1),
    'labels', (
        SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder)
        FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM used u
JOIN pg_type t ON t.oid = u.oid
JOIN pg_namespace n ON n.oid = t.typnamespace;

SELECT json_build_object(
    'name', k.conname, 'kind', k.contype,
    'table', coalesce(pg_partition_root(k.conrelid)::oid, k.conrelid)::int8,
    'columns', (
        SELECT json_agg(t.attname ORDER BY u.place)
        FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
        JOIN pg_attribute t ON t.attrelid = k.conrelid AND t.attnum = u.number),
    'target', coalesce(pg_partition_root(nullif(k.confrelid, 0))::oid, k.confrelid)::int8,
    'references', (
        SELECT json_agg(t.attname ORDER BY u.place)
        FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
        JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = u.number),
    'onDelete', k.confdeltype, 'onUpdate', k.confupdtype, 'deferrable', k.condeferrable,
    'partition', c.relispartition,
    'check', CASE WHEN k.contype = 'c' THEN pg_get_constraintdef(k.oid, true) END)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'f', 'c') AND (k.contype <> 'p' OR NOT c.relispartition)
    AND (k.contype <> 'c' OR NOT c.relispartition) AND k.conparentid = 0
    AND c.relkind IN ('r', 'p', 'f')
    AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
ORDER BY k.conrelid, k.conname;

SELECT json_build_object(
    'table', i.indrelid::int8,
    'unique', i.indisunique AND i.indisvalid AND i.indpred IS NULL,
    'partial', i.indpred IS NOT NULL,
    'columns', (
        SELECT json_agg(t.attname ORDER BY u.place)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY u (number, place)
        LEFT JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = u.number AND u.number > 0
        WHERE u.place <= i.indnkeyatts))
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND i.indisvalid
    AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
ORDER BY i.indrelid, i.indexrelid;

SELECT json_build_object('table', g.tgrelid::int8, 'name', g.tgname)
FROM pg_trigger g
JOIN pg_class c ON c.oid = g.tgrelid
WHERE NOT g.tgisinternal AND g.tgenabled <> 'D'
UNION ALL
SELECT json_build_object('table', r.ev_class::int8, 'name', r.rulename)
FROM pg_rewrite r
JOIN pg_class c ON c.oid = r.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
    AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%';

WITH RECURSIVE over AS (
    SELECT d.refobjid AS base, r.ev_class AS view
    FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    WHERE r.rulename = '_RETURN'
    UNION
    SELECT o.base, r.ev_class
    FROM over o
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.view
        AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN' AND r.ev_class <> o.view
)
SELECT DISTINCT json_build_object(
    'table', coalesce(pg_partition_root(o.base)::oid, o.base)::int8,
    'name', n.nspname || '.' || c.relname)::text
FROM over o
JOIN pg_class c ON c.oid = o.view AND c.relkind = 'm'
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1;
