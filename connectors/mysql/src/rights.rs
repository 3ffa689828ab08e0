//! What the server grants the user, and whether it can see all that refers to its tables: of a table
//! without a right to it, `information_schema` says nothing, and its foreign keys act all the same.

use protocol::silo::StoreId;
use protocol::sql::catalog::{Catalog, Referrers, Right};
use protocol::{Result, anyhow};

use crate::driver::{Client, Refusal};
use crate::residue;

/// What the user may do.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    grants: Vec<Grant>,
}

/// A line of SHOW GRANTS.
#[derive(Debug)]
struct Grant {
    scope: Scope,
    rights: Vec<Right>,
    /// Whether who has it sees the references of the tables: SELECT alone does not show them.
    shows: bool,
    /// Whether it takes instead of giving.
    revoked: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Scope {
    Everything,
    /// The databases that a pattern like that of LIKE names.
    Databases(String),
    Table(String, String),
}

impl Rights {
    pub(crate) fn read(client: &mut Client) -> Result<Rights> {
        // Only MySQL spells roles with their hosts, and only there they are to be named.
        let role = residue::line(client, "SELECT CURRENT_ROLE()").ok().flatten();
        let statement = match role.filter(|role| role.contains('@')) {
            Some(role) => format!("SHOW GRANTS FOR CURRENT_USER() USING {role}"),
            None => "SHOW GRANTS".to_owned(),
        };
        let mut rights = Rights::default();
        let shown = client.rows(&statement, &[], |row| {
            rights.grants.extend(row.text()?.as_deref().and_then(Grant::parse));
            Ok(())
        });
        match shown {
            Ok(_) => Ok(rights),
            Err(error) if code(&error) == Some(UNGUARDED) => Ok(Rights {
                grants: Grant::parse("GRANT ALL PRIVILEGES ON *.* TO anybody")
                    .into_iter()
                    .collect(),
            }),
            Err(error) => Err(error),
        }
    }

    /// Notes in a catalog what the user may not do, and what of its tables' referrers it cannot see.
    pub(crate) fn note(&self, client: &mut Client, catalog: &mut Catalog) -> Result<()> {
        for table in &mut catalog.tables {
            let [database, name] = table.path.as_slice() else { continue };
            let rights = [Right::See, Right::Delete, Right::Update].into_iter();
            table.denied = rights.filter(|right| !self.may(*right, database, name)).collect();
        }
        if self.shows(None) {
            return Ok(());
        }
        let known = references(client)?;
        // Who has rights to single tables only does not see all references between those either.
        let paths = |id: &StoreId| catalog.table(id).map(|table| table.path.clone());
        let seen: Vec<Reference> = catalog
            .tables
            .iter()
            .flat_map(|table| table.references.iter().map(move |key| (table, key)))
            .filter_map(|(table, key)| Some((table.path.clone(), paths(&key.table)?)))
            .collect();
        for table in &mut catalog.tables {
            table.referrers = match &known {
                Some(known) => {
                    let mut hidden: Vec<String> = known
                        .iter()
                        .filter(|reference| reference.1 == table.path && !seen.contains(reference))
                        .map(|(child, _)| child.join("/"))
                        .collect();
                    hidden.dedup();
                    match hidden.is_empty() {
                        true => Referrers::Seen,
                        false => Referrers::Hidden(format!(
                            "this user may not see how {} refers to it: that needs a right beside \
                             SELECT to all tables of the database",
                            hidden.join(", ")
                        )),
                    }
                }
                None if self.shows(table.path.first().map(String::as_str)) => {
                    Referrers::Unknown(
                        "tables of other databases, which this user may not see, could refer to \
                         it: the right PROCESS would show whether they do"
                            .to_owned(),
                    )
                }
                None => Referrers::Hidden(
                    "tables that this user may not see could refer to it: a right beside SELECT to \
                     all tables of the database would show whether they do"
                        .to_owned(),
                ),
            };
        }
        Ok(())
    }

    fn may(&self, right: Right, database: &str, table: &str) -> bool {
        let concerns = |grant: &&Grant| {
            grant.rights.contains(&right)
                && match &grant.scope {
                    Scope::Everything => true,
                    Scope::Databases(pattern) => is_like(database, pattern),
                    Scope::Table(of, name) => of == database && name == table,
                }
        };
        let mut concerned = self.grants.iter().filter(concerns).peekable();
        concerned.peek().is_some() && !concerned.any(|grant| grant.revoked)
    }

    /// Whether the references of all tables show, of a database or of all.
    fn shows(&self, database: Option<&str>) -> bool {
        self.grants.iter().any(|grant| {
            grant.shows
                && !grant.revoked
                && match (&grant.scope, database) {
                    (Scope::Everything, _) => true,
                    (Scope::Databases(pattern), Some(name)) => is_like(name, pattern),
                    _ => false,
                }
        })
    }
}

impl Grant {
    /// `GRANT SELECT, UPDATE (a) ON `shop`.* TO …`; nothing where it is about no tables.
    fn parse(line: &str) -> Option<Grant> {
        let (verb, privileges) = line.split_once(' ')?;
        // A column's name may hold the word, too.
        let (words, database, rest) = privileges.match_indices(" ON ").find_map(|(at, on)| {
            let (database, rest) = name(&privileges[at + on.len()..])?;
            rest.starts_with('.').then_some((&privileges[..at], database, rest))
        })?;
        let (table, _) = name(rest.strip_prefix('.')?)?;
        let scope = match (database, table) {
            (None, _) => Scope::Everything,
            (Some(database), None) => Scope::Databases(database),
            (Some(database), Some(table)) => Scope::Table(database, table),
        };
        // A right to some columns is followed by them, in parentheses.
        let mut depth = 0;
        let words = words.split(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        });
        let words: Vec<&str> = words.map(str::trim).collect();
        let all = words.iter().any(|word| word.starts_with("ALL"));
        let has = |word: &str| all || words.contains(&word);
        let rights = [(Right::See, "SELECT"), (Right::Delete, "DELETE"), (Right::Update, "UPDATE")];
        let shows = ["INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "REFERENCES", "ALTER"];
        Some(Grant {
            scope,
            rights: rights.into_iter().filter(|(_, word)| has(word)).map(|(of, _)| of).collect(),
            shows: shows.into_iter().any(has),
            revoked: verb == "REVOKE",
        })
    }
}

/// The name that a text begins with, `None` for `*`, and what follows it.
fn name(text: &str) -> Option<(Option<String>, &str)> {
    if let Some(rest) = text.strip_prefix('*') {
        return Some((None, rest));
    }
    let quote = text.chars().next().filter(|c| matches!(c, '`' | '"'))?;
    let mut found = String::new();
    let mut rest = text[1..].char_indices();
    while let Some((place, c)) = rest.next() {
        let after = &text[1 + place + c.len_utf8()..];
        match c {
            _ if c != quote => found.push(c),
            _ if after.starts_with(quote) => {
                found.push(c);
                rest.next();
            }
            _ => return Some((Some(found), after)),
        }
    }
    None
}

/// Whether a name is like a pattern with `%`, `_` and `\`.
fn is_like(name: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(c) = rest.next() else { return name.is_empty() };
    let mut names = name.chars();
    match c {
        '%' => {
            name.char_indices().any(|(place, _)| is_like(&name[place..], rest.as_str()))
                || is_like("", rest.as_str())
        }
        '_' => names.next().is_some() && is_like(names.as_str(), rest.as_str()),
        '\\' => {
            let c = rest.next();
            c.is_some() && names.next() == c && is_like(names.as_str(), rest.as_str())
        }
        c => names.next() == Some(c) && is_like(names.as_str(), rest.as_str()),
    }
}

/// The path of a table, and of one that it refers to.
type Reference = (Vec<String>, Vec<String>);

/// All references of the server; `None` where the user may not ask for them.
fn references(client: &mut Client) -> Result<Option<Vec<Reference>>> {
    let part = |column: &str, place: i32| {
        // As files are named.
        format!(
            "CONVERT(CONVERT(CAST(SUBSTRING_INDEX({column}, '/', {place}) AS BINARY) \
             USING filename) USING utf8mb4)"
        )
    };
    let parts = [("FOR_NAME", 1), ("FOR_NAME", -1), ("REF_NAME", 1), ("REF_NAME", -1)];
    let parts = parts.map(|(column, place)| part(column, place)).join(", ");
    // MariaDB's name, and MySQL's.
    for name in ["INNODB_SYS_FOREIGN", "INNODB_FOREIGN"] {
        let mut found = Vec::new();
        let asked = client.rows(
            &format!("SELECT {parts} FROM information_schema.{name} ORDER BY 1, 2"),
            &[],
            |row| {
                let mut next = || -> Result<String> { Ok(row.text()?.unwrap_or_default()) };
                let child = vec![next()?, next()?];
                found.push((child, vec![next()?, next()?]));
                Ok(())
            },
        );
        match asked {
            Ok(_) => return Ok(Some(found)),
            Err(error) if code(&error) == Some(NO_TABLE) => {}
            Err(error) if code(&error) == Some(NOT_ALLOWED) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A right is missing.
const NOT_ALLOWED: u16 = 1227;
/// `information_schema` has no such table.
const NO_TABLE: u16 = 1109;
/// The server was started without any rights.
const UNGUARDED: u16 = 1290;

fn code(error: &anyhow::Error) -> Option<u16> {
    error.downcast_ref::<Refusal>().map(|refusal| refusal.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(lines: &[&str]) -> Rights {
        Rights { grants: lines.iter().filter_map(|line| Grant::parse(line)).collect() }
    }

    #[test]
    fn rights_are_read_from_what_the_server_grants() {
        let rights = rights(&[
            "GRANT PROCESS ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*7B'",
            "GRANT SELECT, INSERT, UPDATE (`a ON b`, `c`) ON `sh_p`.* TO `u`@`%`",
            "GRANT DELETE ON `shop`.`or``der` TO `r`",
            "GRANT `r` TO `u`@`%`",
            "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `u`@`%`",
            "GRANT ALL PRIVILEGES ON `a\\_b`.* TO `u`@`%` WITH GRANT OPTION",
            "REVOKE DELETE ON `a\\_b`.* FROM `u`@`%`",
        ]);
        assert!(rights.may(Right::See, "shop", "line"));
        assert!(!rights.may(Right::See, "shops", "line"));
        assert!(!rights.may(Right::Update, "shop", "line"), "only of some columns");
        assert!(rights.may(Right::Delete, "shop", "or`der"));
        assert!(!rights.may(Right::Delete, "shop", "line"));
        assert!(rights.may(Right::Update, "a_b", "t") && !rights.may(Right::Update, "axb", "t"));
        assert!(!rights.may(Right::Delete, "a_b", "t"), "it was taken back");
        assert!(rights.shows(Some("shop")) && !rights.shows(Some("other")) && !rights.shows(None));
    }

    #[test]
    fn a_pattern_is_like_that_of_a_grant() {
        for (name, pattern, like) in [
            ("shop", "shop", true),
            ("shop", "sh%", true),
            ("shop", "%", true),
            ("shop", "%p", true),
            ("shop", "s__p", true),
            ("shop", "s_p", false),
            ("shop", "sh\\%", false),
            ("sh%", "sh\\%", true),
            ("", "%", true),
            ("", "_", false),
        ] {
            assert_eq!(is_like(name, pattern), like, "{name} {pattern}");
        }
    }
}
