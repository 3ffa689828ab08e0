//! Reads the catalog: tables, views, columns, keys and references.

use protocol::log;
use protocol::select;
use protocol::silo::{Kind, StoreId};
use protocol::sql::catalog::{Catalog, Column, ForeignKey, OnChange, Table};
use protocol::sql::types::Type;
use protocol::{Context, Result};
use rusqlite::{Connection, OptionalExtension as _};

use crate::values::SQLITE;

/// The chosen tables and views of the file, by name. Virtual tables are there; the shadow tables
/// in which they keep their content, and SQLite's own, are not.
pub(crate) fn read(connection: &Connection, chosen: &[String]) -> Result<Catalog> {
    let mut list = connection.prepare(
        "SELECT name, type, wr FROM pragma_table_list
         WHERE schema = 'main' AND type <> 'shadow' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         ORDER BY name",
    )?;
    let listed = list.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?))
    })?;
    let mut catalog = Catalog::default();
    for entry in listed {
        let (name, kind, without_rowid) = entry?;
        if !select::chosen(chosen, &[&name]) {
            continue;
        }
        let kind = if kind == "view" { Kind::View } else { Kind::Table };
        match table(connection, &name, kind, without_rowid) {
            Ok(table) => catalog.tables.push(table),
            // A view over a table that is gone, a virtual table whose module is not here.
            Err(error) => log::error(format_args!("{name}: cannot be described: {error:#}")),
        }
    }
    resolve(&mut catalog);
    Ok(catalog)
}

fn table(connection: &Connection, name: &str, kind: Kind, without_rowid: bool) -> Result<Table> {
    let mut key: Vec<(i64, String)> = Vec::new();
    let mut columns = Vec::new();
    let mut statement = connection.prepare(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden
         FROM pragma_table_xinfo(?1) ORDER BY cid",
    )?;
    let mut rows = statement.query([name])?;
    while let Some(row) = rows.next()? {
        let hidden: i64 = row.get(5)?;
        // Hidden columns of virtual tables are arguments, not data; 2 and 3 are generated ones.
        if hidden == 1 {
            continue;
        }
        let column: String = row.get(0)?;
        let declared: String = row.get(1)?;
        let place: i64 = row.get(4)?;
        if place > 0 {
            key.push((place, column.clone()));
        }
        columns.push(Column {
            nullable: !row.get::<_, bool>(2)?,
            generated: hidden > 1,
            expression: row.get(3)?,
            length: length(&declared),
            collation: collation(connection, name, &column),
            ..Column::new(column, &declared, type_of(&declared))
        });
    }
    let text = text(connection, name)?;
    // What they are computed by stands nowhere but in the table's text, in their order.
    let computed = after("AS", &text);
    let generated = columns.iter_mut().filter(|column| column.generated);
    for (column, expression) in generated.zip(computed) {
        column.expression = Some(expression);
    }
    key.sort();
    let key: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
    // Only these keys are never null: a PRIMARY KEY of another rowid table may be.
    let rowid_key = match key.as_slice() {
        [only] => columns
            .iter()
            .any(|column| column.name == *only && column.declared.eq_ignore_ascii_case("integer")),
        _ => false,
    };
    if without_rowid || rowid_key {
        for column in columns.iter_mut().filter(|column| key.contains(&column.name)) {
            column.nullable = false;
        }
    }
    for (name, collation) in key_collations(connection, name)? {
        for column in columns.iter_mut().filter(|column| column.name == name) {
            column.collation = Some(collation.clone());
        }
    }
    let (indexes, mut uniques) = indexes(connection, name, &key)?;
    let key = match holds_null(connection, name, &key, &columns)? {
        // Not a key of the rows any more, but what is not null in it is still unique.
        true => {
            uniques.push(key);
            Vec::new()
        }
        false => key,
    };
    let path = vec!["main".to_owned(), name.to_owned()];
    Ok(Table {
        columns,
        key,
        uniques,
        indexes,
        references: references(connection, name)?,
        checks: after("CHECK", &text),
        triggers: triggers(connection, name)?,
        ..Table::new(StoreId::named(name), path, kind)
    })
}

/// Whether a primary key that may be null is so in some row.
fn holds_null(
    connection: &Connection,
    table: &str,
    key: &[String],
    columns: &[Column],
) -> Result<bool> {
    for name in key {
        if columns.iter().any(|column| column.name == *name && column.nullable) {
            let (table, name) = (SQLITE.name(table), SQLITE.name(name));
            let text = format!("SELECT EXISTS (SELECT 1 FROM main.{table} WHERE {name} IS NULL)");
            if connection.query_row(&text, [], |row| row.get(0))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The collation of a table's column, where it is not the usual one, which compares bytes.
fn collation(connection: &Connection, table: &str, column: &str) -> Option<String> {
    let (_, name, ..) = connection.column_metadata(Some("main"), table, column).ok()?;
    let name = name?.to_str().ok()?;
    (!name.eq_ignore_ascii_case("binary")).then(|| name.to_owned())
}

/// The statement that made a table.
fn text(connection: &Connection, table: &str) -> Result<String> {
    let text = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    let sql: Option<String> = connection.query_row(text, [table], |row| row.get(0)).optional()?;
    Ok(sql.unwrap_or_default())
}

/// The expressions, in their parentheses, that stand after each such word of a statement.
fn after(keyword: &str, sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut at, mut depth) = (0, 0);
    // Whether the last word was the one, and where its expression began.
    let (mut due, mut begun) = (false, None);
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        // A quote that is doubled ends one text and begins another, which comes to the same.
        let marks = [("'", "'"), ("\"", "\""), ("`", "`"), ("[", "]"), ("--", "\n"), ("/*", "*/")];
        if let Some((open, close)) = marks.iter().find(|(open, _)| rest.starts_with(open)) {
            let inside = rest.get(open.len()..).unwrap_or_default();
            let length = inside.find(close).map_or(inside.len(), |length| length + close.len());
            at += open.len() + length;
            due &= matches!(*open, "--" | "/*");
            continue;
        }
        let word: usize =
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
        if word > 0 {
            due = rest.get(..word).is_some_and(|word| word.eq_ignore_ascii_case(keyword));
            at += word;
            continue;
        }
        let c = rest.chars().next().unwrap_or_default();
        if c == '(' {
            if due && begun.is_none() {
                begun = Some((at, depth));
            }
            depth += 1;
        } else if c == ')' {
            depth -= 1;
            if let Some((from, _)) = begun.filter(|(_, outside)| *outside == depth) {
                found.extend(sql.get(from..=at).map(str::to_owned));
                begun = None;
            }
        }
        due &= c.is_whitespace();
        at += c.len_utf8();
    }
    found
}

/// The columns of each index, and of each that is unique and covers all rows.
type Indexes = (Vec<Vec<String>>, Vec<Vec<String>>);

fn indexes(connection: &Connection, table: &str, key: &[String]) -> Result<Indexes> {
    let mut found: (Vec<Vec<String>>, Vec<Vec<String>>) = Default::default();
    if !key.is_empty() {
        found.0.push(key.to_vec());
    }
    let mut list = connection.prepare(
        "SELECT name, \"unique\", partial, origin FROM pragma_index_list(?1) ORDER BY seq",
    )?;
    let mut rows = list.query([table])?;
    while let Some(row) = rows.next()? {
        let (name, unique, partial): (String, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let origin: String = row.get(3)?;
        let mut info =
            connection.prepare("SELECT name FROM pragma_index_info(?1) ORDER BY seqno")?;
        let names = info.query_map([&name], |row| row.get::<_, Option<String>>(0))?;
        // An expression has no name, and such an index says nothing of a column.
        let names: Option<Vec<String>> = names.collect::<rusqlite::Result<_>>()?;
        let Some(names) = names else { continue };
        if partial {
            continue;
        }
        if unique && origin != "pk" {
            found.1.push(names.clone());
        }
        found.0.push(names);
    }
    Ok(found)
}

/// How the index of the primary key compares each of its columns, which need not be how the column
/// itself is compared.
fn key_collations(connection: &Connection, table: &str) -> Result<Vec<(String, String)>> {
    let mut statement = connection.prepare(
        "SELECT info.name, info.coll
         FROM pragma_index_list(?1) AS list, pragma_index_xinfo(list.name) AS info
         WHERE list.origin = 'pk' AND info.key AND info.name IS NOT NULL",
    )?;
    let collations = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    collations.collect::<rusqlite::Result<_>>().context("reading the key's collations")
}

fn references(connection: &Connection, table: &str) -> Result<Vec<ForeignKey>> {
    let mut statement = connection.prepare(
        "SELECT id, \"table\", \"from\", \"to\", on_delete, on_update
         FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
    )?;
    let mut rows = statement.query([table])?;
    let mut found: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let column: String = row.get(2)?;
        // Absent where the reference names only the table, and means its primary key.
        let to: Option<String> = row.get(3)?;
        match found.last_mut() {
            Some((last, key)) if *last == id => {
                key.columns.push(column);
                key.references.extend(to);
            }
            _ => {
                let key = ForeignKey {
                    name: None,
                    columns: vec![column],
                    table: StoreId::named(row.get::<_, String>(1)?),
                    references: to.into_iter().collect(),
                    on_delete: on_change(&row.get::<_, String>(4)?),
                    on_update: on_change(&row.get::<_, String>(5)?),
                    deferrable: false,
                };
                found.push((id, key));
            }
        }
    }
    // SQLite lists the last declared first.
    Ok(found.into_iter().rev().map(|(_, key)| key).collect())
}

fn on_change(words: &str) -> OnChange {
    match words {
        "CASCADE" => OnChange::Cascade,
        "SET NULL" => OnChange::SetNull,
        "SET DEFAULT" => OnChange::SetDefault,
        "RESTRICT" => OnChange::Restrict,
        _ => OnChange::Refuse,
    }
}

/// References spell names as their author liked; here they get the spelling of what they name.
fn resolve(catalog: &mut Catalog) {
    let tables: Vec<(StoreId, Vec<String>, Vec<String>)> = catalog
        .tables
        .iter()
        .map(|table| {
            let columns = table.columns.iter().map(|column| column.name.clone()).collect();
            (table.id.clone(), columns, table.key.clone())
        })
        .collect();
    for table in &mut catalog.tables {
        let own: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        for key in &mut table.references {
            respell(&mut key.columns, &own);
            let target = tables.iter().find(|(id, ..)| same(&id.name, &key.table.name));
            let Some((id, columns, primary)) = target else { continue };
            key.table = id.clone();
            if key.references.is_empty() {
                key.references = primary.clone();
            }
            respell(&mut key.references, columns);
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    // SQLite folds ASCII letters only.
    a.eq_ignore_ascii_case(b)
}

fn respell(names: &mut [String], known: &[String]) {
    for name in names {
        if let Some(right) = known.iter().find(|other| same(other, name)) {
            *name = right.clone();
        }
    }
}

fn triggers(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE
         ORDER BY name",
    )?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect::<rusqlite::Result<_>>().context("reading the triggers")
}

/// The type that a declared one stands for. SQLite stores what it is given; these are the types
/// that values of a column so declared usually have.
fn type_of(declared: &str) -> Type {
    let declared = declared.to_ascii_uppercase();
    let says = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if says(&["INT"]) {
        Type::Integer
    } else if says(&["CHAR", "CLOB", "TEXT", "DATE", "TIME"]) {
        Type::Text
    } else if says(&["BLOB"]) {
        Type::Bytes
    } else if says(&["REAL", "FLOA", "DOUB", "DEC", "NUM"]) {
        Type::Number
    } else if says(&["BOOL"]) {
        Type::Boolean
    } else {
        Type::Any
    }
}

/// Whether the declared type makes SQLite turn numbers into text on the way in.
pub(crate) fn has_text_affinity(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    !declared.contains("INT") && ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word))
}

/// The `60` of `VARCHAR(60)`.
fn length(declared: &str) -> Option<u64> {
    let declared_upper = declared.to_ascii_uppercase();
    if !["CHAR", "TEXT", "BLOB", "BINARY"].iter().any(|word| declared_upper.contains(word)) {
        return None;
    }
    let (_, inside) = declared.split_once('(')?;
    inside.split([')', ',']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_found_whatever_stands_in_texts_and_comments() {
        let sql = "CREATE TABLE \"CHECK (\" (a INT CHECK (a IN (1, 2)), b TEXT check/* ( */(b <> ')'),
            -- CHECK (none)
            c TEXT DEFAULT 'CHECK (x)', CONSTRAINT d CHECK (a < 3 AND c <> 'it''s ('), check_e INT)";
        let checks = ["(a IN (1, 2))", "(b <> ')')", "(a < 3 AND c <> 'it''s (')"];
        assert_eq!(after("CHECK", sql), checks);
    }

    #[test]
    fn a_generated_column_has_its_expression_whatever_stands_before_it() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t(
                     a INT DEFAULT (CAST('7' AS INT)), up INT GENERATED ALWAYS AS (a + 1) STORED,
                     \"AS (\" TEXT, both INT as/* b */(up + CAST(a AS INT)) CHECK (both > 0))",
            )
            .unwrap();
        let catalog = read(&connection, &[]).unwrap();
        let columns = catalog.tables[0].columns.iter();
        let found: Vec<_> = columns.map(|c| (c.generated, c.expression.as_deref())).collect();
        let expected = [
            (false, Some("CAST('7' AS INT)")),
            (true, Some("(a + 1)")),
            (false, None),
            (true, Some("(up + CAST(a AS INT))")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn declared_types_are_read_for_what_their_values_usually_are() {
        for (declared, of) in [
            ("INTEGER", Type::Integer),
            ("unsigned big int", Type::Integer),
            ("NVARCHAR(160)", Type::Text),
            ("DATETIME", Type::Text),
            ("NUMERIC(10,2)", Type::Number),
            ("double precision", Type::Number),
            ("BOOLEAN", Type::Boolean),
            ("BLOB", Type::Bytes),
            ("", Type::Any),
            ("JSON", Type::Any),
        ] {
            assert_eq!(type_of(declared), of, "{declared}");
        }
        assert_eq!(length("NVARCHAR(160)"), Some(160));
        assert_eq!(length("NUMERIC(10,2)"), None);
    }

    #[test]
    fn references_name_the_key_and_the_spelling_that_they_leave_out() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE Person(Id INTEGER PRIMARY KEY, Name TEXT);
                 CREATE TABLE pet(
                     owner REFERENCES person, a TEXT, b TEXT,
                     FOREIGN KEY(A) REFERENCES PERSON(NAME) ON DELETE SET NULL)",
            )
            .unwrap();
        let catalog = read(&connection, &[]).unwrap();
        let pet = catalog.table(&StoreId::named("pet")).unwrap();
        let [owner, name] = pet.references.as_slice() else { panic!("{:?}", pet.references) };
        assert_eq!(
            (&owner.table.name, &owner.references[..]),
            (&"Person".into(), &["Id".into()][..])
        );
        assert_eq!(
            (&name.columns[..], &name.references[..]),
            (&["a".into()][..], &["Name".into()][..])
        );
        assert_eq!(name.on_delete, OnChange::SetNull);
    }
}
