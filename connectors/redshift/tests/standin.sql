-- What Redshift has and PostgreSQL has not, made from PostgreSQL's own catalog.
SET allow_system_table_mods = on;
CREATE DOMAIN pg_catalog.super AS json;
CREATE DOMAIN pg_catalog.varbyte AS bytea;
CREATE FUNCTION pg_catalog.from_hex(text) RETURNS bytea IMMUTABLE LANGUAGE sql
    AS $$ SELECT decode($1, 'hex') $$;
CREATE FUNCTION pg_catalog.to_hex(bytea) RETURNS text IMMUTABLE LANGUAGE sql
    AS $$ SELECT encode($1, 'hex') $$;
CREATE VIEW pg_catalog.svv_redshift_databases AS
    SELECT datname::text AS database_name, 'local'::text AS database_type
    FROM pg_database WHERE datallowconn AND NOT datistemplate;
CREATE VIEW pg_catalog.svv_tables AS
    SELECT table_catalog::text, table_schema::text, table_name::text, table_type::text,
        obj_description(format('%I.%I', table_schema, table_name)::regclass, 'pg_class') AS remarks
    FROM information_schema.tables;
CREATE VIEW pg_catalog.svv_columns AS
    SELECT table_catalog::text, table_schema::text, table_name::text, column_name::text,
        ordinal_position::int, column_default::text, is_nullable::text,
        coalesce(domain_name, data_type)::text AS data_type, character_maximum_length::int,
        numeric_precision::int, numeric_scale::int,
        col_description(format('%I.%I', table_schema, table_name)::regclass, ordinal_position) AS remarks
    FROM information_schema.columns;
CREATE VIEW pg_catalog.svv_table_info AS
    SELECT n.nspname::text AS "schema", c.relname::text AS "table", c.reltuples::numeric AS tbl_rows
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r';
GRANT SELECT ON pg_catalog.svv_redshift_databases, pg_catalog.svv_tables, pg_catalog.svv_columns TO PUBLIC;
RESET allow_system_table_mods;
